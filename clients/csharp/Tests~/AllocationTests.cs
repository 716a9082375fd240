// In steady state nothing is allocated per tick: garbage would be collected in the middle of a frame of the game.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class AllocationTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("allocation: the counter counts", Counter);
            yield return new Test("allocation: state frames, reading the world, acknowledgements and inputs", SteadyState);
            yield return new Test("allocation: entities enter and leave", Moving);
            yield return new Test("allocation: several channels, merged by reading", Channels);
        }

        private static void Counter()
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            var bytes = new byte[100];
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Check.That(allocated >= bytes.Length, "an array of 100 bytes counts as " + allocated);
        }

        private static void SteadyState()
        {
            Count("version_4/motion.json", frame => frame);
            Count("version_4/groups.json", frame => frame);
        }

        private static void Moving()
        {
            Count("version_4/coming_and_going.json", frame => frame);
        }

        private static void Channels()
        {
            Count("version_4/motion.json", InTwoChannels);
            Count("version_4/coming_and_going.json", InTwoChannels);
        }

        /// <summary>Returns a frame with two parts that are equal to a frame of one channel.</summary>
        private static byte[] InTwoChannels(byte[] frame)
        {
            if (((frame[0] >> 3) & StateFrame.HasParts) != 0)
            {
                return frame;
            }

            bool isDelta = (frame[0] & 7) == 3;
            int head = isDelta ? 4 : 8;
            int checksum = (frame[0] >> 3) & StateFrame.HasChecksum;
            int count = frame.Length - head;
            var bytes = new List<byte> { (byte)(1 | (StateFrame.HasParts << 3)), frame[1], 0, 0 };
            bytes.AddRange(isDelta ? new byte[] { frame[2], frame[3], 0, 0 } : new[] { frame[4], frame[5], frame[6], frame[7] });
            for (int channel = 5; channel <= 6; channel++)
            {
                bytes.Add((byte)(channel * 4 + (frame[1] == 0 ? 2 : 0) + checksum));
                bytes.Add((byte)(count & 0x7f | 0x80));
                bytes.Add((byte)(count >> 7));
                for (int at = head; at < frame.Length; at++)
                {
                    bytes.Add(frame[at]);
                }
            }

            return bytes.ToArray();
        }

        /// <summary>Applies a sequence repeatedly, until all buffers have grown; the last time, no frame may allocate.</summary>
        private static void Count(string file, Func<byte[], byte[]> convert)
        {
            const int repeats = 12;
            var golden = GoldenTests.Load(file);
            var description = Rooms.Describe(golden["description"]);
            description.Inputs = new[]
            {
                new FieldDescription { Name = "thrust", Kind = FieldKind.Real, Bits = 8, Low = 0, High = 1, Step = 0.01 },
            };
            var frames = new List<byte[]>();
            foreach (object step in Json.List(golden["steps"]))
            {
                frames.Add(convert(Json.Hex(Json.Map(step)["frame"])));
            }

            ClientCore core = Rooms.Joined(description);
            InputValues input = core.CreateInput();
            byte[] ack = { 5, 0, 1, 0, 1, 0, 0, 0 };
            var vector = new double[4];
            double sum = 0;
            for (int repeat = 0; repeat < repeats; repeat++)
            {
                for (int step = 0; step < frames.Count; step++)
                {
                    long before = GC.GetAllocatedBytesForCurrentThread();
                    core.Receive(frames[step], 0);
                    core.Receive(ack, 0);
                    sum += ReadAll(core.World, vector);
                    input["thrust"] = 0.5;
                    core.Input(input);
                    long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
                    if (repeat == repeats - 1)
                    {
                        Check.Equal(0L, allocated, "bytes allocated at step " + step + " of " + file);
                    }
                }
            }

            Check.That(!double.IsNaN(sum), "the numbers were read");
            Check.Equal(0, core.Resyncs, "requested keyframes");
        }

        private static double ReadAll(World world, double[] vector)
        {
            double sum = 0;
            for (int index = 0; index < world.Tables.Count; index++)
            {
                WorldTable table = world.Tables[index];
                for (int row = 0; row < table.Count; row++)
                {
                    for (int field = 0; field < table.Fields.Count; field++)
                    {
                        sum += table.Fields[field].IsText ? 0 : table.Number(table.IdAt(row), table.Fields[field].Name);
                    }

                    for (int group = 0; group < table.Groups.Count; group++)
                    {
                        table.Group(table.Groups[group].Name).Read(row, vector);
                        sum += vector[0];
                    }
                }
            }

            return sum;
        }
    }
}
