// One table of a world, merged over all channels.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>One table. Its rows are the entities after the last frame, in ascending order of their ids. Reading numbers,
    /// texts and vectors allocates nothing.</summary>
    public sealed class WorldTable
    {
        private readonly TableLayout layout;
        private readonly World world;
        private readonly int index;
        private readonly Dictionary<string, WorldColumn> columns = new Dictionary<string, WorldColumn>();
        private readonly Dictionary<string, WorldGroup> groups = new Dictionary<string, WorldGroup>();
        private readonly RowMerger merger = new RowMerger();
        private int version = -1;

        internal WorldTable(TableLayout layout, World world, int index)
        {
            this.layout = layout;
            this.world = world;
            this.index = index;
            int number = 0;
            int text = 0;
            foreach (Field field in layout.Fields)
            {
                columns[field.Name] = new WorldColumn(this, field, field.IsText ? text++ : number++);
            }

            foreach (Group group in layout.Groups)
            {
                groups[group.Name] = new WorldGroup(this, group);
            }
        }

        public string Name
        {
            get { return layout.Name; }
        }

        public IReadOnlyList<Field> Fields
        {
            get { return layout.Fields; }
        }

        /// <summary>The vectors and quaternions.</summary>
        public IReadOnlyList<Group> Groups
        {
            get { return layout.Groups; }
        }

        /// <summary>The number of entities.</summary>
        public int Count
        {
            get { return Current().Count; }
        }

        /// <summary>Returns the id of the entity in a row.</summary>
        public uint IdAt(int row)
        {
            return Current().IdAt(row);
        }

        /// <summary>Returns the row of an entity; -1 if it does not exist. Rows change with every frame.</summary>
        public int RowOf(uint id)
        {
            return Current().RowOf(id);
        }

        public bool Contains(uint id)
        {
            return RowOf(id) >= 0;
        }

        /// <summary>Returns a field. Keep it: it is valid as long as the world.</summary>
        /// <exception cref="ArgumentException">The table has no such field.</exception>
        public WorldColumn Column(string name)
        {
            WorldColumn column;
            if (!columns.TryGetValue(name, out column))
            {
                throw new ArgumentException("the table " + Name + " has no field " + name);
            }

            return column;
        }

        /// <summary>Returns a vector or a quaternion. Keep it: it is valid as long as the world.</summary>
        /// <exception cref="ArgumentException">The table has no such vector.</exception>
        public WorldGroup Group(string name)
        {
            WorldGroup group;
            if (!groups.TryGetValue(name, out group))
            {
                throw new ArgumentException("the table " + Name + " has no vector or quaternion " + name);
            }

            return group;
        }

        public bool HasColumn(string name)
        {
            return columns.ContainsKey(name);
        }

        public bool HasGroup(string name)
        {
            return groups.ContainsKey(name);
        }

        // -- by id ------------------------------------------------------------------------------------------

        /// <summary>Returns a numeric field of an entity, in the game's units; NaN if the entity does not exist.</summary>
        public double Number(uint id, string field)
        {
            int row = RowOf(id);
            return row < 0 ? double.NaN : Column(field).Number(row);
        }

        /// <summary>Returns a text of an entity; null if the entity does not exist.</summary>
        public string Text(uint id, string field)
        {
            int row = RowOf(id);
            return row < 0 ? null : Column(field).Text(row);
        }

        /// <summary>Returns the label of an enumeration; null if the entity does not exist.</summary>
        public string Label(uint id, string field)
        {
            int row = RowOf(id);
            return row < 0 ? null : Column(field).Label(row);
        }

        /// <summary>Writes a vector (x, y, z) or a quaternion (x, y, z, w) of an entity into an array. Returns false if the
        /// entity does not exist.</summary>
        public bool Vector(uint id, string name, double[] into)
        {
            int row = RowOf(id);
            if (row >= 0)
            {
                Group(name).Read(row, into);
            }

            return row >= 0;
        }

        // -- of the package ---------------------------------------------------------------------------------

        internal Group[] GroupList
        {
            get { return layout.Groups; }
        }

        internal RowMerger Current()
        {
            if (version != world.Version)
            {
                version = world.Version;
                merger.Merge(world.Channels, index);
            }

            return merger;
        }

        internal void AddTo(ref Crc32 crc)
        {
            RowMerger rows = Current();
            for (int row = 0; row < rows.Count; row++)
            {
                crc.Add(rows.IdAt(row));
            }

            for (int column = 0; column < layout.Columns.Length; column++)
            {
                for (int row = 0; row < rows.Count; row++)
                {
                    crc.Add(rows.Number(row, column));
                }
            }

            for (int text = 0; text < layout.Texts.Length; text++)
            {
                for (int row = 0; row < rows.Count; row++)
                {
                    byte[] bytes = rows.Text(row, text).Bytes;
                    crc.Add((uint)bytes.Length);
                    crc.Add(bytes);
                }
            }
        }
    }
}
