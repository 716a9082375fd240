// Reads the fields of a table by their places in a list of names, for the rows that `tickwire codegen csharp` generates.

using System;

namespace Tickwire
{
    /// <summary>Reads one table of a room, also after the room has moved. Allocates nothing.</summary>
    public sealed class TableReader
    {
        private readonly Room room;
        private readonly string name;
        private readonly string[] names;
        private readonly WorldColumn[] columns;
        private readonly WorldGroup[] groups;
        private readonly double[] parts = new double[4];
        private World world;
        private WorldTable table;

        /// <param name="room">The room.</param>
        /// <param name="name">The name of the table.</param>
        /// <param name="names">The fields, vectors and quaternions; the other methods name them by their index.</param>
        public TableReader(Room room, string name, string[] names)
        {
            this.room = room;
            this.name = name;
            this.names = names;
            columns = new WorldColumn[names.Length];
            groups = new WorldGroup[names.Length];
        }

        /// <summary>The table.</summary>
        /// <exception cref="ArgumentException">The room has no such table.</exception>
        public WorldTable Table
        {
            get
            {
                if (!ReferenceEquals(world, room.World))
                {
                    table = room.World.Table(name);
                    world = room.World;
                    Array.Clear(columns, 0, columns.Length);
                    Array.Clear(groups, 0, groups.Length);
                }

                return table;
            }
        }

        public uint Id(int row)
        {
            return Table.IdAt(row);
        }

        public double Number(int row, int field)
        {
            return Column(field).Number(row);
        }

        /// <summary>Returns a whole number, the index of a label, 0 or 1, or the id of an entity.</summary>
        public long Integer(int row, int field)
        {
            return Column(field).Quantised(row);
        }

        public string Text(int row, int field)
        {
            return Column(field).Text(row);
        }

        public byte[] Bytes(int row, int field)
        {
            return Column(field).Bytes(row);
        }

        public Vec2 Vec2(int row, int field)
        {
            Read(row, field, 2);
            return new Vec2(parts[0], parts[1]);
        }

        public Vec3 Vec3(int row, int field)
        {
            Read(row, field, 3);
            return new Vec3(parts[0], parts[1], parts[2]);
        }

        public Vec4 Vec4(int row, int field)
        {
            Read(row, field, 4);
            return new Vec4(parts[0], parts[1], parts[2], parts[3]);
        }

        public Rotation Rotation(int row, int field)
        {
            Read(row, field, 4);
            return new Rotation(parts[0], parts[1], parts[2], parts[3]);
        }

        private WorldColumn Column(int field)
        {
            WorldTable current = Table;
            return columns[field] ?? (columns[field] = current.Column(names[field]));
        }

        private void Read(int row, int field, int size)
        {
            WorldTable current = Table;
            WorldGroup group = groups[field] ?? (groups[field] = current.Group(names[field]));
            if (group.Group.Size != size)
            {
                throw new ArgumentException("the vector " + names[field] + " has " + group.Group.Size + " components, not " + size);
            }

            group.Read(row, parts);
        }
    }
}
