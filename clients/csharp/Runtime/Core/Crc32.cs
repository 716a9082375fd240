// CRC-32 as in zlib, over the values that a checksum of the protocol covers.

namespace Tickwire
{
    /// <summary>A checksum. It reads eight bytes at a time with eight tables ("slicing by eight", Intel, 2006).</summary>
    internal struct Crc32
    {
        private static readonly uint[] Table = CreateTable();
        private uint inverted;

        /// <summary>The checksum of the values that were added.</summary>
        public uint Value
        {
            get { return inverted; }
        }

        public void Add(byte[] bytes)
        {
            uint crc = ~inverted;
            for (int at = 0; at < bytes.Length; at++)
            {
                crc = Table[(byte)(crc ^ bytes[at])] ^ (crc >> 8);
            }

            inverted = ~crc;
        }

        /// <summary>Adds a number of four bytes, little-endian.</summary>
        public void Add(uint value)
        {
            uint crc = ~inverted ^ value;
            inverted = ~(Table[768 + (byte)crc] ^ Table[512 + (byte)(crc >> 8)] ^ Table[256 + (byte)(crc >> 16)]
                ^ Table[crc >> 24]);
        }

        /// <summary>Adds numbers of eight bytes, little-endian.</summary>
        public void Add(long[] values, int count)
        {
            uint[] table = Table;
            uint crc = ~inverted;
            for (int at = 0; at < count; at++)
            {
                uint low = crc ^ (uint)values[at];
                uint high = (uint)(values[at] >> 32);
                crc = table[1792 + (byte)low] ^ table[1536 + (byte)(low >> 8)] ^ table[1280 + (byte)(low >> 16)]
                    ^ table[1024 + (low >> 24)] ^ table[768 + (byte)high] ^ table[512 + (byte)(high >> 8)]
                    ^ table[256 + (byte)(high >> 16)] ^ table[high >> 24];
            }

            inverted = ~crc;
        }

        public void Add(long value)
        {
            Add((uint)value);
            Add((uint)(value >> 32));
        }

        private static uint[] CreateTable()
        {
            var table = new uint[8 * 256];
            for (uint index = 0; index < 256; index++)
            {
                uint value = index;
                for (int bit = 0; bit < 8; bit++)
                {
                    value = (value & 1) != 0 ? (value >> 1) ^ 0xedb88320u : value >> 1;
                }

                table[index] = value;
            }

            for (int index = 256; index < table.Length; index++)
            {
                uint previous = table[index - 256];
                table[index] = table[previous & 0xff] ^ (previous >> 8);
            }

            return table;
        }
    }
}
