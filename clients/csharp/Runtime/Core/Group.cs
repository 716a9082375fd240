// Vectors and quaternions: adjacent fields of a table that are one value. See docs/protocol.md, "Groups".

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>A vector or a quaternion of a table.</summary>
    public sealed class Group
    {
        private readonly string[] parts;

        /// <exception cref="MalformedMessageException">The fields do not exist, or are not of the group's kind.</exception>
        internal Group(GroupDescription description, IReadOnlyList<Field> fields)
        {
            Name = description.Name;
            Kind = description.Kind;
            if (!IsValid(description, fields))
            {
                throw new MalformedMessageException("the description of group " + Name + " is invalid");
            }

            parts = new string[description.Size];
            for (int index = 0; index < parts.Length; index++)
            {
                parts[index] = fields[description.First + index].Name;
            }
        }

        public string Name { get; }

        public GroupKind Kind { get; }

        public bool IsQuaternion
        {
            get { return Kind == GroupKind.Quaternion; }
        }

        /// <summary>The names of the fields, in order.</summary>
        public IReadOnlyList<string> Parts
        {
            get { return parts; }
        }

        /// <summary>The number of components of a value: 2 to 4 for a vector, 4 for a quaternion.</summary>
        public int Size
        {
            get { return parts.Length; }
        }

        /// <summary>Writes the value between two of them into an array; quaternions turn by the shorter way.</summary>
        public void Mix(double[] here, double[] there, double fraction, double[] into)
        {
            if (IsQuaternion)
            {
                Quaternions.Slerp(here, there, fraction, into);
                return;
            }

            for (int index = 0; index < Size; index++)
            {
                into[index] = here[index] + fraction * (there[index] - here[index]);
            }
        }

        private static bool IsValid(GroupDescription description, IReadOnlyList<Field> fields)
        {
            bool isQuaternion = description.Kind == GroupKind.Quaternion;
            int size = description.Size;
            bool isValid = description.First >= 0 && description.First + size <= fields.Count
                && (isQuaternion ? size == 4 : size >= 2 && size <= 4);
            for (int index = 0; isValid && index < size; index++)
            {
                Field field = fields[description.First + index];
                bool isForm = isQuaternion && index == 0;
                isValid = isForm
                    ? field.Kind == FieldKind.UInt && field.Bits == Quaternions.FormBits
                    : field.Kind == FieldKind.Real;
            }

            for (int index = 0; isValid && index < fields.Count; index++)
            {
                isValid = fields[index].Name != description.Name;
            }

            return isValid;
        }
    }
}
