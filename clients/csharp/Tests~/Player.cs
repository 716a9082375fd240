// A player for the test of all clients in one room: tests/harness/players.py defines its lines.
//
//     Tests.exe ROOT play URL ROOM SECONDS NAME

using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading.Tasks;

namespace Tickwire.Tests
{
    public sealed class PlayerProgram
    {
        private const double InputMs = 50;
        private const double CommandMs = 400;
        private readonly string url;
        private readonly string roomName;
        private readonly double endMs;
        private readonly string name;
        private readonly List<long> counts = new List<long>();
        private readonly List<long> beats = new List<long>();
        private TickwireClient client;
        private int sent;
        private bool isOver;
        private Task<object> counting;

        private PlayerProgram(string[] arguments)
        {
            url = arguments[0];
            roomName = arguments[1];
            endMs = TickwireClient.NowMs + 1000 * double.Parse(arguments[2], CultureInfo.InvariantCulture);
            name = arguments[3];
        }

        /// <summary>Plays until the round is over. Returns the exit code.</summary>
        public static int Play(string[] arguments)
        {
            try
            {
                new PlayerProgram(arguments).Run();
                return ProgramEnd.Succeed();
            }
            catch (Exception error)
            {
                Print("{\"error\":" + ScenarioCommands.Quote(error.ToString()) + "}");
                return 1;
            }
        }

        private void Run()
        {
            client = TickwireClient.Create(url, new ClientOptions { IsPolled = true });
            client.OnState += StateApplied;
            client.OnDisconnected += reason => Print("{\"event\":\"disconnected\"}");
            client.OnReconnected += hasResumed => Print("{\"event\":\"reconnected\"}");
            Wait(client.OpenAsync());
            var options = new Dictionary<string, object> { { "name", name } };
            Task<Room> joining = client.JoinAsync("playground", new JoinOptions { Name = roomName, Options = options });
            Wait(joining);
            joining.Result.On("beat", payload => beats.Add(WireValues.ToInteger(WireValues.ToFields(payload)["number"])));
            Print("{\"event\":\"joined\",\"entity\":" + joining.Result.Entity + "}");
            PlayRound();
            Print(Summary());
            client.CloseAsync().Wait();
            client.Dispose();
        }

        private void PlayRound()
        {
            double inputMs = TickwireClient.NowMs;
            double commandMs = inputMs;
            var input = new Dictionary<string, double>();
            for (int calls = 0; !isOver;)
            {
                Poll();
                double now = TickwireClient.NowMs;
                if (now >= inputMs && client.Room != null && !isOver)
                {
                    inputMs += InputMs;
                    input["dx"] = Math.Cos(calls / 10.0);
                    input["dy"] = Math.Sin(calls / 10.0);
                    calls++;
                    sent += client.Room.SendInput(input) > 0 ? 1 : 0;
                }

                if (now >= commandMs && client.Room != null && !isOver)
                {
                    commandMs += CommandMs;
                    Count();
                }
            }

            if (counting != null)
            {
                Wait(counting);
                counts.Add((long)counting.Result);
            }
        }

        /// <summary>Adds the reply of the last command, and calls the next one.</summary>
        private void Count()
        {
            if (counting != null && !counting.IsCompleted)
            {
                return;
            }

            if (counting != null)
            {
                counts.Add((long)counting.Result);
            }

            counting = client.CommandAsync("count");
        }

        private void StateApplied(StateApplied update)
        {
            World world = client.World;
            Print("{\"tick\":" + world.Tick + ",\"crc\":" + world.Checksum() + "}");
            WorldTable rounds = world.Table("rounds");
            isOver = isOver || (rounds.Count > 0 && rounds.Column("is_over").Number(0) > 0);
        }

        private string Summary()
        {
            World world = client.World;
            WorldTable squares = world.Table("squares");
            var names = new List<string>();
            for (int row = 0; row < squares.Count; row++)
            {
                names.Add(squares.Column("name").Text(row));
            }

            names.Sort(StringComparer.Ordinal);
            return "{\"done\":{\"resumes\":" + client.Resumes + ",\"sessions_lost\":" + client.SessionsLost
                + ",\"mismatches\":" + client.Core.Mismatches + ",\"resyncs\":" + client.Core.Resyncs
                + ",\"sent\":" + sent + ",\"acknowledged\":" + client.Core.AcknowledgedSeq
                + ",\"counts\":[" + string.Join(",", counts) + "],\"beats\":[" + string.Join(",", beats)
                + "],\"crc\":" + world.Checksum() + ",\"tick\":" + world.Tick
                + ",\"names\":[" + string.Join(",", names.ConvertAll(ScenarioCommands.Quote)) + "]}}";
        }

        private void Wait(Task task)
        {
            while (!task.IsCompleted)
            {
                Poll();
            }

            task.GetAwaiter().GetResult();
        }

        private void Poll()
        {
            client.Poll();
            if (TickwireClient.NowMs > endMs)
            {
                throw new TimeoutException("the round is not over in time");
            }

            System.Threading.Thread.Sleep(1);
        }

        private static void Print(string line)
        {
            Console.WriteLine(line);
            Console.Out.Flush();
        }
    }
}
