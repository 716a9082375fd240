// Entity interpolation: smooth motion between two snapshots, rendered slightly in the past.
//
// A snapshot is the state at one tick. Rendered on arrival, motion jumps with every tick and stops when a tick is late. The
// world is therefore rendered some ticks behind: late ticks have arrived by then, and values between two ticks can be
// computed. As in Valve's "Source Multiplayer Networking".

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The last snapshots of one table, for the named fields. Allocates nothing in steady state.</summary>
    public sealed class Interpolation
    {
        private const int SnapshotsMax = 16;
        private readonly string tableName;
        private readonly string[] names;
        private readonly Snapshot[] ring = new Snapshot[SnapshotsMax];
        private readonly List<WorldColumn> columns = new List<WorldColumn>();
        private readonly int[] firstColumns;
        private readonly Group[] groups;
        private readonly double[] here = new double[4];
        private readonly double[] there = new double[4];
        private readonly double[] mixed = new double[4];
        private WorldTable table;
        private World world;
        private int newest = -1;
        private int count;

        /// <param name="table">The table's name.</param>
        /// <param name="names">The fields, vectors and quaternions.</param>
        public Interpolation(string table, params string[] names)
        {
            tableName = table;
            this.names = names;
            firstColumns = new int[names.Length];
            groups = new Group[names.Length];
            for (int index = 0; index < SnapshotsMax; index++)
            {
                ring[index] = new Snapshot();
            }
        }

        /// <summary>Adds a snapshot of the table; call it after each state.</summary>
        /// <remarks>A different world discards all snapshots. If the tick went back, that tick and later ones are
        /// discarded.</remarks>
        /// <exception cref="ArgumentException">The table has no such field.</exception>
        public void Push(World current)
        {
            if (!ReferenceEquals(current, world))
            {
                Begin(current);
            }

            if (table == null)
            {
                return;
            }

            while (count > 0 && ring[newest].Tick >= current.Tick)
            {
                newest = (newest - 1 + SnapshotsMax) % SnapshotsMax;
                count--;
            }

            newest = (newest + 1) % SnapshotsMax;
            count = Math.Min(SnapshotsMax, count + 1);
            ring[newest].Fill(current, table, columns);
        }

        /// <summary>Returns the entities at a tick, which may be between two snapshots: `foreach (InterpolatedEntity ship in
        /// ships.Sample(clock.RenderTick(now)))`.</summary>
        /// <remarks>Values that cannot be interpolated (a number of lives) keep the older one. An entity that exists only in
        /// the older snapshot keeps its values; one that exists only in the newer snapshot is not visited yet. Before the
        /// oldest and after the newest snapshot nothing moves.</remarks>
        public InterpolatedEntities Sample(double tick)
        {
            Snapshot older = Before(tick);
            Snapshot newer = older == null ? null : After(tick);
            double fraction = newer != null && newer.Tick > older.Tick ? (tick - older.Tick) / (newer.Tick - older.Tick) : 0;
            return new InterpolatedEntities(this, older, newer, fraction);
        }

        internal double Number(in InterpolatedEntity entity, string name)
        {
            int index = Array.IndexOf(names, name);
            if (index >= 0 && groups[index] == null)
            {
                return Number(entity, firstColumns[index]);
            }

            for (int part = 0; part < columns.Count; part++)
            {
                if (columns[part].Field.Name == name)
                {
                    return Number(entity, part);
                }
            }

            throw new ArgumentException("the field " + name + " is not interpolated: name it in the constructor");
        }

        internal double[] Vector(in InterpolatedEntity entity, string name)
        {
            int index = Array.IndexOf(names, name);
            if (index < 0 || groups[index] == null)
            {
                throw new ArgumentException("the vector " + name + " is not interpolated: name it in the constructor");
            }

            Group group = groups[index];
            if (!entity.IsBetween)
            {
                Join(group, firstColumns[index], entity.Older, entity.OlderRow, mixed);
                return mixed;
            }

            Join(group, firstColumns[index], entity.Older, entity.OlderRow, here);
            Join(group, firstColumns[index], entity.Newer, entity.NewerRow, there);
            group.Mix(here, there, entity.Fraction, mixed);
            return mixed;
        }

        private static void Join(Group group, int first, Snapshot snapshot, int row, double[] into)
        {
            double[][] numbers = snapshot.Columns;
            if (group.IsQuaternion)
            {
                Quaternions.Unpack(
                    (int)numbers[first][row], numbers[first + 1][row], numbers[first + 2][row], numbers[first + 3][row], into);
                return;
            }

            for (int part = 0; part < group.Size; part++)
            {
                into[part] = numbers[first + part][row];
            }
        }

        private double Number(in InterpolatedEntity entity, int column)
        {
            double from = entity.Older.Columns[column][entity.OlderRow];
            FieldKind kind = columns[column].Field.Kind;
            if (!entity.IsBetween || (kind != FieldKind.Real && kind != FieldKind.Angle))
            {
                return from;
            }

            double difference = entity.Newer.Columns[column][entity.NewerRow] - from;
            return from + entity.Fraction * (kind == FieldKind.Angle ? Angles.ShortWay(difference) : difference);
        }

        private void Begin(World current)
        {
            world = current;
            count = 0;
            columns.Clear();
            table = current.HasTable(tableName) ? current.Table(tableName) : null;
            for (int index = 0; table != null && index < names.Length; index++)
            {
                firstColumns[index] = columns.Count;
                groups[index] = table.HasGroup(names[index]) ? table.Group(names[index]).Group : null;
                if (groups[index] == null)
                {
                    columns.Add(table.Column(names[index]));
                    continue;
                }

                foreach (string part in groups[index].Parts)
                {
                    columns.Add(table.Column(part));
                }
            }
        }

        private Snapshot Before(double tick)
        {
            Snapshot found = null;
            for (int back = 0; back < count; back++)
            {
                found = ring[(newest - back + SnapshotsMax) % SnapshotsMax];
                if (found.Tick <= tick)
                {
                    return found;
                }
            }

            return found;
        }

        private Snapshot After(double tick)
        {
            Snapshot found = null;
            for (int back = 0; back < count; back++)
            {
                Snapshot snapshot = ring[(newest - back + SnapshotsMax) % SnapshotsMax];
                if (snapshot.Tick <= tick)
                {
                    return found;
                }

                found = snapshot;
            }

            return null; // all are newer: nothing moves yet
        }
    }
}
