// Prints decoded messages of a server, and encoded messages of a client.

using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Tickwire.Tests
{
    public static class MessageTools
    {
        /// <summary>Decodes messages in hex, and prints the fields of each in the order of schemas/server.fbs: numbers and
        /// texts as JSON, bytes in hex; "malformed" for one that is refused.</summary>
        public static void DecodeAll(string[] lines)
        {
            var decoder = new ServerDecoder();
            foreach (string line in lines)
            {
                byte[] data = Json.Hex(line);
                try
                {
                    Console.WriteLine(Show(Fields(decoder.Decode(data, 0, data.Length, 0, 0))));
                }
                catch (MalformedMessageException)
                {
                    Console.WriteLine("\"malformed\"");
                }
            }
        }

        private static object[] Fields(ServerMessage message)
        {
            return Session(message) ?? Queue(message) ?? Answers(message);
        }

        private static object[] Session(ServerMessage message)
        {
            if (message is WelcomeMessage)
            {
                var it = (WelcomeMessage)message;
                return new object[]
                {
                    "Welcome", it.SessionId, it.ResumeToken, it.ServerTimeUs, it.HeartbeatIntervalMs, it.MessageBytesMax,
                    it.InputsPerSecondMax, it.Generation, it.ResumeWindowMs, it.RoomId, it.IsJoining,
                    it.MessagesPerSecondMax, it.BytesPerSecondMax, it.LeftReason,
                };
            }

            if (message is JoinedMessage)
            {
                var it = (JoinedMessage)message;
                return new object[]
                {
                    "Joined", it.RoomId, it.RoomType, it.RoomName, it.TickRateHz, it.Tick, it.Entity,
                    Description(it.Description), it.RoomCode, it.Team,
                };
            }

            if (message is LeftMessage)
            {
                return new object[] { "Left", ((LeftMessage)message).Reason };
            }

            if (message is AuthenticatedMessage)
            {
                var it = (AuthenticatedMessage)message;
                return new object[] { "Authenticated", it.PlayerId, it.ExpiresInMs };
            }

            if (message is TokenExpiringMessage)
            {
                return new object[] { "TokenExpiring", ((TokenExpiringMessage)message).ExpiresInMs };
            }

            if (message is RateMessage)
            {
                var it = (RateMessage)message;
                return new object[] { "Rate", it.TicksPerUpdate, it.KeyframesOnly };
            }

            return null;
        }

        private static object[] Queue(ServerMessage message)
        {
            if (message is RedirectMessage)
            {
                var it = (RedirectMessage)message;
                return new object[] { "Redirect", it.Url, it.Ticket, it.RoomType, it.RoomName, it.IsResume };
            }

            if (message is MatchStatusMessage)
            {
                var it = (MatchStatusMessage)message;
                return new object[]
                {
                    "MatchStatus", (int)it.State, it.Position, it.EstimateMs, it.Mode, it.Reason, it.WaitingFor,
                };
            }

            if (message is RoomListMessage)
            {
                var it = (RoomListMessage)message;
                var rooms = new List<object>();
                foreach (OpenRoom room in it.Rooms)
                {
                    rooms.Add(new object[] { room.RoomId, room.Players, room.MaxPlayers, room.Labels });
                }

                return new object[] { "RoomList", it.Id, rooms };
            }

            return null;
        }

        private static object[] Answers(ServerMessage message)
        {
            if (message is EventMessage)
            {
                var it = (EventMessage)message;
                return new object[] { "Event", it.Number, it.Name, it.Payload };
            }

            if (message is ReplyMessage)
            {
                var it = (ReplyMessage)message;
                return new object[] { "Reply", it.Id, it.Ok, ErrorCodes.Name(it.Error), it.Message, it.Payload, it.RetryAfterMs };
            }

            if (message is PongMessage)
            {
                var it = (PongMessage)message;
                return new object[] { "Pong", it.ClientTimeUs, it.ServerTimeUs, it.Tick };
            }

            if (message is ErrorMessage)
            {
                var it = (ErrorMessage)message;
                return new object[]
                {
                    "Error", ErrorCodes.Name(it.Code), it.Message, it.RetryAfterMs, it.UpgradeTo, it.Retryable,
                    (int)it.RequestType,
                };
            }

            if (message is GoodbyeMessage)
            {
                var it = (GoodbyeMessage)message;
                return new object[] { "Goodbye", ErrorCodes.Name(it.Code), it.Message, it.ComeBack, it.RetryAfterMs };
            }

            if (message is StateFrame)
            {
                var it = (StateFrame)message;
                var packed = new byte[it.Count];
                Buffer.BlockCopy(it.Data, it.Offset, packed, 0, it.Count);
                return new object[] { "StateFrame", it.Tick, it.Channel, it.Age, it.Flags, packed };
            }

            if (message is InputAck)
            {
                var it = (InputAck)message;
                return new object[] { "InputAck", it.Tick, it.Seq };
            }

            return new object[] { "unknown" };
        }

        private static object[] Description(StateDescription description)
        {
            var tables = new List<object>();
            foreach (TableDescription table in description.Tables)
            {
                var groups = new List<object>();
                foreach (GroupDescription group in table.Groups)
                {
                    groups.Add(new object[] { group.Name, (int)group.Kind, group.First, group.Size });
                }

                tables.Add(new object[] { table.Name, FieldList(table.Fields), groups });
            }

            return new object[] { tables, FieldList(description.Inputs) };
        }

        private static List<object> FieldList(IReadOnlyList<FieldDescription> fields)
        {
            var shown = new List<object>();
            foreach (FieldDescription field in fields)
            {
                shown.Add(new object[]
                {
                    field.Name, (int)field.Kind, field.Bits, field.Low, field.High, field.Step, new List<string>(field.Labels),
                    field.BytesMax,
                });
            }

            return shown;
        }

        /// <summary>Prints client messages in hex, in the order of tests/csharp/test_messages.py.</summary>
        public static void EncodeAll()
        {
            var encoder = new ClientEncoder();
            var labels = new Dictionary<string, string> { { "map", "höhle" } };
            var options = new Dictionary<string, object> { { "skin", 7 }, { "name", "Zoë" } };
            byte[][] messages =
            {
                encoder.Hello(new HelloFields
                {
                    Build = "1.2", Token = "t", ResumeToken = "r", LastTick = 9, LastEvent = 8, RoomId = "a", Attempt = 3,
                }),
                encoder.Hello(default(HelloFields)),
                encoder.Join("arena", new JoinOptions()),
                encoder.Join("arena", new JoinOptions
                {
                    Name = "n", RoomId = "i", Code = "c", IsPrivate = true, Labels = labels, Party = new Party("p", 3),
                    Options = options, Ticket = "ticket",
                }),
                encoder.Leave(),
                encoder.Input(7, 1000, new byte[] { 1, 2, 3, 4 }),
                encoder.Input(0, 0, new byte[0]),
                encoder.Command(ulong.MaxValue, "buy", MessagePack.Encode(options)),
                encoder.Resync(65535, uint.MaxValue),
                encoder.Ping(123456789012345, 4, 5),
                encoder.MatchRequest("duel", new MatchOptions()),
                encoder.MatchRequest("duel", new MatchOptions
                {
                    Options = options, Party = new Party("p", 2), Labels = labels,
                    Latencies = new Dictionary<string, double> { { "eu", 12.5 } },
                }),
                encoder.MatchCancel(),
                encoder.EndSession(),
                encoder.ListRooms(1, "arena", null, 50),
                encoder.ListRooms(2, "arena", labels, 0),
                encoder.Authenticate("a.b.c"),
            };
            foreach (byte[] message in messages)
            {
                Console.WriteLine(Json.ToHex(message));
            }
        }

        /// <summary>Decodes MessagePack in hex, encodes it again, and prints that in hex; "malformed" if it is refused.</summary>
        public static void Repack(string[] lines)
        {
            foreach (string line in lines)
            {
                try
                {
                    Console.WriteLine(Json.ToHex(MessagePack.Encode(MessagePack.Decode(Json.Hex(line)))));
                }
                catch (MalformedMessageException)
                {
                    Console.WriteLine("malformed");
                }
            }
        }

        private static string Show(object value)
        {
            if (value == null)
            {
                return "null";
            }

            if (value is bool)
            {
                return (bool)value ? "true" : "false";
            }

            if (value is byte[])
            {
                return "\"" + Json.ToHex((byte[])value) + "\"";
            }

            if (value is string)
            {
                return Quote((string)value);
            }

            if (value is double)
            {
                return ((double)value).ToString("R", CultureInfo.InvariantCulture);
            }

            if (value is IReadOnlyDictionary<string, string>)
            {
                var entries = new List<string>();
                foreach (KeyValuePair<string, string> entry in (IReadOnlyDictionary<string, string>)value)
                {
                    entries.Add(Quote(entry.Key) + ":" + Quote(entry.Value));
                }

                return "{" + string.Join(",", entries) + "}";
            }

            if (value is IEnumerable)
            {
                var items = new List<string>();
                foreach (object item in (IEnumerable)value)
                {
                    items.Add(Show(item));
                }

                return "[" + string.Join(",", items) + "]";
            }

            return Convert.ToString(value, CultureInfo.InvariantCulture);
        }

        private static string Quote(string text)
        {
            var quoted = new StringBuilder("\"");
            foreach (char one in text)
            {
                bool isPlain = one >= ' ' && one < 127 && one != '"' && one != '\\';
                quoted.Append(isPlain ? one.ToString() : "\\u" + ((int)one).ToString("x4", CultureInfo.InvariantCulture));
            }

            return quoted.Append('"').ToString();
        }
    }
}
