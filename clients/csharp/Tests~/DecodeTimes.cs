// How long does a tick take? Reads a file of tests/csharp/measure.py: a description, and frames of one keyframe and then deltas.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;

namespace Tickwire.Tests
{
    public static class DecodeTimes
    {
        /// <summary>Prints as JSON: the median of the microseconds per frame, the bytes allocated for all of them, the checksum of the
        /// world.</summary>
        public static void Measure(string file)
        {
            var work = Json.Map(Json.Parse(File.ReadAllText(file)));
            var description = Rooms.Describe(work["description"]);
            var frames = new List<byte[]>();
            foreach (object frame in Json.List(work["frames"]))
            {
                frames.Add(Json.Hex(frame));
            }

            ClientCore core = Rooms.Joined(description);
            var ticks = new long[20 * (frames.Count - 1)];
            int at = 0;
            long allocated = 0;
            for (int turn = 0; turn < 20; turn++)
            {
                core.Receive(frames[0], 0);
                long before = GC.GetAllocatedBytesForCurrentThread();
                for (int tick = 1; tick < frames.Count; tick++)
                {
                    long began = Stopwatch.GetTimestamp();
                    core.Receive(frames[tick], 0);
                    ticks[at++] = Stopwatch.GetTimestamp() - began;
                }

                allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            }

            Array.Sort(ticks);
            double microseconds = ticks[ticks.Length / 2] * 1e6 / Stopwatch.Frequency; // the median: other work only adds to it

            if (core.Resyncs > 0 || core.Mismatches > 0)
            {
                throw new InvalidOperationException("a frame could not be applied");
            }

            Console.WriteLine(string.Format(
                CultureInfo.InvariantCulture,
                "{{\"decode_us\": {0:F2}, \"allocated\": {1}, \"checksum\": {2}}}",
                microseconds,
                allocated,
                core.World.Checksum()));
        }
    }
}
