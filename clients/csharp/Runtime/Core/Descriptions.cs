// The description of a room's tables and inputs, as Joined sends it.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The interpretation of a field's integer.</summary>
    public enum FieldKind : byte
    {
        Bool = 0,
        UInt,
        Int,
        Real,
        Angle,
        Enum,
        Entity,
        Text,
        Blob,
    }

    /// <summary>The value that adjacent fields have together.</summary>
    public enum GroupKind : byte
    {
        Vector = 0,
        Quaternion,
    }

    /// <summary>One field of a table or of an input.</summary>
    public sealed class FieldDescription
    {
        public string Name { get; set; } = "";

        public FieldKind Kind { get; set; }

        /// <summary>The width of the integer; 0 for texts and blobs.</summary>
        public int Bits { get; set; }

        public double Low { get; set; }

        public double High { get; set; }

        public double Step { get; set; }

        /// <summary>The labels of an enumeration.</summary>
        public IReadOnlyList<string> Labels { get; set; } = new string[0];

        /// <summary>The limit of a text or a blob.</summary>
        public int BytesMax { get; set; }

        internal bool Matches(FieldDescription other)
        {
            bool isSame = Name == other.Name && Kind == other.Kind && Bits == other.Bits && Low == other.Low
                && High == other.High && Step == other.Step && BytesMax == other.BytesMax
                && Labels.Count == other.Labels.Count;
            for (int index = 0; isSame && index < Labels.Count; index++)
            {
                isSame = Labels[index] == other.Labels[index];
            }

            return isSame;
        }
    }

    /// <summary>Adjacent fields of a table that are one value: `Size` fields from the index `First`.</summary>
    public sealed class GroupDescription
    {
        public string Name { get; set; } = "";

        public GroupKind Kind { get; set; }

        public int First { get; set; }

        public int Size { get; set; }

        internal bool Matches(GroupDescription other)
        {
            return Name == other.Name && Kind == other.Kind && First == other.First && Size == other.Size;
        }
    }

    /// <summary>One table of a room.</summary>
    public sealed class TableDescription
    {
        public string Name { get; set; } = "";

        public IReadOnlyList<FieldDescription> Fields { get; set; } = new FieldDescription[0];

        public IReadOnlyList<GroupDescription> Groups { get; set; } = new GroupDescription[0];

        internal bool Matches(TableDescription other)
        {
            bool isSame = Name == other.Name && Groups.Count == other.Groups.Count
                && StateDescription.AreSame(Fields, other.Fields);
            for (int index = 0; isSame && index < Groups.Count; index++)
            {
                isSame = Groups[index].Matches(other.Groups[index]);
            }

            return isSame;
        }
    }

    /// <summary>The tables of a room and the fields of its inputs.</summary>
    public sealed class StateDescription
    {
        public IReadOnlyList<TableDescription> Tables { get; set; } = new TableDescription[0];

        public IReadOnlyList<FieldDescription> Inputs { get; set; } = new FieldDescription[0];

        /// <summary>Returns whether two descriptions are equal.</summary>
        public bool Matches(StateDescription other)
        {
            bool isSame = Tables.Count == other.Tables.Count && AreSame(Inputs, other.Inputs);
            for (int index = 0; isSame && index < Tables.Count; index++)
            {
                isSame = Tables[index].Matches(other.Tables[index]);
            }

            return isSame;
        }

        internal static bool AreSame(IReadOnlyList<FieldDescription> some, IReadOnlyList<FieldDescription> others)
        {
            bool isSame = some.Count == others.Count;
            for (int index = 0; isSame && index < some.Count; index++)
            {
                isSame = some[index].Matches(others[index]);
            }

            return isSame;
        }
    }
}
