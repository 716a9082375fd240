// Quantises values: on the wire each value is an integer, by rules that server and clients share exactly. See
// docs/protocol.md, "Fields".

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>One field: its range, and the conversion between its integers and the game's values.</summary>
    public sealed class Field
    {
        private const int BitsMax = 53;
        private const int ScaledBitsMax = 32;
        private const int BytesMaxMax = 1024;
        private readonly double scale;
        private readonly double perUnit;

        /// <exception cref="MalformedMessageException">The description is invalid.</exception>
        public Field(FieldDescription description)
        {
            Name = description.Name;
            Kind = description.Kind;
            Bits = description.Bits;
            Labels = description.Labels;
            BytesMax = description.BytesMax;
            Check(description);
            if (IsText)
            {
                return;
            }

            Modulus = Kind == FieldKind.Angle ? 1L << Bits : 0;
            Low = Kind == FieldKind.Real ? description.Low : 0;
            scale = Kind == FieldKind.Real ? description.Step : Kind == FieldKind.Angle ? 2 * Math.PI / Modulus : 1;
            perUnit = Kind == FieldKind.Angle ? Modulus / (2 * Math.PI) : 1 / scale;
            High = Kind == FieldKind.Real ? description.High : 0;
            Least = Kind == FieldKind.Int ? -(1L << (Bits - 1)) : 0;
            Greatest = GreatestOf(description);
        }

        public string Name { get; }

        public FieldKind Kind { get; }

        public int Bits { get; }

        public IReadOnlyList<string> Labels { get; }

        public int BytesMax { get; }

        public bool IsText
        {
            get { return Kind == FieldKind.Text || Kind == FieldKind.Blob; }
        }

        /// <summary>The least and the greatest integer on the wire.</summary>
        public long Least { get; }

        public long Greatest { get; }

        public double Low { get; }

        public double High { get; }

        /// <summary>2^bits for an angle, whose differences wrap; else 0.</summary>
        public long Modulus { get; }

        /// <summary>Returns the value in the game's units: radians for angles, the index in `Labels` for enumerations, 0 or 1
        /// for booleans.</summary>
        public double Value(long quantised)
        {
            return Low + quantised * scale;
        }

        /// <summary>Returns the integer that represents a value on the wire. Values out of range are clamped; angles
        /// wrap.</summary>
        /// <exception cref="ArgumentException">The value is not a finite number.</exception>
        public long Quantise(double value)
        {
            if (double.IsNaN(value) || double.IsInfinity(value))
            {
                throw new ArgumentException("the field " + Name + " is not a finite number");
            }

            if (Kind == FieldKind.Angle)
            {
                return (long)Math.Round(value % (2 * Math.PI) * perUnit) & (Modulus - 1);
            }

            double steps = Kind == FieldKind.Real ? (value - Low) * perUnit : value;
            if (steps <= Least)
            {
                return Least;
            }

            if (steps >= Greatest)
            {
                return Greatest;
            }

            return (long)(Kind == FieldKind.Real ? Math.Round(steps) : Math.Truncate(steps));
        }

        /// <summary>Returns the value that the server reads if a client sends this value as an input.</summary>
        /// <exception cref="ArgumentException">The value is not a finite number.</exception>
        public double Round(double value)
        {
            double rounded = Value(Quantise(value));
            return Kind == FieldKind.Real ? Math.Min(rounded, High) : rounded;
        }

        private long GreatestOf(FieldDescription description)
        {
            switch (Kind)
            {
                case FieldKind.Real:
                    return (long)Math.Round((description.High - description.Low) / description.Step);
                case FieldKind.Int:
                    return (1L << (Bits - 1)) - 1;
                case FieldKind.Enum:
                    return Labels.Count - 1;
                default:
                    return (1L << Bits) - 1;
            }
        }

        private void Check(FieldDescription description)
        {
            bool isScaled = Kind == FieldKind.Real || Kind == FieldKind.Angle;
            bool isValid = IsText
                ? BytesMax >= 1 && BytesMax <= BytesMaxMax
                : Bits >= 1 && Bits <= (isScaled ? ScaledBitsMax : BitsMax);
            if (Kind == FieldKind.Real)
            {
                double span = description.High - description.Low;
                double steps = span / description.Step;
                isValid = isValid && !double.IsInfinity(span) && span > 0 && description.Step > 0 && description.Step <= span
                    && steps < (1L << ScaledBitsMax) - 0.5;
            }

            if (!isValid || (Kind == FieldKind.Enum && Labels.Count == 0))
            {
                throw new MalformedMessageException("the description of field " + Name + " is invalid");
            }
        }

        /// <summary>Creates the fields of descriptions.</summary>
        /// <exception cref="MalformedMessageException">A description is invalid.</exception>
        internal static Field[] FromDescriptions(IReadOnlyList<FieldDescription> descriptions)
        {
            var fields = new Field[descriptions.Count];
            for (int index = 0; index < fields.Length; index++)
            {
                fields[index] = new Field(descriptions[index]);
            }

            return fields;
        }
    }
}
