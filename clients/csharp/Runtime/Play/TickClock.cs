// The tick to render now. See Interpolation.

using System;

namespace Tickwire
{
    /// <summary>Computes the tick to render now.</summary>
    /// <remarks>A frame is never early, only late, so the least delayed of the last frames shows when ticks happen. The same
    /// rules as in all clients: docs/clients.md, "Interpolation and its clock". Allocates nothing.</remarks>
    public sealed class TickClock
    {
        private const int OffsetsMax = 64;

        /// <summary>After this number of late frames in a row, the room's ticks themselves have shifted, for example because a
        /// tick blocked.</summary>
        private const int LateFrames = 4;

        private readonly double tickRateHz;
        private readonly double delayTicks;
        private readonly double[] offsetsMs = new double[OffsetsMax];
        private int newest = -1;
        private int count;
        private uint lastTick;
        private double leastMs = double.PositiveInfinity;

        /// <param name="tickRateHz">The rate of the room, <see cref="Room.TickRateHz"/>.</param>
        /// <param name="delayTicks">The delay of rendering; two ticks hide one tick that is lost or late.</param>
        public TickClock(double tickRateHz, double delayTicks = 2)
        {
            this.tickRateHz = tickRateHz;
            this.delayTicks = delayTicks;
        }

        /// <summary>Records that the state of a tick arrived.</summary>
        public void Observe(uint tick, double nowMs)
        {
            if (tick < lastTick)
            {
                count = 0; // the room was restored, so its old ticks are meaningless
            }

            lastTick = tick;
            newest = (newest + 1) % OffsetsMax;
            offsetsMs[newest] = nowMs - tick * 1000.0 / tickRateHz;
            count = Math.Min(OffsetsMax, count + 1);
            leastMs = LeastOfLast(count);
            double leastOfLastMs = LeastOfLast(Math.Min(count, LateFrames));
            if (leastOfLastMs - leastMs > delayTicks * 500 / tickRateHz)
            {
                count = LateFrames;
                leastMs = leastOfLastMs;
            }
        }

        /// <summary>Returns the tick to render, with its fraction; minus infinity before the first frame.</summary>
        public double RenderTick(double nowMs)
        {
            return (nowMs - leastMs) * tickRateHz / 1000 - delayTicks;
        }

        private double LeastOfLast(int number)
        {
            double least = double.PositiveInfinity;
            for (int back = 0; back < number; back++)
            {
                least = Math.Min(least, offsetsMs[(newest - back + OffsetsMax) % OffsetsMax]);
            }

            return least;
        }
    }
}
