// Merges the rows of one table over all channels.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The entities of all channels in ascending order. Its arrays are reused.</summary>
    internal sealed class RowMerger
    {
        private readonly List<TableBuffer> buffers = new List<TableBuffer>();

        // With entities in several channels only: the id, and the place of an entity: its channel, and its row there.
        private ulong[] places = new ulong[0];
        private ulong[] merged = new ulong[0];
        private uint[] ids = new uint[0];

        public int Count { get; private set; }

        /// <summary>Merges a table of all channels. If an entity is in two of them, the first counts: it is moving.</summary>
        public void Merge(List<Channel> channels, int table)
        {
            buffers.Clear();
            Count = 0;
            for (int index = 0; index < channels.Count; index++)
            {
                TableBuffer buffer = channels[index].Tables[table].Now;
                if (buffer.Size > 0)
                {
                    buffers.Add(buffer);
                    Count += buffer.Size;
                }
            }

            if (buffers.Count > 1)
            {
                MergeSeveral();
            }
        }

        public uint IdAt(int row)
        {
            Check(row);
            return buffers.Count > 1 ? ids[row] : buffers[0].Ids[row];
        }

        public int RowOf(uint id)
        {
            if (Count == 0)
            {
                return -1;
            }

            uint[] sorted = buffers.Count > 1 ? ids : buffers[0].Ids;
            int low = 0;
            int high = Count - 1;
            while (low <= high)
            {
                int middle = (low + high) >> 1;
                uint found = sorted[middle];
                if (found == id)
                {
                    return middle;
                }

                if (found < id)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle - 1;
                }
            }

            return -1;
        }

        public long Number(int row, int column)
        {
            Check(row);
            if (buffers.Count == 1)
            {
                return buffers[0].Columns[column][row];
            }

            ulong place = places[row];
            return buffers[(int)(place >> 16) & 0xffff].Columns[column][(int)place & 0xffff];
        }

        public TextValue Text(int row, int column)
        {
            Check(row);
            if (buffers.Count == 1)
            {
                return buffers[0].Texts[column][row];
            }

            ulong place = places[row];
            return buffers[(int)(place >> 16) & 0xffff].Texts[column][(int)place & 0xffff];
        }

        private void Check(int row)
        {
            if (row < 0 || row >= Count)
            {
                throw new ArgumentOutOfRangeException("row", "the table has " + Count + " rows");
            }
        }

        // A place is one number: the id, then 16 bits for the channel, then 16 bits for the row. There are at most 2^16
        // channels, and at most 2^16 entities of a table in each. Places of one channel ascend, so sorted runs are merged.
        private void MergeSeveral()
        {
            Arrays.Reserve(ref places, Count);
            Arrays.Reserve(ref merged, Count);
            Arrays.Reserve(ref ids, Count);
            int at = 0;
            for (int channel = 0; channel < buffers.Count; channel++)
            {
                TableBuffer buffer = buffers[channel];
                for (int row = 0; row < buffer.Size; row++)
                {
                    places[at++] = ((ulong)buffer.Ids[row] << 32) | ((ulong)(uint)channel << 16) | (uint)row;
                }
            }

            Sort();
            int kept = 0;
            for (int row = 0; row < Count; row++)
            {
                uint id = (uint)(places[row] >> 32);
                if (kept == 0 || ids[kept - 1] != id)
                {
                    ids[kept] = id;
                    places[kept++] = places[row];
                }
            }

            Count = kept;
        }

        /// <summary>Merges ascending runs until one is left: n log k steps, and nothing is allocated.</summary>
        private void Sort()
        {
            bool isSorted = false;
            while (!isSorted)
            {
                int start = 0;
                isSorted = true;
                while (start < Count)
                {
                    int middle = RunEnd(start);
                    int end = middle < Count ? RunEnd(middle) : middle;
                    isSorted &= start == 0 && end == Count;
                    MergeRuns(start, middle, end);
                    start = end;
                }

                ulong[] swapped = places;
                places = merged;
                merged = swapped;
            }
        }

        private int RunEnd(int start)
        {
            int end = start + 1;
            while (end < Count && places[end - 1] < places[end])
            {
                end++;
            }

            return end;
        }

        private void MergeRuns(int start, int middle, int end)
        {
            int left = start;
            int right = middle;
            for (int at = start; at < end; at++)
            {
                bool isLeft = right >= end || (left < middle && places[left] < places[right]);
                merged[at] = isLeft ? places[left++] : places[right++];
            }
        }
    }
}
