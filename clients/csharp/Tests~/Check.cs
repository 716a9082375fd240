// Assertions.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public sealed class CheckFailedException : Exception
    {
        public CheckFailedException(string message)
            : base(message)
        {
        }
    }

    public static class Check
    {
        public static void That(bool isTrue, string what)
        {
            if (!isTrue)
            {
                throw new CheckFailedException(what);
            }
        }

        public static void Equal<T>(T expected, T actual, string what)
        {
            if (!EqualityComparer<T>.Default.Equals(expected, actual))
            {
                throw new CheckFailedException(what + ": expected " + expected + ", got " + actual);
            }
        }

        public static void Near(double expected, double actual, double tolerance, string what)
        {
            if (!(Math.Abs(expected - actual) <= tolerance))
            {
                throw new CheckFailedException(what + ": expected " + expected + ", got " + actual);
            }
        }

        public static void Throws<T>(Action action, string what)
            where T : Exception
        {
            try
            {
                action();
            }
            catch (T)
            {
                return;
            }

            throw new CheckFailedException(what + ": no " + typeof(T).Name);
        }
    }
}
