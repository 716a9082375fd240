// Buffers that are used again, so that a message allocates nothing.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>A few byte arrays of growing size. Thread-safe.</summary>
    internal sealed class BufferPool
    {
        private const int BuffersMax = 32;
        private const int BytesMin = 1024;

        /// <summary>Larger buffers, of keyframes of large rooms, are not kept.</summary>
        private const int BytesMax = 256 * 1024;
        private readonly Stack<byte[]> free = new Stack<byte[]>(BuffersMax);

        /// <summary>Returns a buffer of at least this size.</summary>
        public byte[] Rent(int count)
        {
            lock (free)
            {
                byte[] buffer = free.Count > 0 ? free.Pop() : null;
                if (buffer != null && buffer.Length >= count)
                {
                    return buffer;
                }
            }

            int size = BytesMin;
            while (size < count)
            {
                size *= 2;
            }

            return new byte[size];
        }

        public void Return(byte[] buffer)
        {
            lock (free)
            {
                if (free.Count < BuffersMax && buffer.Length <= BytesMax)
                {
                    free.Push(buffer);
                }
            }
        }
    }
}
