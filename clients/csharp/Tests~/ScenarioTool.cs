// Plays the scenario vectors on the session machine, and prints its commands. tests/csharp/test_scenarios.py compares them.

using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;

namespace Tickwire.Tests
{
    public static class ScenarioTool
    {
        /// <summary>Prints one line for each file of schemas/scenarios: its name, and a list of commands for each step.</summary>
        public static void PlayAll()
        {
            string[] paths = Directory.GetFiles(Path.Combine(Runner.Root, "schemas", "scenarios"), "*.json");
            Array.Sort(paths, StringComparer.Ordinal);
            foreach (string path in paths)
            {
                var scenario = Json.Map(Json.Parse(File.ReadAllText(path)));
                Console.WriteLine("{\"name\":" + ScenarioCommands.Quote((string)scenario["name"]) + ",\"steps\":" + Play(scenario) + "}");
            }
        }

        private static string Play(Dictionary<string, object> scenario)
        {
            var options = Json.Map(scenario["options"]);
            object reconnectMs;
            object hasStorage;
            var machineOptions = new MachineOptions { Url = (string)options["url"], Build = (string)options["build"] };
            if (options.TryGetValue("reconnect_ms", out reconnectMs))
            {
                machineOptions.ReconnectMs = Json.Number(reconnectMs);
            }

            machineOptions.HasStorage = options.TryGetValue("has_storage", out hasStorage) && (bool)hasStorage;
            List<object> numbers = Json.List(scenario["random"]);
            int drawn = 0;
            var machine = new SessionMachine(machineOptions, () => Json.Number(numbers[drawn++ % numbers.Count]));
            var steps = new List<string>();
            foreach (object item in Json.List(scenario["steps"]))
            {
                var step = Json.Map(item);
                string result = Pass(machine, Json.Map(step["event"]), Json.Number(step["at_ms"]));
                machine.UpdateTimer();
                var shown = new List<string>();
                foreach (MachineCommand command in machine.Commands)
                {
                    shown.Add(ScenarioCommands.Show(command));
                }

                machine.Commands.Clear();
                steps.Add("{\"result\":" + result + ",\"commands\":[" + string.Join(",", shown) + "]}");
            }

            return "[" + string.Join(",", steps) + "]";
        }

        /// <summary>Passes an event to the machine. Returns the number of a call or an input; 0 for other events.</summary>
        private static string Pass(SessionMachine machine, Dictionary<string, object> happened, double now)
        {
            long result = PassCall(machine, happened, now);
            if (result < 0)
            {
                PassEvent(machine, happened, now);
            }

            return Math.Max(0, result).ToString(CultureInfo.InvariantCulture);
        }

        private static long PassCall(SessionMachine machine, Dictionary<string, object> happened, double now)
        {
            switch ((string)happened["type"])
            {
                case "open":
                    return machine.Open((string)happened["stored"], now);
                case "join":
                    return machine.Join((string)happened["room_type"], JoinOptions(Json.Map(happened["options"])), now);
                case "leave":
                    return machine.Leave(now);
                case "match":
                    MatchOptions match = MatchOptions(Json.Map(happened["options"]));
                    return machine.Match((string)happened["mode"], match, Json.Number(happened["timeout_ms"]), now);
                case "authenticate":
                    return machine.Authenticate((string)happened["token"], now);
                case "list_rooms":
                    Dictionary<string, string> labels = Labels(happened["labels"]);
                    return machine.ListRooms((string)happened["room_type"], labels, (int)(long)happened["limit"], now);
                case "command":
                    double timeoutMs = Json.Number(happened["timeout_ms"]);
                    return machine.Command((string)happened["name"], happened["payload"], timeoutMs, now);
                case "send_input":
                    return SendInput(machine, Json.Map(happened["values"]));
                default:
                    return -1;
            }
        }

