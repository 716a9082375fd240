// One state of a table, in buffers that are used again.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The entities of one tick, in ascending order of their ids, and their numbers by column.</summary>
    internal sealed class Snapshot
    {
        public uint Tick;
        public int Count;
        public uint[] Ids = new uint[0];
        public double[][] Columns = new double[0][];

        public void Fill(World world, WorldTable table, List<WorldColumn> columns)
        {
            Tick = world.Tick;
            Count = table.Count;
            Grow(columns.Count);
            for (int row = 0; row < Count; row++)
            {
                Ids[row] = table.IdAt(row);
            }

            for (int index = 0; index < columns.Count; index++)
            {
                WorldColumn column = columns[index];
                double[] numbers = Columns[index];
                for (int row = 0; row < Count; row++)
                {
                    numbers[row] = column.Number(row);
                }
            }
        }

        /// <summary>Returns the row of an entity; -1 without one.</summary>
        public int RowOf(uint id)
        {
            int row = Array.BinarySearch(Ids, 0, Count, id);
            return row < 0 ? -1 : row;
        }

        private void Grow(int columnCount)
        {
            int size = Ids.Length;
            if (size < Count)
            {
                size = Math.Max(Count, 2 * size);
                Ids = new uint[size];
            }

            if (Columns.Length != columnCount)
            {
                Columns = new double[columnCount][];
            }

            for (int index = 0; index < columnCount; index++)
            {
                if (Columns[index] == null || Columns[index].Length < size)
                {
                    Columns[index] = new double[size];
                }
            }
        }
    }
}
