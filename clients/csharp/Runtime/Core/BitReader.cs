// Reads the packed part of a state frame: LEB128 numbers and bytes, and numbers of any width, lowest bit first. Invalid
// data raises MalformedMessageException. Layout: docs/protocol.md, "Packed".

using System;
using System.Buffers.Binary;

namespace Tickwire
{
    /// <summary>A reader that is reused for all frames. It copies each frame into its own buffer, which is padded with zeros,
    /// so that eight bytes can be loaded at any position.</summary>
    internal sealed class BitReader
    {
        private const int Padding = 16;

        // The number of trailing zeros of a power of two, by a multiplication with a de Bruijn sequence.
        private static readonly byte[] TrailingZeros =
        {
            0, 1, 28, 2, 29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4, 8, 31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6, 11, 5, 10, 9,
        };

        private byte[] data = new byte[4096];
        private int size;
        private int at;
        private int bit;

        public bool IsAtEnd
        {
            get { return at == size; }
        }

        /// <summary>The position of the next byte.</summary>
        public int Position
        {
            get { return at; }
        }

        /// <summary>Starts to read these bytes.</summary>
        public void Open(byte[] bytes, int offset, int count)
        {
            if (count + Padding > data.Length)
            {
                data = new byte[2 * count + Padding];
            }

            Buffer.BlockCopy(bytes, offset, data, 0, count);
            Array.Clear(data, count, Padding);
            size = count;
            at = 0;
        }

        // -- bytes ------------------------------------------------------------------------------------------

        /// <summary>Reads a LEB128 number of at most 35 bits.</summary>
        public long Varint()
        {
            long value = 0;
            for (int shift = 0; shift < 35; shift += 7)
            {
                if (at >= size)
                {
                    throw Truncated();
                }

                byte octet = data[at++];
                value |= (long)(octet & 0x7f) << shift;
                if (octet < 0x80)
                {
                    return value;
                }
            }

            throw new MalformedMessageException("a varint is longer than 35 bits");
        }

        /// <summary>Skips bytes, and returns the position of the first one.</summary>
        public int Skip(long count)
        {
            if (count > size - at)
            {
                throw Truncated();
            }

            at += (int)count;
            return at - (int)count;
        }

        public byte[] Bytes(int count)
        {
            int start = Skip(count);
            var bytes = new byte[count];
            Buffer.BlockCopy(data, start, bytes, 0, count);
            return bytes;
        }

        public uint U32()
        {
            return BinaryPrimitives.ReadUInt32LittleEndian(new ReadOnlySpan<byte>(data, Skip(4), 4));
        }

        /// <summary>Reads a count and that many ascending numbers below a limit, encoded as differences. Returns the
        /// count.</summary>
        public int Ascending(long limit, ref uint[] into)
        {
            long count = Varint();
            if (count > size - at)
            {
                throw new MalformedMessageException("a list is longer than the message");
            }

            Arrays.Reserve(ref into, (int)count);
            long last = 0;
            for (int index = 0; index < count; index++)
            {
                long step = Varint();
                if (index > 0 && step == 0)
                {
                    throw new MalformedMessageException("a list contains a number twice");
                }

                last += step;
                if (last >= limit)
                {
                    throw new MalformedMessageException(last + " is not below " + limit);
                }

                into[index] = (uint)last;
            }

            return (int)count;
        }

        // -- bits -------------------------------------------------------------------------------------------

        /// <summary>Switches to bits, from the current byte.</summary>
        public void ToBits()
        {
            bit = at * 8;
        }

        /// <summary>Switches to bytes, from the next whole byte.</summary>
        public void ToBytes()
        {
            at = (bit + 7) >> 3;
        }

        /// <summary>Raises an exception unless this number of bits is left.</summary>
        public void Need(long bits)
        {
            if (bits > size * 8L - bit)
            {
                throw Truncated();
            }
        }

        /// <summary>Reads a number of at most 63 bits. Call `Need` first.</summary>
        public ulong Number(int width)
        {
            if (width == 0)
            {
                return 0;
            }

            int index = bit >> 3;
            int shift = bit & 7;
            bit += width;
            ulong value = Load(index) >> shift;
            if (shift + width > 64)
            {
                value |= (ulong)data[index + 8] << (64 - shift);
            }

            return value & (ulong.MaxValue >> (64 - width));
        }

        /// <summary>Reads numbers of the same width, zigzag. Call `Need` first.</summary>
        public void Zigzag(int width, long[] into, int count)
        {
            for (int row = 0; row < count; row++)
            {
                ulong code = Number(width);
                into[row] = (long)(code >> 1) ^ -(long)(code & 1);
            }
        }

        /// <summary>Reads a unary number: the count of zeros before a one, at most `limit`, which is below 32.</summary>
        public int Unary(int limit)
        {
            uint window = (uint)(Load(bit >> 3) >> (bit & 7));
            if (window == 0)
            {
                throw new MalformedMessageException("a code is too long");
            }

            int zeros = TrailingZeros[((window & (0u - window)) * 0x077cb531u) >> 27];
            Need(zeros + 1);
            if (zeros > limit)
            {
                throw new MalformedMessageException("a code is too long");
            }

            bit += zeros + 1;
            return zeros;
        }

        private ulong Load(int index)
        {
            return BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(data, index, 8));
        }

        private static MalformedMessageException Truncated()
        {
            return new MalformedMessageException("the packed part ends too early");
        }
    }

    /// <summary>Arrays that grow and are reused.</summary>
    internal static class Arrays
    {
        /// <summary>Makes an array at least as long as `count`. Its old contents may be lost.</summary>
        public static void Reserve<T>(ref T[] array, int count)
        {
            if (array.Length < count)
            {
                array = new T[2 * count];
            }
        }
    }
}
