// The calls of a session machine that wait for an outcome.

namespace Tickwire
{
    internal enum CallKind
    {
        Open,
        Join,
        Leave,
        Move,
        Match,
        ListRooms,
        Command,
        Authenticate,

        /// <summary>The machine itself renews the token of the session.</summary>
        Renewal,
    }

    /// <summary>The step of a call that joins a room.</summary>
    internal enum SeatStep
    {
        None,

        /// <summary>An earlier, abandoned Join has no answer yet.</summary>
        Abandoned,

        /// <summary>The client leaves its room, for that of a match.</summary>
        Leaving,

        /// <summary>The client connects to the shard of the room.</summary>
        Visiting,
        Requested,

        /// <summary>The shard cannot be reached; the Join is repeated after a pause.</summary>
        Pause,
    }

    internal sealed class PendingCall
    {
        /// <summary>How long a request waits for the server's answer, also across reconnects.</summary>
        public const double CallMsMax = 10000;

        /// <summary>How long a join is repeated while it is redirected to a shard that cannot be reached, and how long the
        /// client tries to reach a shard. A dead shard leaves the directory within some seconds.</summary>
        public const double JoinMsMax = 30000;

        /// <summary>How long the queue may take to decide between a cancellation and a match.</summary>
        public const double CancelMsMax = 5000;

        /// <summary>The time after which a new token is requested again, if there was none.</summary>
        public const double RenewalMs = 10000;

        /// <summary>The number of the call with which the machine itself follows a move to another room.</summary>
        public const int MoveNumber = 0;

        /// <summary>Identifies it in Resolve and Reject.</summary>
        public readonly int Number;
        public readonly CallKind Kind;

        /// <summary>The request that waits for an answer, if there is one; sent again after a reconnect.</summary>
        public Request Request;

        /// <summary>The Join that waits for the answer to an abandoned one.</summary>
        public byte[] Unsent;

        /// <summary>The first Join, which is repeated at the initial URL; null if it is to be joined with a ticket.</summary>
        public byte[] First;

        /// <summary>For the room's `on_join`.</summary>
        public object Options;
        public SeatStep Step;

        /// <summary>The Redirect that is being followed.</summary>
        public RedirectMessage Redirect;

        /// <summary>The number of Redirects in a row.</summary>
        public int Redirects;

        /// <summary>The pauses of a join that is repeated, and when it is no longer repeated.</summary>
        public Backoff Backoff;
        public double UntilMs;

        /// <summary>Of a match: it is over its time; a MatchCancel must be sent.</summary>
        public string Mode = "";
        public bool IsLate;
        public bool IsCancelled;

        /// <summary>Of a command.</summary>
        public ulong CommandId;
        public string Name = "";

        /// <summary>With which the session authenticates.</summary>
        public string Token = "";

        public PendingCall(int number, CallKind kind)
        {
            Number = number;
            Kind = kind;
        }
    }
}
