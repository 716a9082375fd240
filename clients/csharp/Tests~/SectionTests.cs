// Sections that a server never sends, or rarely: each is made byte by byte.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class SectionTests
    {
        // Of a table with one column: one entity, id 1, entered with the value 5, zigzag 10 in 4 bits, and no change before.
        private static readonly byte[] Enter = { 0x0a, 1, 1, 0x84, 0x02, 0 };

        public static IEnumerable<Test> All()
        {
            yield return new Test("section: a table that a part does not name is at rest", AtRest);
            yield return new Test("section: history is discarded by a resume", AfterResume);
            yield return new Test("section: entities that exist, the id 0 and too many are malformed", Entities);
            yield return new Test("section: texts that are too long or out of place are malformed", Texts);
            yield return new Test("section: a frame with tens of thousands of channels", ManyChannels);
            yield return new Test("section: columns that end too early are malformed", Truncated);
        }

        private static ClientCore Core(params FieldDescription[] fields)
        {
            var tables = new[]
            {
                new TableDescription { Name = "a", Fields = fields },
                new TableDescription { Name = "b", Fields = fields },
            };
            return Rooms.Joined(new StateDescription { Tables = tables });
        }

        private static FieldDescription Number()
        {
            return new FieldDescription { Name = "n", Kind = FieldKind.UInt, Bits = 8 };
        }

        /// <summary>Receives a keyframe, or a delta to the tick before. Returns whether it was applied.</summary>
        private static bool Receive(ClientCore core, byte tick, bool isKeyframe, params byte[] packed)
        {
            var frame = new byte[8 + packed.Length];
            frame[0] = 1;
            frame[1] = (byte)(isKeyframe ? 0 : 1);
            frame[4] = tick;
            Array.Copy(packed, 0, frame, 8, packed.Length);
            return core.Receive(frame, 0) is StateApplied;
        }

        /// <summary>Returns the section of a column: the predictor, a width of 4 bits, and a residual of one entity.</summary>
        private static byte[] Column(int predictor, int residual)
        {
            int bits = 1 | (predictor << 1) | (4 << 3) | (2 * residual << 9);
            return new byte[] { 8, (byte)bits, (byte)(bits >> 8), 0 };
        }

        private static void AtRest()
        {
            foreach (bool isNamed in new[] { false, true })
            {
                ClientCore core = Core(Number());
                WorldColumn number = core.World.Table("a").Column("n");
                Check.That(Receive(core, 1, true, Enter), "an entity entered");
                Check.Equal(5L, number.Quantised(0), "its value");
                Check.That(Receive(core, 2, false, Column(0, 2)), "LAST");
                Check.Equal(7L, number.Quantised(0), "the last value and 2");
                Check.That(Receive(core, 3, false, isNamed ? Column(1, 0) : new byte[] { 0 }), "LINEAR, or no section");
                Check.That(Receive(core, 4, false, Column(1, 0)), "LINEAR");
                Check.Equal(isNamed ? 11L : 7L, number.Quantised(0), "the value goes on, or stays after a rest");
            }
        }

        private static void AfterResume()
        {
            ClientCore core = Core(Number());
            Receive(core, 1, true, Enter);
            Receive(core, 2, false, Column(0, 2));
            core.Apply(new WelcomeMessage { Generation = 2, RoomId = "room" }, 0);
            Receive(core, 3, false, Column(1, 0));
            Check.Equal(7L, core.World.Table("a").Column("n").Quantised(0), "the value without a history");
        }

        private static void Entities()
        {
            ClientCore core = Core(Number());
            Receive(core, 1, true, Enter);
            Check.That(!Receive(core, 2, false, 0x0a, 1, 1, 0, 0, 0), "an entity that exists");
            Check.That(!Receive(Core(Number()), 1, true, 0x0a, 1, 0, 0, 0, 0), "the id 0");
            Check.That(!Receive(core, 3, false, 0), "deltas are ignored until the keyframe");
            foreach (int count in new[] { 65536, 65537 })
            {
                var packed = new List<byte> { 0x0a, (byte)(count & 0x7f | 0x80), 0x80, 4 };
                for (int entity = 0; entity < count; entity++)
                {
                    packed.Add(1);
                }

                packed.AddRange(new byte[] { 0, 0, 0 });
                Check.Equal(count == 65536, Receive(Core(Number()), 1, true, packed.ToArray()), count + " entities");
            }
        }

        private static void Texts()
        {
            var text = new FieldDescription { Name = "t", Kind = FieldKind.Text, BytesMax = 2 };
            Func<byte[], bool> receive = texts =>
            {
                var packed = new List<byte> { 0x0e, 1, 1 };
                packed.AddRange(texts);
                packed.Add(0);
                return Receive(Core(text), 1, true, packed.ToArray());
            };
            Check.That(receive(new byte[] { 1, 0, 2, 0x61, 0x62 }), "two bytes");
            Check.That(!receive(new byte[] { 1, 0, 3, 0x61, 0x62, 0x63 }), "three bytes");
            Check.That(!receive(new byte[] { 1, 1, 1, 0x61 }), "a text of no entity");
            Check.That(!receive(new byte[] { 2, 0, 1, 0x61, 0, 1, 0x61 }), "a text twice");
            Check.That(!receive(new byte[] { 1, 0, 1, 0xff }), "not UTF-8");
            Check.That(!Receive(Core(Number()), 1, true, 0x0e, 1, 1, 0, 0, 1, 0, 0, 0), "a text of a table without texts");
        }

        /// <summary>Receives a frame with a keyframe for each of 50,000 channels, and a complete frame that names none: time and
        /// memory may not grow with the square of their number.</summary>
        private static void ManyChannels()
        {
            const int count = 50000;
            ClientCore core = Core(Number());
            var frame = new List<byte> { 1 | (StateFrame.HasParts << 3), 0, 0, 0, 1, 0, 0, 0 };
            for (int channel = 0; channel < count; channel++)
            {
                int tag = channel * 4 + 2;
                frame.AddRange(new byte[] { (byte)(tag & 0x7f | 0x80), (byte)((tag >> 7) & 0x7f | 0x80), (byte)(tag >> 14), 1, 0 });
            }

            var clock = System.Diagnostics.Stopwatch.StartNew();
            long before = GC.GetAllocatedBytesForCurrentThread();
            Check.That(core.Receive(frame.ToArray(), 0) is StateApplied, "it is applied");
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Check.Equal(count, core.World.Channels.Count, "channels");
            Check.That(allocated < count * 4000L, "memory of " + allocated + " bytes");
            core.Receive(new byte[] { 1 | ((StateFrame.HasParts | StateFrame.IsComplete) << 3), 0, 0, 0, 2, 0, 0, 0 }, 0);
            Check.Equal(0, core.World.Channels.Count, "channels after a complete frame");
            Check.That(clock.Elapsed.TotalSeconds < 20, "it took " + clock.Elapsed);
        }

        /// <summary>Reads columns of 10,000 entities from a few bytes: nothing beyond them may be read.</summary>
        private static void Truncated()
        {
            const int count = 10000;
            var field = new Field(Number());
            var reader = new ColumnReader();
            for (int predictor = 0; predictor < 4; predictor++)
            {
                // Rice begins with a bit for each entity, and CHANGED as well: they are all set.
                var bytes = new byte[2 + (predictor >= 2 ? count / 8 : 0)];
                for (int index = 0; index < bytes.Length; index++)
                {
                    bytes[index] = 0xff;
                }

                bytes[0] = (byte)(1 | (predictor << 1) | (63 << 3));
                var bits = new BitReader();
                bits.Open(bytes, 0, bytes.Length);
                bits.ToBits();
                var values = new long[count];
                Check.Throws<MalformedMessageException>(
                    () => reader.ReadStayed(bits, field, count, values, values, new long[count]), "predictor " + predictor);
            }
        }
    }
}
