// Handles for reading one field, vector or quaternion of a table without looking up its name.

using System;

namespace Tickwire
{
    /// <summary>One field of a table. Rows are those of the table; they change with every frame.</summary>
    public sealed class WorldColumn
    {
        private readonly WorldTable table;
        private readonly int index;

        internal WorldColumn(WorldTable table, Field field, int index)
        {
            this.table = table;
            this.index = index;
            Field = field;
        }

        public Field Field { get; }

        /// <summary>Returns the number of a row, in the game's units: radians for angles, the index of the label for
        /// enumerations, 0 or 1 for booleans.</summary>
        /// <exception cref="InvalidOperationException">The field is a text or a blob.</exception>
        public double Number(int row)
        {
            return Field.Value(Quantised(row));
        }

        /// <summary>Returns the integer of a row as on the wire.</summary>
        /// <exception cref="InvalidOperationException">The field is a text or a blob.</exception>
        public long Quantised(int row)
        {
            if (Field.IsText)
            {
                throw new InvalidOperationException("the field " + Field.Name + " is not a number");
            }

            return table.Current().Number(row, index);
        }

        /// <summary>Returns the text of a row.</summary>
        /// <exception cref="InvalidOperationException">The field is not a text.</exception>
        public string Text(int row)
        {
            if (Field.Kind != FieldKind.Text)
            {
                throw new InvalidOperationException("the field " + Field.Name + " is not a text");
            }

            return table.Current().Text(row, index).Text;
        }

        /// <summary>Returns the bytes of a row, of a text or a blob. Do not change them.</summary>
        /// <exception cref="InvalidOperationException">The field is a number.</exception>
        public byte[] Bytes(int row)
        {
            if (!Field.IsText)
            {
                throw new InvalidOperationException("the field " + Field.Name + " is a number");
            }

            return table.Current().Text(row, index).Bytes;
        }

        /// <summary>Returns the label of a row, of an enumeration.</summary>
        /// <exception cref="InvalidOperationException">The field is not an enumeration.</exception>
        public string Label(int row)
        {
            if (Field.Kind != FieldKind.Enum)
            {
                throw new InvalidOperationException("the field " + Field.Name + " is not an enumeration");
            }

            return Field.Labels[(int)Quantised(row)];
        }
    }

    /// <summary>One vector or quaternion of a table.</summary>
    public sealed class WorldGroup
    {
        private readonly WorldColumn[] parts;

        internal WorldGroup(WorldTable table, Group group)
        {
            Group = group;
            parts = new WorldColumn[group.Size];
            for (int index = 0; index < parts.Length; index++)
            {
                parts[index] = table.Column(group.Parts[index]);
            }
        }

        public Group Group { get; }

        /// <summary>Writes the value of a row into an array: (x, y), (x, y, z), or a quaternion (x, y, z, w).</summary>
        public void Read(int row, double[] into)
        {
            if (Group.IsQuaternion)
            {
                int form = (int)parts[0].Quantised(row);
                Quaternions.Unpack(form, parts[1].Number(row), parts[2].Number(row), parts[3].Number(row), into);
                return;
            }

            for (int index = 0; index < parts.Length; index++)
            {
                into[index] = parts[index].Number(row);
            }
        }
    }
}