        private static void PassEvent(SessionMachine machine, Dictionary<string, object> happened, double now)
        {
            switch ((string)happened["type"])
            {
                case "cancel_match":
                    machine.CancelMatch(now);
                    break;
                case "abandon":
                    machine.Abandon((int)(long)happened["call"], now);
                    break;
                case "network_changed":
                    machine.NetworkChanged(now);
                    break;
                case "drop":
                    machine.Drop(now);
                    break;
                case "close":
                    machine.Close(now);
                    break;
                case "token_received":
                    machine.TokenReceived((string)happened["token"], now);
                    break;
                case "token_failed":
                    machine.TokenFailed("no token", now);
                    break;
                case "connected":
                    machine.Connected(now);
                    break;
                case "connect_failed":
                    double retryAfterMs = Json.Number(happened["retry_after_ms"]);
                    machine.ConnectFailed(new ConnectFailedException("the server cannot be reached", retryAfterMs), now);
                    break;
                case "connection_lost":
                    machine.ConnectionLost((int?)(long?)happened["code"], "", now);
                    break;
                case "timer_fired":
                    machine.TimerFired(now);
                    break;
                case "message_received":
                    byte[] data = Json.Hex(happened["hex"]);
                    machine.MessageReceived(data, 0, data.Length, now);
                    break;
                default:
                    throw new FormatException("unknown event " + happened["type"]);
            }
        }

        private static long SendInput(SessionMachine machine, Dictionary<string, object> named)
        {
            InputValues values = machine.Core.CreateInput();
            foreach (KeyValuePair<string, object> entry in named)
            {
                values[entry.Key] = Json.Number(entry.Value);
            }

            return machine.SendInput(values);
        }

        private static JoinOptions JoinOptions(Dictionary<string, object> options)
        {
            var made = new JoinOptions();
            foreach (KeyValuePair<string, object> entry in options)
            {
                switch (entry.Key)
                {
                    case "name":
                        made.Name = (string)entry.Value;
                        break;
                    case "code":
                        made.Code = (string)entry.Value;
                        break;
                    case "room_id":
                        made.RoomId = (string)entry.Value;
                        break;
                    case "is_private":
                        made.IsPrivate = (bool)entry.Value;
                        break;
                    case "labels":
                        made.Labels = Labels(entry.Value);
                        break;
                    case "party":
                        made.Party = Party(entry.Value);
                        break;
                    case "options":
                        made.Options = entry.Value;
                        break;
                    default:
                        throw new FormatException("unknown option " + entry.Key);
                }
            }

            return made;
        }

        private static MatchOptions MatchOptions(Dictionary<string, object> options)
        {
            var made = new MatchOptions();
            foreach (KeyValuePair<string, object> entry in options)
            {
                switch (entry.Key)
                {
                    case "latencies":
                        var latencies = new Dictionary<string, double>();
                        foreach (KeyValuePair<string, object> latency in Json.Map(entry.Value))
                        {
                            latencies[latency.Key] = Json.Number(latency.Value);
                        }

                        made.Latencies = latencies;
                        break;
                    case "labels":
                        made.Labels = Labels(entry.Value);
                        break;
                    case "party":
                        made.Party = Party(entry.Value);
                        break;
                    case "options":
                        made.Options = entry.Value;
                        break;
                    default:
                        throw new FormatException("unknown option " + entry.Key);
                }
            }

            return made;
        }

        private static Dictionary<string, string> Labels(object value)
        {
            var labels = new Dictionary<string, string>();
            foreach (KeyValuePair<string, object> label in Json.Map(value))
            {
                labels[label.Key] = (string)label.Value;
            }

            return labels.Count > 0 ? labels : null;
        }

        private static Party Party(object value)
        {
            List<object> parts = Json.List(value);
            return new Party((string)parts[0], (int)(long)parts[1]);
        }
    }

    /// <summary>Commands as JSON, in the form of schemas/scenarios. Sent messages are in hex.</summary>
    public static class ScenarioCommands
    {
        internal static string Show(in MachineCommand command)
        {
            string head = "{\"type\":" + Quote(command.Kind.ToString());
            string call = ",\"call\":" + command.Call;
            switch (command.Kind)
            {
                case MachineCommandKind.Connect:
                    return head + ",\"url\":" + Quote(command.Text) + "}";
                case MachineCommandKind.Send:
                    ArraySegment<byte> data = command.Data;
                    return head + ",\"hex\":" + Quote(Json.ToHex(data.Array, data.Offset, data.Count)) + "}";
                case MachineCommandKind.Close:
                    return head + ",\"code\":" + command.Code + "}";
                case MachineCommandKind.SetTimer:
                    string at = command.AtMs.ToString("R", CultureInfo.InvariantCulture);
                    return head + ",\"at_ms\":" + (double.IsInfinity(command.AtMs) ? "null" : at) + "}";
                case MachineCommandKind.Resolve:
                    return head + call + ",\"value\":" + Value(command.Value) + "}";
                case MachineCommandKind.Reject:
                    return head + call + "," + ErrorMembers((Exception)command.Value) + "}";
                case MachineCommandKind.Emit:
                    string name = command.Event.ToString().ToLowerInvariant();
                    return head + ",\"event\":" + Quote(name) + ",\"value\":" + Value(command.Value) + "}";
                case MachineCommandKind.StoreSession:
                    return head + ",\"session\":" + command.Text + "}";
                default:
                    return head + "}";
            }
        }

