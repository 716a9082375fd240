// Encodes a player's inputs with the fields that the room declares, and numbers them.

using System;

namespace Tickwire
{
    /// <summary>The encoder of one session. All inputs of a room have one layout: it is written once, and each input changes
    /// its numbers and its payload.</summary>
    internal sealed class InputEncoder
    {
        private readonly ClientEncoder encoder;
        private Field[] fields = new Field[0];
        private byte[] message = new byte[0];
        private int seqAt;
        private int tickAt;
        private int payloadAt;

        public InputEncoder(ClientEncoder encoder)
        {
            this.encoder = encoder;
        }

        /// <summary>The number of the last input. It continues in the next room of the session.</summary>
        public uint Seq { get; private set; }

        /// <summary>Encodes for a room whose inputs have these fields from now on.</summary>
        public void Enter(Field[] roomFields)
        {
            fields = roomFields;
            int size = 0;
            foreach (Field field in fields)
            {
                size += (field.Bits + 7) / 8;
            }

            message = encoder.Input(0, 0, new byte[size + (-size & 3)]);
            FindNumbers();
        }

        private void FindNumbers()
        {
            var reader = new FlatReader();
            reader.Open(message, 0, message.Length);
            FlatTable body;
            reader.Root().Table(1, out body);
            seqAt = body.Find(0);
            tickAt = body.Find(1);
            int vectorAt = body.Find(2);
            payloadAt = vectorAt == 0 ? 0 : reader.Slice(vectorAt).Offset;
        }

        public InputValues CreateValues()
        {
            return new InputValues(fields);
        }

        /// <summary>Begins a new session: the next input has the number 1.</summary>
        public void Reset()
        {
            Seq = 0;
        }

        /// <summary>Encodes the next input. The bytes are valid until the next one.</summary>
        /// <exception cref="ArgumentException">The values are of another room, or one is not a finite number.</exception>
        public ArraySegment<byte> Encode(uint tick, InputValues values)
        {
            if (!values.HasFields(fields))
            {
                throw new ArgumentException("these values are of another room: create them after each Joined");
            }

            values.WriteTo(message, payloadAt);
            Seq += 1;
            Write(seqAt, Seq);
            Write(tickAt, tick);
            return new ArraySegment<byte>(message, 0, message.Length);
        }

        private void Write(int at, uint number)
        {
            message[at] = (byte)number;
            message[at + 1] = (byte)(number >> 8);
            message[at + 2] = (byte)(number >> 16);
            message[at + 3] = (byte)(number >> 24);
        }
    }
}
