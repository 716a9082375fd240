// The end of a program of the tests that has used sockets.

using System;
using System.Runtime.InteropServices;

namespace Tickwire.Tests
{
    public static class ProgramEnd
    {
        /// <summary>Ends the process at once. Mono's own end may wait for ever for threads of sockets that were cut.</summary>
        public static int Succeed()
        {
            Console.Out.Flush();
            Exit(0);
            return 0;
        }

        [DllImport("libc", EntryPoint = "_exit")]
        private static extern void Exit(int code);
    }
}
