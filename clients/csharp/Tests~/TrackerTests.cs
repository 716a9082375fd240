// The tracker of entities, over golden sequences: what it reports is compared with the vectors.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class TrackerTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("tracker: entities that enter, change and leave", () => Follow("coming_and_going", "ships"));
            yield return new Test("tracker: texts, and entities that move between channels", () => Follow("several_channels", "kinds"));
            yield return new Test("tracker: another world, and the end", Worlds);
            yield return new Test("tracker: a listener that fails loses no report of another entity", FailingListener);
            yield return new Test("tracker: vectors, and unknown fields", Fields);
            yield return new Test("allocation: the tracker", Allocation);
        }

        /// <summary>Tracks all fields, and compares the reports of each step with the differences of the vectors.</summary>
        private static void Follow(string sequence, string name)
        {
            var golden = GoldenTests.Load("version_4/" + sequence + ".json");
            ClientCore core = Rooms.Joined(Rooms.Describe(golden["description"]));
            var fields = new List<string>();
            foreach (Field field in core.World.Table(name).Fields)
            {
                fields.Add(field.Name);
            }

            var tracker = new EntityTracker(name, fields.ToArray());
            var reports = new List<string>();
            tracker.Entered += id => reports.Add("entered " + id);
            tracker.Changed += id => reports.Add("changed " + id);
            tracker.Left += id => reports.Add("left " + id);
            var before = new SortedDictionary<long, string>();
            int count = 0;
            foreach (object item in Json.List(golden["steps"]))
            {
                var step = Json.Map(item);
                core.Receive(Json.Hex(step["frame"]), 0);
                reports.Clear();
                tracker.Update(core.World);
                SortedDictionary<long, string> now = Rows(Json.Map(step["channels"]), name);
                Check.Equal(Differences(before, now), string.Join("\n", reports), "the reports at tick " + step["tick"]);
                before = now;
                count += reports.Count;
            }

            Check.That(count > 5, "the sequence has changes");
        }

        private static SortedDictionary<long, string> Rows(Dictionary<string, object> channels, string name)
        {
            var rows = new SortedDictionary<long, string>();
            foreach (object channel in channels.Values)
            {
                var table = Json.Map(Json.Map(Json.Map(channel)["tables"])[name]);
                var ids = Json.List(table["ids"]);
                for (int row = 0; row < ids.Count; row++)
                {
                    string values = "";
                    foreach (object column in Json.List(table["columns"]))
                    {
                        values += Json.List(column)[row] + " ";
                    }

                    foreach (object texts in Json.List(table["texts"]))
                    {
                        values += Json.List(texts)[row] + " ";
                    }

                    rows[(long)ids[row]] = values;
                }
            }

            return rows;
        }

        private static string Differences(SortedDictionary<long, string> before, SortedDictionary<long, string> now)
        {
            var lines = new List<string>();
            foreach (long id in before.Keys)
            {
                if (!now.ContainsKey(id))
                {
                    lines.Add("left " + id);
                }
            }

            foreach (KeyValuePair<long, string> row in now)
            {
                string values;
                if (!before.TryGetValue(row.Key, out values))
                {
                    lines.Add("entered " + row.Key);
                }
                else if (values != row.Value)
                {
                    lines.Add("changed " + row.Key);
                }
            }

            return string.Join("\n", lines);
        }

        private static ClientCore Moving()
        {
            ClientCore core = Rooms.Joined(Rooms.Describe(GoldenTests.Load("version_4/groups.json")["description"]));
            core.Receive(Json.Hex(Json.Map(Json.List(GoldenTests.Load("version_4/groups.json")["steps"])[0])["frame"]), 0);
            return core;
        }

        private static void Worlds()
        {
            var tracker = new EntityTracker("bodies", "hp");
            int entered = 0;
            int left = 0;
            tracker.Entered += id => entered++;
            tracker.Left += id => left++;
            World world = Moving().World;
            int count = world.Table("bodies").Count;
            Check.That(count > 0, "there are entities");
            tracker.Update(world);
            tracker.Update(world);
            Check.Equal(count, entered, "entities that entered once");
            tracker.Update(Moving().World);
            Check.Equal(count, left, "entities of the first world");
            Check.Equal(2 * count, entered, "entities of both worlds");
            tracker.Update(Rooms.Joined(new StateDescription()).World);
            Check.Equal(2 * count, left, "a world without the table");
            tracker.Update(Moving().World);
            tracker.End();
            tracker.End();
            Check.Equal(3 * count, left, "the end");
        }

        private static void FailingListener()
        {
            var tracker = new EntityTracker("bodies", "hp");
            int entered = 0;
            tracker.Entered += id =>
            {
                entered++;
                throw new InvalidOperationException("listener");
            };
            World world = Moving().World;
            int count = world.Table("bodies").Count;
            Check.That(count > 1, "there are entities");
            Check.Throws<InvalidOperationException>(() => tracker.Update(world), "the exception of the listener");
            Check.Equal(count, entered, "entities that entered");
        }

        private static void Fields()
        {
            Check.Throws<ArgumentException>(() => new EntityTracker("bodies", "none").Update(Moving().World), "an unknown field");
            var golden = Json.List(GoldenTests.Load("version_4/groups.json")["steps"]);
            ClientCore core = Moving();
            var tracker = new EntityTracker("bodies", "rotation");
            int changed = 0;
            tracker.Changed += id => changed++;
            tracker.Update(core.World);
            core.Receive(Json.Hex(Json.Map(golden[1])["frame"]), 0);
            tracker.Update(core.World);
            Check.That(changed > 0, "rotations change");
        }

        private static void Allocation()
        {
            ClientCore core = Moving();
            var golden = Json.List(GoldenTests.Load("version_4/groups.json")["steps"]);
            var tracker = new EntityTracker("bodies", "position", "rotation", "hp");
            int changed = 0;
            tracker.Changed += id => changed++;
            long allocated = 0;
            for (int step = 0; step < 3 * golden.Count; step++)
            {
                core.Receive(Json.Hex(Json.Map(golden[step % golden.Count])["frame"]), 0);
                long before = GC.GetAllocatedBytesForCurrentThread();
                tracker.Update(core.World);
                long now = GC.GetAllocatedBytesForCurrentThread();
                allocated += step < golden.Count ? 0 : now - before; // the first time, lists grow
            }

            Check.Equal(0L, allocated, "bytes allocated");
            Check.That(changed > 0 && golden.Count > 5, "entities change");
        }
    }
}
