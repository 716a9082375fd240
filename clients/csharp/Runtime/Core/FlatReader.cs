// Reads FlatBuffers tables. Layout: https://flatbuffers.dev/internals/.
//
// Every offset and length is checked against the message before it is followed; invalid ones raise
// MalformedMessageException. One message can refer to one string many times: all texts, vectors and tables together have at
// most as many bytes as the message, so that a small message is not decoded to large objects.

using System;
using System.Text;

namespace Tickwire
{
    /// <summary>Reads the numbers, vectors and tables of one message at a time. Positions count from its first byte.</summary>
    internal sealed class FlatReader
    {
        private const int TextBytesMax = 4096;
        private static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);
        private byte[] data = new byte[0];
        private int start;
        private int size;
        private long budget;

        public void Open(byte[] bytes, int offset, int count)
        {
            data = bytes;
            start = offset;
            size = count;
            budget = count;
        }

        public FlatTable Root()
        {
            return new FlatTable(this, Follow(0));
        }

        /// <summary>Returns the position that the unsigned offset at a position points to.</summary>
        public int Follow(int position)
        {
            long target = position + (long)U32(position);
            if (target == position || target + 4 > size)
            {
                throw new MalformedMessageException("the offset at byte " + position + " points outside the message");
            }

            return (int)target;
        }

        /// <summary>Returns the number of items of the vector at a position.</summary>
        public int Length(int vector, int itemBytes)
        {
            uint count = U32(vector);
            if (vector + 4 + (long)count * itemBytes > size)
            {
                throw new MalformedMessageException("the vector at byte " + vector + " ends outside the message");
            }

            Spend((int)count * itemBytes);
            return (int)count;
        }

        /// <summary>Finds the byte vector that the offset at a position points to, without copying it.</summary>
        public ArraySegment<byte> Slice(int position)
        {
            int vector = Follow(position);
            int count = Length(vector, 1);
            return new ArraySegment<byte>(data, start + vector + 4, count);
        }

        public byte[] Bytes(int position)
        {
            ArraySegment<byte> slice = Slice(position);
            byte[] copy = new byte[slice.Count];
            Buffer.BlockCopy(data, slice.Offset, copy, 0, slice.Count);
            return copy;
        }

        public string Text(int position)
        {
            ArraySegment<byte> slice = Slice(position);
            if (slice.Count > TextBytesMax)
            {
                throw new MalformedMessageException("a text has " + slice.Count + " bytes; at most " + TextBytesMax + " are allowed");
            }

            return DecodeText(data, slice.Offset, slice.Count);
        }

        /// <summary>Decodes UTF-8 of a peer.</summary>
        public static string DecodeText(byte[] bytes, int offset, int count)
        {
            try
            {
                return Utf8.GetString(bytes, offset, count);
            }
            catch (ArgumentException error)
            {
                throw new MalformedMessageException("a text is not UTF-8", error);
            }
        }

        /// <summary>Counts bytes that are decoded.</summary>
        public void Spend(int count)
        {
            budget -= count;
            if (budget < 0)
            {
                throw new MalformedMessageException("the message refers to more bytes than its own size");
            }
        }

        public byte U8(int position)
        {
            return data[Check(position, 1)];
        }

        public ushort U16(int position)
        {
            int at = Check(position, 2);
            return (ushort)(data[at] | (data[at + 1] << 8));
        }

        public uint U32(int position)
        {
            int at = Check(position, 4);
            return (uint)(data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24));
        }

        public ulong U64(int position)
        {
            Check(position, 8);
            return U32(position) | ((ulong)U32(position + 4) << 32);
        }

        /// <summary>Raises an exception unless the message has this number of bytes at a position. Returns the index of the
        /// first one in the buffer.</summary>
        public int Check(int position, int count)
        {
            if (position < 0 || position > size - count)
            {
                throw new MalformedMessageException("byte " + position + " is outside the message of " + size + " bytes");
            }

            return start + position;
        }
    }

    /// <summary>A table of a message. A field that is absent has its default value.</summary>
    internal readonly struct FlatTable
    {
        private readonly FlatReader reader;
        private readonly int position;
        private readonly int vtable;
        private readonly int slots;

        public FlatTable(FlatReader reader, int position)
        {
            this.reader = reader;
            this.position = position;
            vtable = unchecked(position - (int)reader.U32(position)); // any number: it is checked when it is read
            int vtableSize = reader.U16(vtable);
            int tableSize = reader.U16(vtable + 2);
            if (vtableSize < 4 || (vtableSize & 1) != 0 || tableSize < 4)
            {
                throw new MalformedMessageException("the vtable at byte " + vtable + " is invalid");
            }

            slots = vtableSize / 2 - 2;
            reader.Check(position, tableSize);
            for (int slot = 0; slot < slots; slot++)
            {
                int offset = reader.U16(vtable + 4 + 2 * slot);
                if (offset != 0 && (offset < 4 || offset >= tableSize))
                {
                    throw new MalformedMessageException("a field of the table at byte " + position + " is outside the table");
                }
            }
        }

        /// <summary>Returns the position of a field; 0 if it is absent.</summary>
        public int Find(int slot)
        {
            if (slot >= slots)
            {
                return 0;
            }

            int offset = reader.U16(vtable + 4 + 2 * slot);
            return offset == 0 ? 0 : position + offset;
        }

        public byte U8(int slot)
        {
            int at = Find(slot);
            return at == 0 ? (byte)0 : reader.U8(at);
        }

        public bool Bool(int slot)
        {
            return U8(slot) != 0;
        }

        public ushort U16(int slot)
        {
            int at = Find(slot);
            return at == 0 ? (ushort)0 : reader.U16(at);
        }

        public uint U32(int slot)
        {
            int at = Find(slot);
            return at == 0 ? 0 : reader.U32(at);
        }

        public ulong U64(int slot)
        {
            int at = Find(slot);
            return at == 0 ? 0 : reader.U64(at);
        }

        public float F32(int slot)
        {
            return BitConverter.Int32BitsToSingle(unchecked((int)U32(slot)));
        }

        public double F64(int slot)
        {
            return BitConverter.Int64BitsToDouble(unchecked((long)U64(slot)));
        }

        public string Text(int slot)
        {
            int at = Find(slot);
            return at == 0 ? "" : reader.Text(at);
        }

        public byte[] Bytes(int slot)
        {
            int at = Find(slot);
            return at == 0 ? new byte[0] : reader.Bytes(at);
        }

        /// <summary>Finds a field that is a table.</summary>
        public bool Table(int slot, out FlatTable table)
        {
            int at = Find(slot);
            table = at == 0 ? default(FlatTable) : new FlatTable(reader, reader.Follow(at));
            return at != 0;
        }

        /// <summary>Finds a field that is a vector of offsets.</summary>
        public FlatVector Vector(int slot)
        {
            int at = Find(slot);
            return at == 0 ? default(FlatVector) : new FlatVector(reader, reader.Follow(at));
        }
    }

    /// <summary>A vector of tables or of texts.</summary>
    internal readonly struct FlatVector
    {
        private readonly FlatReader reader;
        private readonly int position;

        public FlatVector(FlatReader reader, int position)
        {
            this.reader = reader;
            this.position = position;
            Count = reader.Length(position, 4);
        }

        public int Count { get; }

        public FlatTable Table(int index)
        {
            return new FlatTable(reader, reader.Follow(position + 4 + 4 * index));
        }

        public string Text(int index)
        {
            return reader.Text(position + 4 + 4 * index);
        }
    }
}
