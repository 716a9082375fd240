// The client's heartbeat: when to send a Ping, and when the connection counts as lost.
//
// The heartbeat counts Pings and measures no time. After a pause of the whole process (a suspended laptop, a debugger) only one
// interval counts as silent, and a Ping is sent before the connection can be lost.

using System;

namespace Tickwire
{
    /// <summary>Counts the Pings of one connection since the last received message.</summary>
    internal sealed class Heartbeat
    {
        private const double IntervalMsMax = 3000;

        /// <summary>Prevents a flood of Pings if the interval in Welcome is 0.</summary>
        private const double IntervalMsMin = 100;

        /// <summary>After two Pings without any message, the connection ends instead of a third Ping: with an interval of 3 s,
        /// 6 to 9 s after the path died. A network that stalls for 5 s does not count as dead.</summary>
        private const int UnansweredMax = 2;

        private int unanswered;

        /// <summary>Returns the time between two Pings: the server's interval, within the limits above.</summary>
        public static double PingIntervalMs(uint heartbeatIntervalMs)
        {
            return Math.Min(Math.Max(heartbeatIntervalMs, IntervalMsMin), IntervalMsMax);
        }

        /// <summary>Records a new connection.</summary>
        public void Reset()
        {
            unanswered = 0;
        }

        /// <summary>Records that a message was received. Every message counts, not only a Pong.</summary>
        public void RecordReceived()
        {
            unanswered = 0;
        }

        /// <summary>Records that a Ping is sent; call it once every interval. Returns false if the previous Pings were not
        /// answered: the connection is lost, and the Ping must not be sent.</summary>
        public bool RecordPing()
        {
            if (unanswered >= UnansweredMax)
            {
                return false;
            }

            unanswered++;
            return true;
        }

        /// <summary>Records a Ping that is sent because the path may be dead: one more silent interval ends the
        /// connection.</summary>
        public void RecordProbe()
        {
            unanswered = UnansweredMax;
        }
    }
}
