// A program that keeps its session in a file, and ends without closing it: tests/csharp/test_restart.py starts it twice.
//
//     Tests.exe ROOT restart URL FILE

using System;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace Tickwire.Tests
{
    public static class RestartProgram
    {
        /// <summary>Connects, joins unless the session has a seat, counts, and ends at once. Returns the exit code.</summary>
        public static int Run(string url, string file)
        {
            PlayAsync(url, file).Wait();
            return ProgramEnd.Succeed();
        }

        private static async Task PlayAsync(string url, string file)
        {
            var options = new ClientOptions { SessionStorage = new FileSessionStorage(file) };
            TickwireClient client = await TickwireClient.ConnectAsync(url, options);
            bool hasSeat = client.Room != null;
            var pilot = new Dictionary<string, object> { { "name", "csharp" } };
            Room room = client.Room ?? await client.JoinAsync("playground", new JoinOptions { Options = pilot });
            object count = await room.CommandAsync("count");
            Console.WriteLine((hasSeat ? "resumed" : "joined") + " " + room.Entity + " " + count + " " + client.Resumes);
            client.Dispose();
        }
    }
}
