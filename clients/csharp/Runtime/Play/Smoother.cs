// Hides the corrections of a prediction: each one becomes an offset that decays, so that the drawn entity does not jump.
//
// The decay is exponential in time, not in frames: it looks the same on every display.

using System;

namespace Tickwire
{
    internal sealed class Smoother<TState>
        where TState : struct
    {
        private readonly StateFields<TState> fields;
        private readonly double halfLifeMs;
        private readonly double snapDistance;
        private readonly double tickMs;
        private double[] offset = new double[0];
        private double[] previous = new double[0];
        private double offsetMs;
        private bool hasPrevious;
        private double steppedMs;

        public Smoother(PredictionOptions<TState> options)
        {
            fields = options.Fields;
            halfLifeMs = options.HalfLifeMs;
            snapDistance = options.SnapDistance;
            tickMs = options.TickMs;
            offset = new double[fields.Count];
            previous = new double[fields.Count];
        }

        /// <summary>Records a step of the prediction from this state.</summary>
        public void Stepped(in TState from, double nowMs)
        {
            for (int index = 0; index < previous.Length; index++)
            {
                previous[index] = fields.Get(index, from);
            }

            hasPrevious = true;
            steppedMs = nowMs;
        }

        /// <summary>Records that the server has corrected the prediction.</summary>
        public void Corrected(in TState before, in TState after, double nowMs)
        {
            Decay(nowMs);
            double squares = 0;
            for (int index = 0; index < offset.Length; index++)
            {
                double error = fields.Difference(index, fields.Get(index, before), fields.Get(index, after));
                offset[index] = fields.Difference(index, offset[index] + error, 0);
                previous[index] -= error;
                squares += fields.IsAngle(index) ? 0 : offset[index] * offset[index];
            }

            if (Math.Sqrt(squares) > snapDistance || halfLifeMs <= 0)
            {
                Array.Clear(offset, 0, offset.Length);
            }
        }

        /// <summary>Returns a state with the offset, between the last two steps if these have a duration.</summary>
        public TState Sample(TState state, double nowMs)
        {
            Decay(nowMs);
            double left = 0;
            if (hasPrevious && tickMs > 0)
            {
                left = Math.Min(1, Math.Max(0, 1 - (nowMs - steppedMs) / tickMs));
            }

            for (int index = 0; index < offset.Length; index++)
            {
                double value = fields.Get(index, state);
                double back = left > 0 ? left * fields.Difference(index, previous[index], value) : 0;
                fields.Set(index, ref state, value + back + offset[index]);
            }

            return state;
        }

        public void Reset()
        {
            Array.Clear(offset, 0, offset.Length);
            hasPrevious = false;
        }

        private void Decay(double nowMs)
        {
            double passedMs = Math.Max(0, nowMs - offsetMs);
            double share = halfLifeMs > 0 ? Math.Pow(0.5, passedMs / halfLifeMs) : 0;
            for (int index = 0; index < offset.Length; index++)
            {
                offset[index] *= share;
            }

            offsetMs = Math.Max(offsetMs, nowMs);
        }
    }
}
