// Values: fields, quaternions, MessagePack, numbers with 16 bits.

using System;
using System.Collections.Generic;
using System.Globalization;

namespace Tickwire.Tests
{
    public static class ValueTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("fields: quantised as the server does", Quantised);
            yield return new Test("fields: invalid descriptions are malformed", InvalidFields);
            yield return new Test("groups: invalid descriptions are malformed", InvalidGroups);
            yield return new Test("quaternions: every form is a rotation", Forms);
            yield return new Test("quaternions: turn by the shorter way", Slerp);
            yield return new Test("msgpack: values of all types", MessagePackValues);
            yield return new Test("msgpack: maps with integers as keys", NumberedMaps);
            yield return new Test("msgpack: invalid bytes are malformed", MessagePackInvalid);
            yield return new Test("messages: low numbers near the ends of their range", LowNumbers);
        }

        private static void Quantised()
        {
            var real = new Field(Real("r", -1, 1, 0.25));
            Check.Equal(8L, real.Greatest, "the greatest integer");
            Check.Equal(0L, real.Quantise(-5), "below the range");
            Check.Equal(8L, real.Quantise(5), "above the range");
            Check.Equal(4L, real.Quantise(0.125), "half a step rounds to even");
            Check.Equal(6L, real.Quantise(0.375), "half a step rounds to even");
            Check.Equal(0.5, real.Round(0.45), "the value that the server reads");
            var angle = new Field(new FieldDescription { Name = "a", Kind = FieldKind.Angle, Bits = 8 });
            Check.Equal(192L, angle.Quantise(-Math.PI / 2), "a negative angle wraps");
            Check.Equal(64L, angle.Quantise(4.5 * Math.PI), "an angle above a turn wraps");
            var whole = new Field(new FieldDescription { Name = "i", Kind = FieldKind.Int, Bits = 4 });
            Check.Equal(-8L, whole.Quantise(-100), "below the range");
            Check.Equal(-1L, whole.Quantise(-1.9), "truncated");
            Check.Throws<ArgumentException>(() => real.Quantise(double.NaN), "not a number");
            Check.Throws<MalformedMessageException>(
                () => new Field(new FieldDescription { Name = "x", Kind = FieldKind.UInt, Bits = 54 }), "too wide");
            Check.Throws<MalformedMessageException>(() => new Field(Real("x", 1, 0, 1)), "a range");
        }

        private static void MessagePackValues()
        {
            var time = new DateTime(2026, 11, 27, 1, 2, 3, DateTimeKind.Utc).AddTicks(1234567);
            var value = new Dictionary<string, object>
            {
                { "null", null }, { "yes", true }, { "small", 5 }, { "negative", -5L }, { "wide", long.MinValue },
                { "large", ulong.MaxValue }, { "real", 0.5 }, { "text", "Zoë" }, { "bytes", new byte[] { 1, 2 } },
                { "time", time }, { "early", new DateTime(1900, 1, 1, 0, 0, 0, DateTimeKind.Utc) },
                { "list", new object[] { 1, "two", new List<object>() } }, { "long", new string('x', 70000) },
            };
            var read = (Dictionary<string, object>)MessagePack.Decode(MessagePack.Encode(value));
            Check.Equal(value.Count, read.Count, "entries");
            Check.That(read["null"] == null, "null");
            Check.Equal(true, (bool)read["yes"], "a bool");
            Check.Equal(5L, (long)read["small"], "a number");
            Check.Equal(-5L, (long)read["negative"], "a negative number");
            Check.Equal(long.MinValue, (long)read["wide"], "the least number");
            Check.Equal(ulong.MaxValue, (ulong)read["large"], "the greatest number");
            Check.Equal(0.5, (double)read["real"], "a real number");
            Check.Equal("Zoë", (string)read["text"], "a text");
            Check.Equal("0102", Json.ToHex((byte[])read["bytes"]), "bytes");
            Check.Equal(time, (DateTime)read["time"], "a time");
            Check.Equal(1900, ((DateTime)read["early"]).Year, "a time before 1970");
            Check.Equal(3, ((List<object>)read["list"]).Count, "a list");
            Check.Equal(70000, ((string)read["long"]).Length, "a long text");
            Check.Throws<ArgumentException>(() => MessagePack.Encode(new object()), "another type");
        }

        private static void NumberedMaps()
        {
            object written = WireValues.FromMap(new Dictionary<long, string> { { -7, "a" }, { 300, "b" } }, text => text);
            byte[] packed = MessagePack.Encode(written);
            Check.Equal("82f9a161cd012ca162", Json.ToHex(packed), "the keys are integers");
            CultureInfo before = CultureInfo.CurrentCulture;
            try
            {
                CultureInfo.CurrentCulture = new CultureInfo("") { NumberFormat = { NegativeSign = "~" } };
                Dictionary<long, string> read = WireValues.ToNumberedMap(MessagePack.Decode(packed), WireValues.ToText);
                Check.Equal("a b", read[-7] + " " + read[300], "the entries");
            }
            finally
            {
                CultureInfo.CurrentCulture = before;
            }

            Check.Throws<ArgumentException>(() => MessagePack.Encode(new Dictionary<double, int> { { 0.5, 1 } }), "other keys");
        }

        private static void MessagePackInvalid()
        {
            foreach (string hex in new[]
            {
                "c1", "a2ff", "a1ff", "dd7fffffff", "df7fffffff", "c7050501020304",
                "0000", "81c000", "d4", "d7ffffffffff00000000", "c70cff000000007fffffffffffffff",
            })
            {
                Check.Throws<MalformedMessageException>(() => MessagePack.Decode(Json.Hex(hex)), hex);
            }

            var deep = new byte[70];
            for (int index = 0; index < deep.Length - 1; index++)
            {
                deep[index] = 0x91;
            }

            Check.Throws<MalformedMessageException>(() => MessagePack.Decode(deep), "a value that is nested too deeply");
            var endless = new List<object>();
            endless.Add(endless);
            Check.Throws<ArgumentException>(() => MessagePack.Encode(endless), "a list that contains itself");
        }

        private static FieldDescription Real(string name, double low, double high, double step)
        {
            return new FieldDescription { Name = name, Kind = FieldKind.Real, Bits = 8, Low = low, High = high, Step = step };
        }

        private static void InvalidFields()
        {
            foreach (FieldDescription field in new[]
            {
                Real("none", 0, 0, 1), Real("infinite", 0, double.PositiveInfinity, 1), Real("nan", double.NaN, 1, 1),
                Real("zero", 0, 1, 0), Real("coarse", 0, 1, 2), Real("fine", 0, 1, 1e-10),
                new FieldDescription { Kind = FieldKind.Angle, Bits = 33 },
                new FieldDescription { Kind = FieldKind.UInt, Bits = 0 },
                new FieldDescription { Kind = FieldKind.Enum, Bits = 1 }, new FieldDescription { Kind = FieldKind.Text },
                new FieldDescription { Kind = FieldKind.Blob, BytesMax = 1025 },
            })
            {
                Check.Throws<MalformedMessageException>(() => new Field(field), field.Kind + " " + field.Name);
            }

            var clamped = new Field(Real("r", 0, 1, 0.3));
            Check.Equal(1.0, new Field(Real("r", 0, 1, 0.35)).Round(1), "a value is at most the end of its range");
            Check.Equal(3L, clamped.Quantise(1), "the last step");
        }

        private static void InvalidGroups()
        {
            FieldDescription form = new FieldDescription { Name = "f", Kind = FieldKind.UInt, Bits = 8 };
            var fields = new[] { form, Real("a", -1, 1, 0.1), Real("b", -1, 1, 0.1), Real("c", -1, 1, 0.1) };
            Action<string, GroupKind, int, int> refuse = (name, kind, first, size) =>
            {
                var group = new GroupDescription { Name = name, Kind = kind, First = first, Size = size };
                var table = new TableDescription { Name = "t", Fields = fields, Groups = new[] { group } };
                var description = new StateDescription { Tables = new[] { table } };
                Check.Throws<MalformedMessageException>(
                    () => new World(description), name + " " + kind + " " + first + " " + size);
            };
            refuse("q", GroupKind.Vector, 0, 2);
            refuse("q", GroupKind.Vector, 1, 1);
            refuse("q", GroupKind.Vector, 2, 3);
            refuse("q", GroupKind.Quaternion, 0, 3);
            refuse("q", GroupKind.Quaternion, 1, 3);
            refuse("a", GroupKind.Vector, 1, 2);
        }

        private static void Forms()
        {
            var into = new double[4];
            for (int form = 0; form < 256; form++)
            {
                foreach (double number in new[] { 0, 0.5, -0.7, 0.9 })
                {
                    Quaternions.Unpack(form, number, 0.1, number, into);
                    double length = into[0] * into[0] + into[1] * into[1] + into[2] * into[2] + into[3] * into[3];
                    Check.Near(1, length, 1e-9, "the length of form " + form);
                }
            }

            Quaternions.Unpack(50, 0.1, 0.2, 0.3, into); // the example of docs/protocol.md
            Check.Near(0.1, into[3], 1e-12, "w");
            Check.Near(-0.2, into[1], 1e-12, "y");
            Check.Near(0.3, into[2], 1e-12, "z");
            Check.Near(Math.Sqrt(0.86), into[0], 1e-12, "x");
        }

        private static void Slerp()
        {
            double half = Math.Sqrt(0.5);
            var still = new double[] { 0, 0, 0, 1 };
            var turned = new[] { half, 0, 0, half };
            var opposite = new[] { -half, 0, 0, -half }; // the same rotation
            var into = new double[4];
            foreach (double[] there in new[] { turned, opposite })
            {
                Quaternions.Slerp(still, there, 0.5, into);
                Check.Near(Math.Sin(Math.PI / 8), into[0], 1e-9, "half of the rotation");
                Check.Near(Math.Cos(Math.PI / 8), into[3], 1e-9, "half of the rotation");
            }

            Quaternions.Slerp(still, still, 0.3, into);
            Check.Near(1, into[3], 1e-9, "no rotation");
        }

        private static void LowNumbers()
        {
            var decoder = new ServerDecoder();
            Action<ushort, uint, uint> expect = (low, known, seq) =>
            {
                byte[] message = { 5, 0, (byte)low, (byte)(low >> 8), 1, 0, 0, 0 };
                var ack = (InputAck)decoder.Decode(message, 0, message.Length, 0, known);
                Check.Equal(seq, ack.Seq, low + " near " + known);
            };
            expect(0xffff, 0, 0xffff);
            expect(5, 0xfffe, 0x10005);
            expect(0xfff0, 0x10005, 0xfff0);
            expect(0, uint.MaxValue, 0xffff0000);
            expect(0xfffe, uint.MaxValue, 0xfffffffe);
        }
    }
}
