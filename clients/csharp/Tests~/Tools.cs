// Tools for tests in Python (tests/csharp): they compare this client with Python's code.

using System;
using System.IO;

namespace Tickwire.Tests
{
    public static class Tools
    {
        /// <summary>Runs a tool, and returns the exit code of the program.</summary>
        public static int Run(string tool, string file)
        {
            switch (tool)
            {
                case "messages":
                    MessageTools.DecodeAll(File.ReadAllLines(file));
                    return 0;
                case "requests":
                    MessageTools.EncodeAll();
                    return 0;
                case "frames":
                    FrameTools.Apply(File.ReadAllLines(file));
                    return 0;
                case "fuzz":
                    FuzzTests.ChangeMessages(File.ReadAllLines(file));
                    return 0;
                case "msgpack":
                    MessageTools.Repack(File.ReadAllLines(file));
                    return 0;
                case "decode-times":
                    DecodeTimes.Measure(file);
                    return 0;
                case "scenarios":
                    ScenarioTool.PlayAll();
                    return 0;
                default:
                    Console.Error.WriteLine("unknown tool " + tool);
                    return 2;
            }
        }
    }
}
