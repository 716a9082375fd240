// Hostile bytes: every message, however it is changed, is applied, ignored or refused with MalformedMessageException.

using System;
using System.Collections.Generic;
using System.IO;

namespace Tickwire.Tests
{
    public static class FuzzTests
    {
        private const int Rounds = 3000;

        public static IEnumerable<Test> All()
        {
            yield return new Test("fuzz: changed state frames", Frames);
            yield return new Test("fuzz: changed MessagePack", Payloads);
            yield return new Test("fuzz: random bytes", RandomBytes);
        }

        /// <summary>Applies changed golden frames between right ones, and reads the world after each.</summary>
        private static void Frames()
        {
            var random = new Random(1);
            foreach (string path in Directory.GetFiles(Path.Combine(Runner.Root, "schemas/golden/version_4"), "*.json"))
            {
                if (path.EndsWith("acknowledgements.json", StringComparison.Ordinal))
                {
                    continue;
                }

                var golden = Json.Map(Json.Parse(File.ReadAllText(path)));
                var description = Rooms.Describe(golden["description"]);
                var frames = new List<byte[]>();
                foreach (object step in Json.List(golden["steps"]))
                {
                    frames.Add(Json.Hex(Json.Map(step)["frame"]));
                }

                ClientCore core = null;
                for (int round = 0; round < Rounds; round++)
                {
                    int step = round % frames.Count;
                    if (step == 0)
                    {
                        core = Rooms.Joined(description);
                    }

                    bool isChanged = random.Next(4) == 0;
                    Receive(core, isChanged ? Change(frames[step], random) : frames[step]);
                    Read(core.World);
                }
            }
        }

        /// <summary>Changes messages in hex; called by a test in Python, which encodes them.</summary>
        public static void ChangeMessages(string[] lines)
        {
            var random = new Random(2);
            for (int round = 0; round < 20 * Rounds; round++)
            {
                Receive(new ClientCore(), Change(Json.Hex(lines[round % lines.Length]), random));
            }
        }

        private static void Payloads()
        {
            var random = new Random(3);
            byte[] packed = MessagePack.Encode(new Dictionary<string, object>
            {
                { "a", new object[] { 1, -70000, 0.5, "text", new byte[300], null, true } },
                { "b", new Dictionary<string, object> { { "c", DateTime.UtcNow } } },
            });
            for (int round = 0; round < 10 * Rounds; round++)
            {
                try
                {
                    MessagePack.Decode(Change(packed, random));
                }
                catch (MalformedMessageException)
                {
                }
            }
        }

        private static void RandomBytes()
        {
            var random = new Random(4);
            var core = Rooms.Joined(Rooms.Describe(GoldenTests.Load("version_4/kinds.json")["description"]));
            for (int round = 0; round < 20 * Rounds; round++)
            {
                var bytes = new byte[random.Next(64)];
                random.NextBytes(bytes);
                Receive(core, bytes);
            }
        }

        private static void Receive(ClientCore core, byte[] data)
        {
            try
            {
                core.Receive(data, 0);
            }
            catch (MalformedMessageException)
            {
            }

            core.Outgoing.Clear();
        }

        private static void Read(World world)
        {
            foreach (WorldTable table in world.Tables)
            {
                for (int row = 0; row < table.Count; row++)
                {
                    foreach (Field field in table.Fields)
                    {
                        WorldColumn column = table.Column(field.Name);
                        if (field.IsText)
                        {
                            column.Bytes(row);
                        }
                        else
                        {
                            long value = column.Quantised(row);
                            Check.That(value >= field.Least && value <= field.Greatest, field.Name + " is in its range");
                        }
                    }

                    Check.That(row == 0 || table.IdAt(row - 1) < table.IdAt(row), "ids ascend");
                }
            }
        }

        /// <summary>Returns a copy with changed, removed, added or repeated bytes.</summary>
        private static byte[] Change(byte[] data, Random random)
        {
            var bytes = new List<byte>(data);
            for (int changes = 1 + random.Next(4); changes > 0 && bytes.Count > 0; changes--)
            {
                int at = random.Next(bytes.Count);
                switch (random.Next(6))
                {
                    case 0:
                        bytes[at] = (byte)random.Next(256);
                        break;
                    case 1:
                        bytes[at] ^= (byte)(1 << random.Next(8));
                        break;
                    case 2:
                        bytes.RemoveRange(at, bytes.Count - at);
                        break;
                    case 3:
                        bytes.Insert(at, (byte)random.Next(256));
                        break;
                    case 4:
                        bytes[at] = 0xff;
                        break;
                    default:
                        bytes.RemoveAt(at);
                        break;
                }
            }

            return bytes.ToArray();
        }
    }
}
