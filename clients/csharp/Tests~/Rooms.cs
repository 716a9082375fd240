// Rooms for tests: descriptions from JSON, and cores that have joined them.

using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class Rooms
    {
        /// <summary>Returns the description of a vector.</summary>
        public static StateDescription Describe(object description)
        {
            var map = Json.Map(description);
            var tables = new List<TableDescription>();
            foreach (object item in Json.List(map["tables"]))
            {
                var table = Json.Map(item);
                var groups = new List<GroupDescription>();
                object found;
                if (table.TryGetValue("groups", out found))
                {
                    foreach (object group in Json.List(found))
                    {
                        groups.Add(DescribeGroup(Json.Map(group)));
                    }
                }

                tables.Add(new TableDescription
                {
                    Name = (string)table["name"], Fields = DescribeFields(table["fields"]), Groups = groups,
                });
            }

            return new StateDescription { Tables = tables, Inputs = DescribeFields(map["inputs"]) };
        }

        /// <summary>Returns a core in a room, by way of its messages' handlers.</summary>
        public static ClientCore Joined(StateDescription description)
        {
            var core = new ClientCore();
            core.Enter(new JoinedMessage { RoomId = "room", RoomType = "test", TickRateHz = 20, Description = description });
            return core;
        }

        private static List<FieldDescription> DescribeFields(object fields)
        {
            var described = new List<FieldDescription>();
            foreach (object item in Json.List(fields))
            {
                var field = Json.Map(item);
                var labels = new List<string>();
                foreach (object label in Json.List(field["labels"]))
                {
                    labels.Add((string)label);
                }

                described.Add(new FieldDescription
                {
                    Name = (string)field["name"],
                    Kind = (FieldKind)(long)field["kind"],
                    Bits = (int)(long)field["bits"],
                    Low = Json.Number(field["low"]),
                    High = Json.Number(field["high"]),
                    Step = Json.Number(field["step"]),
                    Labels = labels,
                    BytesMax = (int)(long)field["bytes_max"],
                });
            }

            return described;
        }

        private static GroupDescription DescribeGroup(Dictionary<string, object> group)
        {
            return new GroupDescription
            {
                Name = (string)group["name"],
                Kind = (GroupKind)(long)group["kind"],
                First = (int)(long)group["first"],
                Size = (int)(long)group["size"],
            };
        }
    }
}
