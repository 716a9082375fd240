// A world whose states the test sets: encoded as keyframes, as docs/protocol.md describes them.

using System.Collections.Generic;

namespace Tickwire.Tests
{
    /// <summary>One table `ships` with x, heading, hp and the vector place. Reals are whole numbers from 0 to 100.</summary>
    public sealed class TestWorld
    {
        private static readonly FieldKind[] Kinds =
        {
            FieldKind.Real, FieldKind.Angle, FieldKind.UInt, FieldKind.Real, FieldKind.Real,
        };

        private static readonly string[] Names = { "x", "heading", "hp", "place_x", "place_y" };
        private const int Width = 20;

        public TestWorld()
        {
            var fields = new List<FieldDescription>();
            for (int index = 0; index < Names.Length; index++)
            {
                fields.Add(new FieldDescription
                {
                    Name = Names[index],
                    Kind = Kinds[index],
                    Bits = 8,
                    Low = 0,
                    High = Kinds[index] == FieldKind.Real ? 100 : 0,
                    Step = Kinds[index] == FieldKind.Real ? 1 : 0,
                });
            }

            var place = new GroupDescription { Name = "place", Kind = GroupKind.Vector, First = 3, Size = 2 };
            var table = new TableDescription { Name = "ships", Fields = fields, Groups = new[] { place } };
            World = new World(new StateDescription { Tables = new[] { table } });
        }

        public World World { get; }

        /// <summary>Applies a keyframe: the ids in ascending order, and the integers of each entity.</summary>
        public void Set(uint tick, uint[] ids, params long[][] rows)
        {
            var packed = new List<byte> { 8 + 2, (byte)ids.Length };
            uint before = 0;
            foreach (uint id in ids)
            {
                packed.Add((byte)(id - before));
                before = id;
            }

            var bits = new List<bool>();
            for (int column = 0; column < 2 * Names.Length; column++)
            {
                Append(bits, Width, 6);
                foreach (long[] row in rows)
                {
                    Append(bits, column < Names.Length ? 2 * row[column] : 0, Width);
                }
            }

            for (int at = 0; at < bits.Count; at += 8)
            {
                int octet = 0;
                for (int bit = 0; bit < 8 && at + bit < bits.Count; bit++)
                {
                    octet |= bits[at + bit] ? 1 << bit : 0;
                }

                packed.Add((byte)octet);
            }

            packed.Add(0);
            World.Apply(new Part { IsKeyframe = true, Data = packed.ToArray(), Count = packed.Count }, tick, 0);
            World.Finish(tick, null);
        }

        private static void Append(List<bool> bits, long value, int width)
        {
            for (int bit = 0; bit < width; bit++)
            {
                bits.Add((value >> bit & 1) != 0);
            }
        }
    }
}
