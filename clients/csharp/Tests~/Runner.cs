// Runs the tests: a program without a test framework, because none is packaged with mono.
//
//     Tests.exe ROOT list            the names of all tests
//     Tests.exe ROOT run [NAME...]   one line for each test: "ok NAME", or "FAIL NAME: reason"
//     Tests.exe ROOT play URL ROOM SECONDS NAME   a player: see Player.cs
//     Tests.exe ROOT restart URL FILE             a program that resumes its session: see Restart.cs
//     Tests.exe ROOT account URL FILE CALL...     calls of an account: see AccountProgram.cs
//     Tests.exe ROOT TOOL [FILE]     a tool for a test in Python: see Tools.cs
//
// ROOT is the root of the repository, whose vectors the tests read.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public sealed class Test
    {
        public readonly string Name;
        public readonly Action Run;

        public Test(string name, Action run)
        {
            Name = name;
            Run = run;
        }
    }

    public static class Runner
    {
        public static string Root { get; private set; }

        public static int Main(string[] arguments)
        {
            if (arguments.Length < 2)
            {
                Console.Error.WriteLine("usage: Tests.exe ROOT list | run [NAME...] | TOOL [FILE]");
                return 2;
            }

            Root = arguments[0];
            switch (arguments[1])
            {
                case "list":
                    foreach (Test test in Suites.All())
                    {
                        Console.WriteLine(test.Name);
                    }

                    return 0;
                case "run":
                    var names = new List<string>(arguments);
                    names.RemoveRange(0, 2);
                    return RunTests(names);
                case "play":
                    return PlayerProgram.Play(new List<string>(arguments).GetRange(2, 4).ToArray());
                case "restart":
                    return RestartProgram.Run(arguments[2], arguments[3]);
                case "account":
                    string[] lines = new List<string>(arguments).GetRange(4, arguments.Length - 4).ToArray();
                    return AccountProgram.Run(arguments[2], arguments[3], lines);
                default:
                    return Tools.Run(arguments[1], arguments.Length > 2 ? arguments[2] : null);
            }
        }

        private static int RunTests(List<string> names)
        {
            int failures = 0;
            foreach (Test test in Suites.All())
            {
                if (names.Count > 0 && !names.Contains(test.Name))
                {
                    continue;
                }

                try
                {
                    test.Run();
                    Console.WriteLine("ok " + test.Name);
                }
                catch (Exception error)
                {
                    failures++;
                    Console.WriteLine("FAIL " + test.Name + ": " + error);
                }
            }

            return failures == 0 ? 0 : 1;
        }
    }
}
