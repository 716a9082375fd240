// Applies frames that a test in Python has changed, and prints the result of each.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class FrameTools
    {
        /// <summary>Applies frames in hex. A line that begins with "{" is the description of the next room.</summary>
        public static void Apply(string[] lines)
        {
            ClientCore core = null;
            foreach (string line in lines)
            {
                if (line.StartsWith("{", StringComparison.Ordinal))
                {
                    core = Rooms.Joined(Rooms.Describe(Json.Parse(line)));
                    continue;
                }

                Console.WriteLine(Apply(core, Json.Hex(line)) + " " + core.World.Tick + " " + core.World.Checksum()
                    + " " + core.Mismatches + " " + Outgoing(core));
            }
        }

        private static string Apply(ClientCore core, byte[] frame)
        {
            try
            {
                Update update = core.Receive(frame, 0);
                return update == null ? "none" : update.Kind.ToString();
            }
            catch (MalformedMessageException)
            {
                return "malformed";
            }
        }

        private static string Outgoing(ClientCore core)
        {
            var sent = new List<string>();
            foreach (byte[] message in core.Outgoing)
            {
                sent.Add(Json.ToHex(message));
            }

            sent.Sort(StringComparer.Ordinal);
            core.Outgoing.Clear();
            return string.Join(",", sent);
        }
    }
}
