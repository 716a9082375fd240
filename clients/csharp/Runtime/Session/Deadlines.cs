// The deadlines of a session machine, which share one timer.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The deadlines by key. Of two that are due at the same time, the one that was set first is first.</summary>
    internal sealed class Deadlines
    {
        /// <summary>The end of the pause before an attempt, or of a step of the attempt.</summary>
        public const int Attempt = -1;
        public const int Heartbeat = -2;

        /// <summary>A command is due.</summary>
        public const int Commands = -3;

        /// <summary>A new token is requested again, or the renewal of the token has no answer. Keys above 0 are the numbers of
        /// calls; 0 is a move to another room.</summary>
        public const int Renewal = -4;

        private readonly List<Deadline> deadlines = new List<Deadline>();

        private struct Deadline
        {
            public int Key;
            public double AtMs;
        }

        /// <summary>The earliest deadline; infinity without any.</summary>
        public double NextMs
        {
            get
            {
                int index = Earliest();
                return index < 0 ? double.PositiveInfinity : deadlines[index].AtMs;
            }
        }

        /// <summary>Sets or replaces a deadline.</summary>
        public void Set(int key, double atMs)
        {
            Cancel(key);
            deadlines.Add(new Deadline { Key = key, AtMs = atMs });
        }

        /// <summary>Removes a deadline. Idempotent.</summary>
        public void Cancel(int key)
        {
            for (int index = 0; index < deadlines.Count; index++)
            {
                if (deadlines[index].Key == key)
                {
                    deadlines.RemoveAt(index);
                    return;
                }
            }
        }

        public void Clear()
        {
            deadlines.Clear();
        }

        /// <summary>Removes the earliest deadline that is due. Returns false if none is due.</summary>
        public bool TryPopDue(double nowMs, out int key, out double dueMs)
        {
            key = 0;
            dueMs = 0;
            int index = Earliest();
            if (index < 0 || deadlines[index].AtMs > nowMs)
            {
                return false;
            }

            key = deadlines[index].Key;
            dueMs = deadlines[index].AtMs;
            deadlines.RemoveAt(index);
            return true;
        }

        private int Earliest()
        {
            int found = -1;
            for (int index = 0; index < deadlines.Count; index++)
            {
                if (found < 0 || deadlines[index].AtMs < deadlines[found].AtMs)
                {
                    found = index;
                }
            }

            return found;
        }
    }
}
