// A player's input: the fields that the room declares, and their payload. See docs/protocol.md, "A session".

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The values of one input, in the game's units. Reuse the object: setting values allocates nothing.</summary>
    public sealed class InputValues
    {
        private readonly Field[] fields;
        private readonly double[] values;

        internal InputValues(Field[] fields)
        {
            this.fields = fields;
            values = new double[fields.Length];
        }

        public IReadOnlyList<Field> Fields
        {
            get { return fields; }
        }

        /// <summary>A value by its field's name.</summary>
        /// <exception cref="ArgumentException">The room has no such input.</exception>
        public double this[string name]
        {
            get { return values[IndexOf(name)]; }
            set { values[IndexOf(name)] = value; }
        }

        /// <summary>A value by its field's index in `Fields`.</summary>
        public double this[int index]
        {
            get { return values[index]; }
            set { values[index] = value; }
        }

        /// <summary>Sets all values to zero.</summary>
        public void Clear()
        {
            Array.Clear(values, 0, values.Length);
        }

        /// <summary>Sets the values of a map; the other ones are zero.</summary>
        /// <exception cref="ArgumentException">The room has no such input.</exception>
        public void Set(IReadOnlyDictionary<string, double> named)
        {
            Clear();
            foreach (KeyValuePair<string, double> entry in named)
            {
                this[entry.Key] = entry.Value;
            }
        }

        /// <summary>Replaces each value by the one that the server will read, so that a prediction computes with it.</summary>
        public void Quantise()
        {
            for (int index = 0; index < fields.Length; index++)
            {
                values[index] = fields[index].Round(values[index]);
            }
        }

        internal bool HasFields(Field[] others)
        {
            return ReferenceEquals(fields, others);
        }

        /// <summary>Writes the payload: each field in whole bytes, little-endian.</summary>
        internal void WriteTo(byte[] payload, int at)
        {
            for (int index = 0; index < fields.Length; index++)
            {
                long value = fields[index].Quantise(values[index]);
                int bits = fields[index].Bits;
                value &= (1L << bits) - 1;
                for (int shift = 0; shift < bits; shift += 8)
                {
                    payload[at++] = (byte)(value >> shift);
                }
            }
        }

        private int IndexOf(string name)
        {
            for (int index = 0; index < fields.Length; index++)
            {
                if (fields[index].Name == name)
                {
                    return index;
                }
            }

            var names = new string[fields.Length];
            for (int index = 0; index < names.Length; index++)
            {
                names[index] = fields[index].Name;
            }

            throw new ArgumentException("unknown input " + name + "; the inputs of this room are: " + string.Join(", ", names));
        }
    }
}
