// The core: recovery from missing and wrong frames, values by name, inputs, commands.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class CoreTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("core: a missing frame requests keyframes of all channels", MissingFrame);
            yield return new Test("core: a wrong checksum is counted and requests a keyframe", WrongChecksum);
            yield return new Test("core: a part that does not fit leaves the world unchanged", MalformedPart);
            yield return new Test("core: a keyframe is requested again after 64 ticks", RequestAgain);
            yield return new Test("core: a room that moved keeps its world", SameRoom);
            yield return new Test("world: values by name, kind by kind", Values);
            yield return new Test("world: several channels are one table", SeveralChannels);
            yield return new Test("world: unknown names are errors that list the known ones", UnknownNames);
            yield return new Test("inputs: numbered, quantised and of one room", Inputs);
            yield return new Test("commands: sent again until decided, sixteen at a time", Commands);
            yield return new Test("messages: texts and messages above the limits are refused", TooLarge);
        }

        private static List<byte[]> Frames(string file)
        {
            var frames = new List<byte[]>();
            foreach (object step in Json.List(GoldenTests.Load(file)["steps"]))
            {
                frames.Add(Json.Hex(Json.Map(step)["frame"]));
            }

            return frames;
        }

        private static ClientCore Core(string file)
        {
            return Rooms.Joined(Rooms.Describe(GoldenTests.Load(file)["description"]));
        }

        private static void MissingFrame()
        {
            const string file = "version_4/motion.json";
            List<byte[]> frames = Frames(file);
            ClientCore core = Core(file);
            core.Receive(frames[0], 0);
            uint checksum = core.World.Checksum();
            Check.That(core.Receive(frames[2], 0) == null, "a delta without its baseline is not applied");
            Check.Equal(1, core.Resyncs, "requested keyframes");
            Check.Equal(1, core.Outgoing.Count, "messages to send");
            Check.Equal(checksum, core.World.Checksum(), "the world");
            Check.That(core.Receive(frames[3], 0) == null, "deltas are ignored until the keyframe");
            Check.Equal(1, core.Resyncs, "requested keyframes");
            Check.That(core.Receive(frames[0], 0) is StateApplied, "the keyframe is applied");
            Check.That(core.Receive(frames[1], 0) is StateApplied, "the delta after it is applied");
        }

        private static void WrongChecksum()
        {
            const string file = "version_4/motion.json";
            byte[] plain = Frames(file)[0];
            ClientCore core = Core(file);
            core.Receive(plain, 0);
            uint checksum = core.World.Checksum();
            foreach (uint appended in new[] { checksum, checksum ^ 1 })
            {
                var frame = new byte[plain.Length + 4];
                Array.Copy(plain, frame, plain.Length);
                frame[0] |= StateFrame.HasChecksum << 3;
                for (int octet = 0; octet < 4; octet++)
                {
                    frame[plain.Length + octet] = (byte)(appended >> (8 * octet));
                }

                core = Core(file);
                var update = (StateApplied)core.Receive(frame, 0);
                int expected = appended == checksum ? 0 : 1;
                Check.Equal(expected == 0, update.HasAgreed, "the checksum agrees");
                Check.Equal(expected, core.Mismatches, "mismatches");
                Check.Equal(expected, core.Outgoing.Count, "requested keyframes");
            }
        }

        private static void MalformedPart()
        {
            const string file = "version_4/motion.json";
            List<byte[]> frames = Frames(file);
            ClientCore core = Core(file);
            core.Receive(frames[0], 0);
            uint checksum = core.World.Checksum();
            byte[] cut = new byte[frames[1].Length - 2];
            Array.Copy(frames[1], cut, cut.Length);
            Check.That(core.Receive(cut, 0) == null, "a part that is cut is not applied");
            Check.Equal(checksum, core.World.Checksum(), "the world");
            Check.Equal(1, core.Resyncs, "requested keyframes");
        }

        private static void RequestAgain()
        {
            const string file = "version_4/motion.json";
            List<byte[]> frames = Frames(file);
            ClientCore core = Core(file);
            core.Receive(frames[0], 0);
            core.Receive(frames[2], 0);
            uint tick = core.World.Tick;
            for (uint later = 1; later <= 64; later++)
            {
                byte[] delta = { 3, 1, (byte)(tick + later), (byte)((tick + later) >> 8), 0 };
                core.Receive(delta, 0);
                Check.Equal(later < 64 ? 1 : 2, core.Resyncs, "requested keyframes after " + later + " ticks");
            }
        }

        private static void SameRoom()
        {
            const string file = "version_4/motion.json";
            ClientCore core = Core(file);
            core.Receive(Frames(file)[0], 0);
            World world = core.World;
            WorldTable table = world.Tables[0];
            Check.That(table.Count > 0, "the room has entities");
            var description = Rooms.Describe(GoldenTests.Load(file)["description"]);
            var update = (SeatTaken)core.Enter(new JoinedMessage { RoomId = "room", Description = description });
            Check.That(update.IsSameRoom, "it is the same room");
            Check.That(ReferenceEquals(world, core.World), "its world is the same object");
            Check.Equal(0, table.Count, "entities before the next keyframe");
            core.Enter(new JoinedMessage { RoomId = "other", Description = description });
            Check.That(!ReferenceEquals(world, core.World), "another room has another world");
        }

        private static void Values()
        {
            ClientCore core = Core("version_4/kinds.json");
            core.Receive(Frames("version_4/kinds.json")[0], 0);
            WorldTable table = core.World.Table("kinds");
            var columns = Json.Map(Json.Map(Json.Map(Json.List(GoldenTests.Load("version_4/kinds.json")["steps"])[0])["channels"])["0"]);
            var golden = Json.Map(Json.Map(columns["tables"])["kinds"]);
            for (int row = 0; row < table.Count; row++)
            {
                uint id = table.IdAt(row);
                Check.Equal((long)Json.List(golden["ids"])[row], (long)id, "id");
                Check.Equal(row, table.RowOf(id), "row");
                Check.That(table.Contains(id) && !table.Contains(id + 100000), "contains");
                string text = System.Text.Encoding.UTF8.GetString(Json.Hex(Json.List(Json.List(golden["texts"])[0])[row]));
                Check.Equal(text, table.Text(id, "name"), "text");
                Check.Equal(Json.ToHex(table.Column("seal").Bytes(row)), (string)Json.List(Json.List(golden["texts"])[1])[row], "blob");
                long mood = (long)Json.List(Json.List(golden["columns"])[3])[row];
                Check.Equal(new[] { "calm", "merry", "curious" }[mood], table.Label(id, "mood"), "label");
                Check.Equal((double)(long)Json.List(Json.List(golden["columns"])[2])[row], table.Number(id, "wide"), "number");
            }

            Check.That(double.IsNaN(table.Number(4000000000, "small")), "a number of no entity");
            Check.That(table.Text(4000000000, "name") == null, "a text of no entity");
            Check.Throws<InvalidOperationException>(() => table.Column("name").Number(0), "a text is not a number");
            Check.Throws<InvalidOperationException>(() => table.Column("seal").Text(0), "a blob is not a text");
            Check.Throws<ArgumentOutOfRangeException>(() => table.Column("small").Number(table.Count), "a row after the last");
        }

        private static void SeveralChannels()
        {
            const string file = "version_4/several_channels.json";
            ClientCore core = Core(file);
            foreach (object item in Json.List(GoldenTests.Load(file)["steps"]))
            {
                var step = Json.Map(item);
                core.Receive(Json.Hex(step["frame"]), 0);
                foreach (WorldTable table in core.World.Tables)
                {
                    var expected = new SortedDictionary<long, long>();
                    foreach (object channel in Json.Map(step["channels"]).Values)
                    {
                        var golden = Json.Map(Json.Map(Json.Map(channel)["tables"])[table.Name]);
                        var ids = Json.List(golden["ids"]);
                        for (int row = 0; row < ids.Count; row++)
                        {
                            expected[(long)ids[row]] = (long)Json.List(Json.List(golden["columns"])[0])[row];
                        }
                    }

                    Check.Equal(expected.Count, table.Count, "entities at tick " + step["tick"]);
                    int at = 0;
                    WorldColumn first = table.Column(table.Fields[0].Name);
                    foreach (KeyValuePair<long, long> entry in expected)
                    {
                        Check.Equal(entry.Key, (long)table.IdAt(at), "id at tick " + step["tick"]);
                        Check.Equal(at, table.RowOf((uint)entry.Key), "row at tick " + step["tick"]);
                        Check.Equal(entry.Value, first.Quantised(at++), "value at tick " + step["tick"]);
                    }
                }
            }
        }

        private static void UnknownNames()
        {
            World world = Core("version_4/motion.json").World;
            Check.Throws<ArgumentException>(() => world.Table("none"), "a table");
            Check.Throws<ArgumentException>(() => world.Tables[0].Column("none"), "a field");
            Check.Throws<ArgumentException>(() => world.Tables[0].Group("none"), "a group");
        }

        private static StateDescription WithInputs()
        {
            return new StateDescription
            {
                Inputs = new[]
                {
                    new FieldDescription { Name = "thrust", Kind = FieldKind.Real, Bits = 8, Low = 0, High = 1, Step = 0.01 },
                    new FieldDescription { Name = "turn", Kind = FieldKind.Int, Bits = 12 },
                    new FieldDescription { Name = "fire", Kind = FieldKind.Bool, Bits = 1 },
                },
            };
        }

        private static void Inputs()
        {
            ClientCore core = Rooms.Joined(WithInputs());
            InputValues values = core.CreateInput();
            values["thrust"] = 0.504;
            values["turn"] = -1;
            values["fire"] = 1;
            ArraySegment<byte> first = core.Input(values);
            string hex = Json.ToHex(first.Array, first.Offset, first.Count);
            Check.That(hex.EndsWith("32ff0f01", StringComparison.Ordinal), "the payload is at the end: " + hex);
            Check.Equal(1u, core.InputSeq, "the number of the first input");
            core.Input(values);
            Check.Equal(2u, core.InputSeq, "the number of the second input");
            values.Quantise();
            Check.Equal(0.5, values["thrust"], "the quantised value");
            Check.Throws<ArgumentException>(() => values["jump"] = 1, "an unknown input");
            core.Enter(new JoinedMessage { RoomId = "other", Description = WithInputs() });
            Check.Throws<ArgumentException>(() => core.Input(values), "the values of another room");
            Check.Throws<InvalidOperationException>(() => new ClientCore().CreateInput(), "no room");
        }

        private static void Commands()
        {
            ClientCore core = Rooms.Joined(WithInputs());
            var sent = new List<byte[]>();
            for (int number = 0; number < 20; number++)
            {
                core.Command("buy", null);
            }

            core.CommandsDue(0, sent);
            Check.Equal(16, sent.Count, "commands in flight");
            sent.Clear();
            core.CommandsDue(9999, sent);
            Check.Equal(0, sent.Count, "nothing is due before the answer's time limit");
            Check.Equal(10000.0, core.NextCommandMs(9999), "the time limit");
            core.CommandsDue(10000, sent);
            Check.Equal(16, sent.Count, "all are sent again");
            core.AbandonCommand(1);
            sent.Clear();
            core.CommandsDue(10001, sent);
            Check.Equal(1, sent.Count, "the window moves on");
            Check.Equal(19, core.CommandsUnanswered, "commands without a reply");
        }

        private static void TooLarge()
        {
            var core = new ClientCore();
            Check.Throws<MessageTooLargeException>(() => core.Join(new string('x', 4097), null), "a text");
            Check.That(core.Join(new string('x', 4096), null).Length > 4096, "the longest text");
            Check.Throws<MessageTooLargeException>(() => core.Join(new string('ö', 2049), null), "a text is counted in bytes");
        }
    }
}
