// Exponential backoff with jitter, never shorter than the delay that the server advised.
//
// The whole delay is random (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015: full jitter), which spreads the
// reconnects of the clients that lost the same server at the same moment.

using System;

namespace Tickwire
{
    /// <summary>The delays of one series of attempts.</summary>
    internal sealed class Backoff
    {
        private const double FirstMs = 250;
        private const double MaxMs = 10000;

        /// <summary>Many clients receive the same advice: each adds a random delay of up to this share.</summary>
        private const double AdviceSpread = 0.25;
        private readonly Func<double> random;
        private double ceilingMs = FirstMs;

        /// <param name="random">Returns random numbers from 0 to 1.</param>
        public Backoff(Func<double> random)
        {
            this.random = random;
        }

        /// <summary>Returns the delay before the next attempt, in whole milliseconds. Draws two random numbers.</summary>
        /// <param name="advisedMs">The delay that the server advised; 0 without advice.</param>
        public double NextMs(double advisedMs)
        {
            double jitteredMs = ToWholeMs(ceilingMs * random());
            ceilingMs = Math.Min(MaxMs, ceilingMs * 2);
            return Math.Max(jitteredMs, ToWholeMs(advisedMs * (1 + AdviceSpread * random())));
        }

        /// <summary>Rounds to whole milliseconds, halves up: all clients round alike, so that scenarios hold for each of
        /// them.</summary>
        public static double ToWholeMs(double ms)
        {
            return Math.Floor(ms + 0.5);
        }
    }
}