        internal static string Quote(string text)
        {
            var quoted = new StringBuilder("\"");
            foreach (char one in text)
            {
                bool isPlain = one >= ' ' && one < 127 && one != '"' && one != '\\';
                quoted.Append(isPlain ? one.ToString() : "\\u" + ((int)one).ToString("x4", CultureInfo.InvariantCulture));
            }

            return quoted.Append('"').ToString();
        }

        private static string Value(object value)
        {
            if (value is JoinedMessage)
            {
                var joined = (JoinedMessage)value;
                return "{\"room_id\":" + Quote(joined.RoomId) + ",\"room_type\":" + Quote(joined.RoomType)
                    + ",\"entity\":" + joined.Entity + "}";
            }

            if (value is RoomListMessage)
            {
                var ids = new List<string>();
                foreach (OpenRoom room in ((RoomListMessage)value).Rooms)
                {
                    ids.Add(Quote(room.RoomId));
                }

                return "{\"rooms\":[" + string.Join(",", ids) + "]}";
            }

            if (value is AuthenticatedMessage)
            {
                return "{\"player_id\":" + Quote(((AuthenticatedMessage)value).PlayerId) + "}";
            }

            if (value is ReplyMessage)
            {
                var reply = (ReplyMessage)value;
                return "{\"id\":" + reply.Id + ",\"payload\":" + Quote(Json.ToHex(reply.Payload)) + "}";
            }

            if (value is EventMessage)
            {
                var message = (EventMessage)value;
                return "{\"number\":" + message.Number + ",\"name\":" + Quote(message.Name) + ",\"payload\":"
                    + Quote(Json.ToHex(message.Payload)) + "}";
            }

            return SmallValue(value);
        }

        private static string SmallValue(object value)
        {
            if (value is StateApplied)
            {
                return "{\"tick\":" + ((StateApplied)value).Tick + "}";
            }

            if (value is InputAcknowledged)
            {
                return "{\"tick\":" + ((InputAcknowledged)value).Tick + ",\"seq\":" + ((InputAcknowledged)value).Seq + "}";
            }

            if (value is MatchStatusMessage)
            {
                var status = (MatchStatusMessage)value;
                return "{\"state\":" + Quote(Name(status.State)) + ",\"mode\":" + Quote(status.Mode) + "}";
            }

            if (value is PongReceived)
            {
                var pong = (PongReceived)value;
                return "{\"rtt_ms\":" + (long)Math.Floor(pong.RttMs) + ",\"clock_offset_ms\":"
                    + (long)Math.Floor(pong.ClockOffsetMs) + "}";
            }

            if (value is bool)
            {
                return "{\"has_resumed\":" + ((bool)value ? "true" : "false") + "}";
            }

            return value is Exception ? "{" + ErrorMembers((Exception)value) + "}" : "null";
        }

        private static string ErrorMembers(Exception error)
        {
            if (error is RefusedException)
            {
                return "\"error\":\"Refused\",\"code\":" + Quote(ErrorCodes.Name(((RefusedException)error).Code));
            }

            if (error is CommandFailedException)
            {
                return "\"error\":\"CommandFailed\",\"code\":" + Quote(ErrorCodes.Name(((CommandFailedException)error).Code));
            }

            if (error is NotMatchedException)
            {
                return "\"error\":\"NotMatched\",\"state\":" + Quote(Name(((NotMatchedException)error).State));
            }

            string name = error is DisconnectedException ? "Disconnected"
                : error is TimeoutException ? "Timeout"
                : error is SessionLostException ? "SessionLost"
                : error is MessageTooLargeException ? "MessageTooLarge"
                : error is ClientException ? "ClientError"
                : error.GetType().Name;
            return "\"error\":" + Quote(name);
        }

        private static string Name(QueueState state)
        {
            return state == QueueState.TimedOut ? "TIMED_OUT" : state.ToString().ToUpperInvariant();
        }
    }
}
