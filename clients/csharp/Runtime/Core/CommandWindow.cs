// The commands of a session that have no reply yet, and the times to send them. The caller passes the time.
//
//     waiting --sent--> in flight --Reply--> answered and removed
//        ^                 |
//        +--RATE_LIMITED, UNAVAILABLE, resume, no answer in time
//
// At most the ids from the oldest unanswered one on, IdsMax of them, are in flight. The server keeps the replies of the last 64
// ids and refuses older ids with COMMAND_TOO_OLD, so a client that is further ahead could not send a command again. Within the
// window the rate of messages and bytes stays below the session's limits in Welcome. Every id may be sent repeatedly.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    internal sealed class CommandWindow
    {
        private const ulong IdsMax = 16;
        private const int CommandsMax = 1024;

        /// <summary>A command without a reply on one connection is sent again after this time.</summary>
        private const double AnswerMsMax = 10000;

        /// <summary>The share of the session's rates for commands; inputs, pings and requests use the rest.</summary>
        private const double RateShare = 0.5;
        private readonly Func<double> random;
        private readonly List<Pending> commands = new List<Pending>(); // by id, ascending
        private readonly Budget messages = new Budget();
        private readonly Budget bytes = new Budget();

        public CommandWindow(Func<double> random)
        {
            this.random = random;
        }

        public int Count
        {
            get { return commands.Count; }
        }

        /// <exception cref="ClientException">Too many commands have no reply yet.</exception>
        public void CheckSpace()
        {
            if (commands.Count >= CommandsMax)
            {
                throw new ClientException(CommandsMax + " commands have no reply yet: wait for some before sending more");
            }
        }

        /// <summary>Adds a command.</summary>
        /// <param name="id">Greater than all ids that were added before.</param>
        /// <param name="data">The message.</param>
        public void Add(ulong id, byte[] data)
        {
            commands.Add(new Pending { Id = id, Data = data, Backoff = new Backoff(random) });
        }

        /// <summary>Removes a command that was answered or abandoned. Idempotent.</summary>
        public void Remove(ulong id)
        {
            int index = IndexOf(id);
            if (index >= 0)
            {
                commands.RemoveAt(index);
            }
        }

        /// <summary>Removes all commands, when the session ends and no reply can arrive.</summary>
        public void Clear()
        {
            commands.Clear();
        }

        /// <summary>Begins a connection: all commands are due on it, within the server's limits.</summary>
        public void Welcomed(WelcomeMessage welcome)
        {
            messages.Limit(welcome.MessagesPerSecondMax * RateShare);
            bytes.Limit(welcome.BytesPerSecondMax * RateShare);
            foreach (Pending command in commands)
            {
                command.DueMs = double.NegativeInfinity;
            }
        }

        /// <summary>Records a reply. If the outcome is open, the command is due again after a pause.</summary>
        public void Replied(ReplyMessage reply, double nowMs)
        {
            int index = IndexOf(reply.Id);
            if (index < 0)
            {
                return;
            }

            if (reply.IsDecided)
            {
                commands.RemoveAt(index);
            }
            else
            {
                commands[index].DueMs = nowMs + commands[index].Backoff.NextMs(reply.RetryAfterMs);
            }
        }

        /// <summary>Appends the messages to send now, in the order of their ids. They count as sent.</summary>
        public void Due(double nowMs, List<byte[]> into)
        {
            int end = WindowEnd();
            for (int index = 0; index < end; index++)
            {
                Pending command = commands[index];
                if (NextMs(command, nowMs) <= nowMs)
                {
                    into.Add(command.Data);
                    messages.Spend(1);
                    bytes.Spend(command.Data.Length);
                    command.DueMs = nowMs + AnswerMsMax;
                }
            }
        }

        /// <summary>Returns the time of the next due command, if no reply arrives before; infinity without commands.</summary>
        public double NextDueMs(double nowMs)
        {
            double next = double.PositiveInfinity;
            int end = WindowEnd();
            for (int index = 0; index < end; index++)
            {
                next = Math.Min(next, NextMs(commands[index], nowMs));
            }

            return next;
        }

        private int WindowEnd()
        {
            int end = 0;
            while (end < commands.Count && commands[end].Id < commands[0].Id + IdsMax)
            {
                end++;
            }

            return end;
        }

        private double NextMs(Pending command, double nowMs)
        {
            return Math.Max(command.DueMs, Math.Max(messages.AvailableMs(nowMs), bytes.AvailableMs(nowMs)));
        }

        private int IndexOf(ulong id)
        {
            for (int index = 0; index < commands.Count; index++)
            {
                if (commands[index].Id == id)
                {
                    return index;
                }
            }

            return -1;
        }

        private sealed class Pending
        {
            public ulong Id;
            public byte[] Data;
            public Backoff Backoff;
            public double DueMs = double.NegativeInfinity;
        }

        /// <summary>A token bucket of one second. A rate of 0 means no limit, and nothing is spent. One item may be larger than
        /// the bucket. It counts thousandths of tokens, so that whole milliseconds have whole results in every language.</summary>
        private sealed class Budget
        {
            private double rate;
            private double thousandths = double.PositiveInfinity;
            private double atMs;

            /// <summary>Sets the rate per second. Tokens that were spent before a resume stay spent.</summary>
            public void Limit(double perSecond)
            {
                rate = perSecond;
                if (rate > 0)
                {
                    thousandths = Math.Min(thousandths, perSecond * 1000);
                }
            }

            /// <summary>Returns the time from which tokens may be spent.</summary>
            public double AvailableMs(double nowMs)
            {
                if (rate > 0)
                {
                    thousandths = Math.Min(rate * 1000, thousandths + (nowMs - atMs) * rate);
                }

                atMs = nowMs;
                return rate <= 0 || thousandths >= 0 ? nowMs : nowMs + Math.Ceiling(-thousandths / rate);
            }

            public void Spend(double amount)
            {
                if (rate > 0)
                {
                    thousandths -= amount * 1000;
                }
            }
        }
    }
}
