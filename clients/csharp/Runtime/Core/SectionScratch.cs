// Arrays for reading one section, shared by all tables of a world.

namespace Tickwire
{
    /// <summary>The entities that leave, stay and enter in a section. Only as many items of each array are valid as there are
    /// such entities.</summary>
    internal sealed class SectionScratch
    {
        public readonly ColumnReader Columns = new ColumnReader();

        /// <summary>The rows of the entities that left.</summary>
        public uint[] Left = new uint[64];

        /// <summary>The ids of the entities that entered.</summary>
        public uint[] Entered = new uint[64];

        /// <summary>The old rows of the entities that stayed.</summary>
        public int[] Kept = new int[64];

        /// <summary>The source of each new row: an index of `Kept`, or -1 - an index of `Entered`.</summary>
        public int[] Order = new int[64];

        /// <summary>Of the entities that entered: the values of each column, then the changes of each column.</summary>
        public long[] Fresh = new long[64];

        /// <summary>Of the entities that stayed: the values of one column, those before them, and the new ones.</summary>
        public long[] Last = new long[64];
        public long[] Before = new long[64];
        public long[] Result = new long[64];
        private long[] plain = new long[64];

        /// <summary>Finds which rows stay, and the order of all rows by their ids.</summary>
        /// <exception cref="MalformedMessageException">An entity entered that is there already.</exception>
        public void Merge(TableBuffer now, int left, int entered)
        {
            int stayed = now.Size - left;
            Arrays.Reserve(ref Kept, stayed);
            Arrays.Reserve(ref Last, stayed);
            Arrays.Reserve(ref Before, stayed);
            Arrays.Reserve(ref Result, stayed);
            Arrays.Reserve(ref Order, stayed + entered);
            int gone = 0;
            int kept = 0;
            for (int row = 0; row < now.Size; row++)
            {
                if (gone < left && Left[gone] == row)
                {
                    gone++;
                }
                else
                {
                    Kept[kept++] = row;
                }
            }

            kept = 0;
            int fresh = 0;
            for (int row = 0; row < stayed + entered; row++)
            {
                long here = kept < stayed ? now.Ids[Kept[kept]] : long.MaxValue;
                long there = fresh < entered ? Entered[fresh] : long.MaxValue;
                if (here == there)
                {
                    throw new MalformedMessageException("an entity entered that already exists");
                }

                Order[row] = here < there ? kept++ : -1 - fresh++;
            }
        }

        /// <summary>Reads the columns of the entities that entered.</summary>
        public void ReadEntered(BitReader bits, Field[] fields, int entered)
        {
            if (entered == 0)
            {
                return;
            }

            Arrays.Reserve(ref plain, entered);
            Arrays.Reserve(ref Fresh, 2 * fields.Length * entered);
            for (int column = 0; column < 2 * fields.Length; column++)
            {
                Columns.ReadEntered(bits, entered, plain);
                if (column < fields.Length)
                {
                    ColumnReader.CheckRange(fields[column], entered, plain);
                }

                System.Array.Copy(plain, 0, Fresh, column * entered, entered);
            }
        }
    }
}
