// A table whose rows are structs that `tickwire codegen csharp` generates.

using System;

namespace Tickwire
{
    /// <summary>A table of a room: `foreach (ArenaShips ship in room.Ships)`. Its rows are valid until the next state.
    /// Allocates nothing.</summary>
    public sealed class TypedTable<TRow>
        where TRow : struct
    {
        private readonly TableReader reader;
        private readonly Func<TableReader, int, TRow> create;

        public TypedTable(Room room, string name, string[] names, Func<TableReader, int, TRow> create)
        {
            reader = new TableReader(room, name, names);
            this.create = create;
        }

        /// <summary>The number of entities.</summary>
        public int Count
        {
            get { return reader.Table.Count; }
        }

        /// <summary>Returns a row. Rows are in ascending order of the entities' ids.</summary>
        public TRow this[int row]
        {
            get { return create(reader, row); }
        }

        public bool Contains(uint id)
        {
            return reader.Table.Contains(id);
        }

        /// <summary>Finds the row of an entity. Returns false if it does not exist.</summary>
        public bool TryFind(uint id, out TRow row)
        {
            int found = reader.Table.RowOf(id);
            row = found < 0 ? default(TRow) : create(reader, found);
            return found >= 0;
        }

        public Enumerator GetEnumerator()
        {
            return new Enumerator(this);
        }

        public struct Enumerator
        {
            private readonly TypedTable<TRow> table;
            private int row;

            internal Enumerator(TypedTable<TRow> table)
            {
                this.table = table;
                row = -1;
            }

            public TRow Current
            {
                get { return table[row]; }
            }

            public bool MoveNext()
            {
                row++;
                return row < table.Count;
            }
        }
    }
}
