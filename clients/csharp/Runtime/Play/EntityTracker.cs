// Reports the entities that enter, change and leave, so that a scene need not compare whole tables.

using System;
using System.Collections.Generic;
using System.Runtime.ExceptionServices;

namespace Tickwire
{
    /// <summary>Tracks the entities of one table. Call `Update` after each state. An entity that moves from one channel to
    /// another neither leaves nor enters. Allocates nothing once its arrays are large enough.</summary>
    public sealed class EntityTracker
    {
        private readonly string tableName;
        private readonly string[] names;
        private readonly List<WorldColumn> columns = new List<WorldColumn>();
        private readonly List<Report> reports = new List<Report>();
        private World world;
        private WorldTable table;
        private TrackedRows known = new TrackedRows();
        private TrackedRows spare = new TrackedRows();

        /// <param name="table">The name of the table.</param>
        /// <param name="fields">The fields whose changes are reported; vectors and quaternions too.</param>
        public EntityTracker(string table, params string[] fields)
        {
            tableName = table;
            names = fields;
        }

        /// <summary>An entity is new.</summary>
        public event Action<uint> Entered;

        /// <summary>A tracked field of an entity has another value.</summary>
        public event Action<uint> Changed;

        /// <summary>An entity is gone.</summary>
        public event Action<uint> Left;

        private enum Change
        {
            Entered,
            Changed,
            Left,
        }

        /// <summary>Reports the changes since the last call: entities that left, then those that entered or changed, in the
        /// order of their ids. With another world, all entities have left.</summary>
        /// <exception cref="ArgumentException">The table has no such field.</exception>
        public void Update(World current)
        {
            if (!ReferenceEquals(current, world))
            {
                End();
                Begin(current);
            }

            spare.Read(table, columns);
            Compare();
            TrackedRows swapped = known;
            known = spare;
            spare = swapped;
            Notify();
        }

        /// <summary>Reports that all entities have left, when the room is gone.</summary>
        public void End()
        {
            world = null;
            table = null;
            reports.Clear();
            for (int row = 0; row < known.Count; row++)
            {
                reports.Add(new Report(Change.Left, known.Ids[row]));
            }

            known.Count = 0;
            Notify();
        }

        private void Begin(World current)
        {
            columns.Clear();
            WorldTable found = current.HasTable(tableName) ? current.Table(tableName) : null;
            for (int index = 0; found != null && index < names.Length; index++)
            {
                if (!found.HasGroup(names[index]))
                {
                    columns.Add(found.Column(names[index]));
                    continue;
                }

                foreach (string part in found.Group(names[index]).Group.Parts)
                {
                    columns.Add(found.Column(part));
                }
            }

            world = current;
            table = found;
        }

        /// <summary>Compares the known rows with those in `spare`; both are sorted by ids.</summary>
        private void Compare()
        {
            reports.Clear();
            int now = 0;
            for (int row = 0; row < known.Count; row++)
            {
                while (now < spare.Count && spare.Ids[now] < known.Ids[row])
                {
                    now++;
                }

                if (now == spare.Count || spare.Ids[now] != known.Ids[row])
                {
                    reports.Add(new Report(Change.Left, known.Ids[row]));
                }
            }

            int before = 0;
            for (int row = 0; row < spare.Count; row++)
            {
                while (before < known.Count && known.Ids[before] < spare.Ids[row])
                {
                    before++;
                }

                if (before == known.Count || known.Ids[before] != spare.Ids[row])
                {
                    reports.Add(new Report(Change.Entered, spare.Ids[row]));
                }
                else if (!spare.IsEqual(row, known, before, columns.Count))
                {
                    reports.Add(new Report(Change.Changed, spare.Ids[row]));
                }
            }
        }

        /// <summary>Calls the listeners. The first exception is raised after all reports, which are not made again.</summary>
        private void Notify()
        {
            ExceptionDispatchInfo failure = null;
            for (int index = 0; index < reports.Count; index++)
            {
                Change change = reports[index].Change;
                Action<uint> listener = change == Change.Entered ? Entered : change == Change.Changed ? Changed : Left;
                try
                {
                    if (listener != null)
                    {
                        listener(reports[index].Id);
                    }
                }
                catch (Exception error)
                {
                    failure = failure ?? ExceptionDispatchInfo.Capture(error);
                }
            }

            if (failure != null)
            {
                failure.Throw();
            }
        }

        private readonly struct Report
        {
            public readonly Change Change;
            public readonly uint Id;

            public Report(Change change, uint id)
            {
                Change = change;
                Id = id;
            }
        }

        /// <summary>The ids and the tracked values of all entities at one state.</summary>
        private sealed class TrackedRows
        {
            private static readonly byte[] NoBytes = new byte[0];
            public int Count;
            public uint[] Ids = new uint[16];
            private long[] numbers = new long[16];
            private byte[][] texts = new byte[16][];

            public void Read(WorldTable table, List<WorldColumn> columns)
            {
                Count = table != null ? table.Count : 0;
                Arrays.Reserve(ref Ids, Count);
                Arrays.Reserve(ref numbers, Count * columns.Count);
                Arrays.Reserve(ref texts, Count * columns.Count);
                for (int row = 0; row < Count; row++)
                {
                    Ids[row] = table.IdAt(row);
                    for (int column = 0; column < columns.Count; column++)
                    {
                        int at = row * columns.Count + column;
                        bool isText = columns[column].Field.IsText;
                        numbers[at] = isText ? 0 : columns[column].Quantised(row);
                        texts[at] = isText ? columns[column].Bytes(row) : NoBytes;
                    }
                }
            }

            public bool IsEqual(int row, TrackedRows others, int otherRow, int columns)
            {
                bool isEqual = true;
                for (int column = 0; isEqual && column < columns; column++)
                {
                    int here = row * columns + column;
                    int there = otherRow * columns + column;
                    isEqual = numbers[here] == others.numbers[there] && AreEqual(texts[here], others.texts[there]);
                }

                return isEqual;
            }

            private static bool AreEqual(byte[] some, byte[] others)
            {
                bool isEqual = some.Length == others.Length;
                for (int index = 0; isEqual && !ReferenceEquals(some, others) && index < some.Length; index++)
                {
                    isEqual = some[index] == others[index];
                }

                return isEqual;
            }
        }
    }
}
