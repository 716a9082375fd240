// MessagePack for commands, events and options.

namespace Tickwire
{
    /// <summary>Encodes and decodes plain values: null, bool, numbers, texts, bytes, times, lists, and maps with texts as
    /// keys. Keys that are integers are decoded as texts.</summary>
    public static class MessagePack
    {
        /// <summary>Encodes a value.</summary>
        /// <exception cref="System.ArgumentException">MessagePack cannot represent the value.</exception>
        public static byte[] Encode(object value)
        {
            var writer = new MessagePackWriter();
            writer.WriteValue(value);
            return writer.ToArray();
        }

        /// <summary>Decodes a value of a peer: null, bool, long (ulong above its range), double, string, byte[], DateTime in
        /// UTC, List of object, or Dictionary from string to object. No bytes are null.</summary>
        /// <exception cref="MalformedMessageException">The bytes are not one MessagePack value.</exception>
        public static object Decode(byte[] data)
        {
            if (data.Length == 0)
            {
                return null;
            }

            var reader = new MessagePackReader(data);
            object value = reader.Value(0);
            if (!reader.IsAtEnd)
            {
                throw new MalformedMessageException("bytes are left over after a MessagePack value");
            }

            return value;
        }
    }
}
