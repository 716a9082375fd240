// The golden vectors: a client that agrees with all of them can read every frame of a server.

using System.Collections.Generic;
using System.IO;

namespace Tickwire.Tests
{
    public static class GoldenTests
    {
        private static readonly string[] Sequences =
        {
            "coming_and_going", "groups", "kinds", "large_ticks", "motion", "quiet", "several_channels", "skipped_ticks",
        };

        public static IEnumerable<Test> All()
        {
            foreach (string name in Sequences)
            {
                string sequence = name;
                yield return new Test("golden version 3: " + name, () => Follow(sequence + ".json"));
                yield return new Test("golden version 4: " + name, () => Follow("version_4/" + sequence + ".json"));
            }

            yield return new Test("golden: acknowledgements", Acknowledgements);
            yield return new Test("golden: authentication", Authentication);
            yield return new Test("golden: every file is read", AllFiles);
        }

        public static Dictionary<string, object> Load(string file)
        {
            return Json.Map(Json.Parse(File.ReadAllText(Path.Combine(Runner.Root, "schemas/golden", file))));
        }

        /// <summary>Applies all frames of a sequence to a core, and compares its world with the vector after each.</summary>
        private static void Follow(string file)
        {
            var golden = Load(file);
            var core = Rooms.Joined(Rooms.Describe(golden["description"]));
            foreach (object item in Json.List(golden["steps"]))
            {
                var step = Json.Map(item);
                var update = core.Receive(Json.Hex(step["frame"]), 0) as StateApplied;
                string where = "tick " + step["tick"];
                Check.That(update != null && update.HasAgreed, where + " was applied, and its checksum agrees");
                Check.Equal((long)step["tick"], (long)core.World.Tick, where);
                CompareChannels(core.World, Json.Map(step["channels"]), where);
                if (step.ContainsKey("values"))
                {
                    CompareValues(core.World, Json.Map(step["values"]), where);
                }
            }

            Check.Equal(0, core.Resyncs, "requested keyframes");
        }

        private static void CompareChannels(World world, Dictionary<string, object> channels, string where)
        {
            Check.Equal(channels.Count, world.Channels.Count, where + ": channels");
            foreach (KeyValuePair<string, object> entry in channels)
            {
                Channel channel = world.FindChannel(int.Parse(entry.Key));
                var tables = Json.Map(Json.Map(entry.Value)["tables"]);
                var crc = default(Crc32);
                foreach (TableState table in channel.Tables)
                {
                    CompareTable(table, Json.Map(tables[table.Layout.Name]), where + ", channel " + entry.Key);
                    table.AddTo(ref crc);
                }

                byte[] checksum = Json.Hex(Json.Map(entry.Value)["checksum"]);
                uint expected = (uint)(checksum[0] | (checksum[1] << 8) | (checksum[2] << 16) | (checksum[3] << 24));
                Check.Equal(expected, crc.Value, where + ": the checksum of channel " + entry.Key);
            }
        }

        private static void CompareTable(TableState table, Dictionary<string, object> expected, string where)
        {
            where += ", " + table.Layout.Name;
            var ids = Json.List(expected["ids"]);
            var columns = Json.List(expected["columns"]);
            var texts = Json.List(expected["texts"]);
            Check.Equal(ids.Count, table.Now.Size, where + ": entities");
            for (int row = 0; row < ids.Count; row++)
            {
                Check.Equal((long)ids[row], (long)table.Now.Ids[row], where + ": ids");
                for (int column = 0; column < table.Layout.Columns.Length; column++)
                {
                    object value = Json.List(columns[column])[row];
                    Check.Equal((long)value, table.Now.Columns[column][row], where + ", column " + column);
                }

                for (int text = 0; text < table.Layout.Texts.Length; text++)
                {
                    var value = (string)Json.List(texts[text])[row];
                    Check.Equal(value, Json.ToHex(table.Now.Texts[text][row].Bytes), where + ", text " + text);
                }
            }
        }

        private static void CompareValues(World world, Dictionary<string, object> values, string where)
        {
            foreach (KeyValuePair<string, object> entry in values)
            {
                WorldTable table = world.Table(entry.Key);
                foreach (KeyValuePair<string, object> group in Json.Map(entry.Value))
                {
                    var expected = Json.List(group.Value);
                    WorldGroup reader = table.Group(group.Key);
                    Check.Equal(expected.Count, table.Count, where + ": vectors");
                    for (int row = 0; row < expected.Count; row++)
                    {
                        var components = Json.List(expected[row]);
                        var read = new double[reader.Group.Size];
                        reader.Read(row, read);
                        Check.Equal(components.Count, read.Length, where + ": components of " + group.Key);
                        for (int index = 0; index < read.Length; index++)
                        {
                            Check.Near(Json.Number(components[index]), read[index], 2e-5, where + ", " + group.Key);
                        }
                    }
                }
            }
        }

        private static void Acknowledgements()
        {
            foreach (object item in Json.List(Load("version_4/acknowledgements.json")["steps"]))
            {
                var step = Json.Map(item);
                byte[] frame = Json.Hex(step["frame"]);
                var decoder = new ServerDecoder();
                var ack = (InputAck)decoder.Decode(frame, 0, frame.Length, 0, (uint)(long)step["last_seq"]);
                Check.Equal((long)step["tick"], (long)ack.Tick, "tick");
                Check.Equal((long)step["seq"], (long)ack.Seq, "seq");
            }
        }

        private static void Authentication()
        {
            foreach (object item in Json.List(Load("version_5/authentication.json")["steps"]))
            {
                var step = Json.Map(item);
                var fields = Json.Map(step["fields"]);
                if ((string)step["side"] == "client")
                {
                    continue; // MessageTools compares what this client writes with Python's reading
                }

                byte[] data = Json.Hex(step["message"]);
                ServerMessage message = new ServerDecoder().Decode(data, 0, data.Length, 0, 0);
                var answer = message as AuthenticatedMessage;
                long expires = answer != null ? answer.ExpiresInMs : ((TokenExpiringMessage)message).ExpiresInMs;
                Check.Equal((long)fields["expires_in_ms"], expires, "expires_in_ms");
                if (answer != null)
                {
                    Check.Equal((string)fields["player_id"], answer.PlayerId, "player_id");
                }
            }
        }

        private static void AllFiles()
        {
            string folder = Path.Combine(Runner.Root, "schemas/golden");
            int expected = Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories).Length;
            Check.Equal(2 * Sequences.Length + 2, expected, "files of golden vectors");
        }
    }
}
