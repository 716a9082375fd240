// Writes FlatBuffers tables, from the last byte of a message to the first; byte for byte as the FlatBuffers library does.
// Layout: https://flatbuffers.dev/internals/.

using System;
using System.Text;

namespace Tickwire
{
    /// <summary>Writes one message at a time. Positions count from the end of the message. Its buffer is reused.</summary>
    internal sealed class FlatBuilder
    {
        private static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);
        private readonly int[] fields = new int[16];
        private byte[] data = new byte[256];
        private int head = 256;
        private int alignment = 1;
        private int fieldCount;
        private int tableEnd;

        private int Size
        {
            get { return data.Length - head; }
        }

        public void Clear()
        {
            head = data.Length;
            alignment = 1;
        }

        // -- objects ----------------------------------------------------------------------------------------

        /// <summary>Writes a text.</summary>
        /// <exception cref="MessageTooLargeException">The server accepts no text of this size.</exception>
        public int Text(string value, string name)
        {
            const int textBytesMax = 4096;
            byte[] bytes = Utf8.GetBytes(value ?? "");
            if (bytes.Length > textBytesMax)
            {
                throw new MessageTooLargeException("the text " + name, bytes.Length, textBytesMax);
            }

            if (bytes.Length == 0)
            {
                return 0;
            }

            Prepare(4, bytes.Length + 1);
            head -= 1;
            data[head] = 0;
            return Raw(bytes, bytes.Length);
        }

        /// <summary>Writes a vector of bytes. Without bytes the field stays absent.</summary>
        public int Bytes(byte[] bytes, int count)
        {
            if (count == 0)
            {
                return 0;
            }

            Prepare(4, count);
            return Raw(bytes, count);
        }

        private int Raw(byte[] bytes, int count)
        {
            head -= count;
            Buffer.BlockCopy(bytes, 0, data, head, count);
            Number((ulong)count, 4);
            return Size;
        }

        // -- tables -----------------------------------------------------------------------------------------

        public void StartTable()
        {
            Array.Clear(fields, 0, fields.Length);
            fieldCount = 0;
            tableEnd = Size;
        }

        /// <summary>Writes a number of 1, 2, 4 or 8 bytes. A number that is 0 stays absent unless `isForced`.</summary>
        public void Add(int slot, ulong value, int bytes, bool isForced = false)
        {
            if (value == 0 && !isForced)
            {
                return;
            }

            Prepare(bytes, 0);
            Number(value, bytes);
            Mark(slot);
        }

        /// <summary>Writes the offset of an object; 0 for an absent one.</summary>
        public void AddOffset(int slot, int target)
        {
            if (target == 0)
            {
                return;
            }

            Prepare(4, 0);
            Number((ulong)(Size - target + 4), 4);
            Mark(slot);
        }

        private void Mark(int slot)
        {
            fields[slot] = Size;
            fieldCount = Math.Max(fieldCount, slot + 1);
        }

        public int EndTable()
        {
            Prepare(4, 0);
            Number(0, 4); // the offset of the vtable, set below
            int table = Size;
            Prepare(2, 2 * (fieldCount + 1));
            for (int slot = fieldCount - 1; slot >= 0; slot--)
            {
                Number((ulong)(fields[slot] == 0 ? 0 : table - fields[slot]), 2);
            }

            Number((ulong)(table - tableEnd), 2);
            Number((ulong)(2 * (fieldCount + 2)), 2);
            int toVtable = Size - table;
            int at = data.Length - table;
            for (int octet = 0; octet < 4; octet++)
            {
                data[at + octet] = (byte)(toVtable >> (8 * octet));
            }

            return table;
        }

        /// <summary>Writes the root table, whose slots 0 and 1 are a union, and returns the message.</summary>
        public byte[] Finish(RequestType type, int body)
        {
            StartTable();
            AddOffset(1, body);
            Add(0, (ulong)type, 1);
            int root = EndTable();
            Prepare(Math.Max(alignment, 4), 4);
            Number((ulong)(Size - root + 4), 4);
            byte[] message = new byte[Size];
            Buffer.BlockCopy(data, head, message, 0, message.Length);
            Clear();
            return message;
        }

        // -- bytes ------------------------------------------------------------------------------------------

        /// <summary>Reserves space, and writes zeros so that a number of this size is aligned after `more` further bytes.</summary>
        private void Prepare(int bytes, int more)
        {
            alignment = Math.Max(alignment, bytes);
            int padding = -(Size + more) & (bytes - 1);
            int needed = padding + more + bytes + 4;
            if (head < needed)
            {
                Grow(needed);
            }

            for (; padding > 0; padding--)
            {
                data[--head] = 0;
            }
        }

        private void Grow(int needed)
        {
            int size = Size;
            byte[] larger = new byte[2 * (data.Length + needed)];
            Buffer.BlockCopy(data, head, larger, larger.Length - size, size);
            head = larger.Length - size;
            data = larger;
        }

        private void Number(ulong value, int bytes)
        {
            head -= bytes;
            for (int octet = 0; octet < bytes; octet++)
            {
                data[head + octet] = (byte)(value >> (8 * octet));
            }
        }
    }
}
