// The updates that the core returns for received messages. Names are in the past tense.

using System.Collections.Generic;

namespace Tickwire
{
    public enum UpdateKind
    {
        StateApplied,
        InputAcknowledged,
        Welcomed,
        SeatTaken,
        SeatLost,
        EventReceived,
        ReplyReceived,
        PongReceived,
        QueueChanged,
        Redirected,
        EventsLost,
        RateChanged,
        ErrorReceived,
        RoomsListed,
        SessionAuthenticated,
        TokenRequested,
        Ended,
    }

    public abstract class Update
    {
        private protected Update(UpdateKind kind)
        {
            Kind = kind;
        }

        public UpdateKind Kind { get; }
    }

    /// <summary>The world advanced to `Tick`. The core reuses one object: it is valid until the next message.</summary>
    public sealed class StateApplied : Update
    {
        internal readonly List<int> NamedChannels = new List<int>();

        internal StateApplied()
            : base(UpdateKind.StateApplied)
        {
        }

        public uint Tick { get; internal set; }

        /// <summary>The channels that the frame names.</summary>
        public IReadOnlyList<int> Channels
        {
            get { return NamedChannels; }
        }

        public bool IsKeyframe { get; internal set; }

        /// <summary>False if a checksum differed.</summary>
        public bool HasAgreed { get; internal set; }
    }

    /// <summary>The inputs up to `Seq` are part of the state of `Tick`. The core reuses one object: it is valid until
    /// the next message.</summary>
    public sealed class InputAcknowledged : Update
    {
        internal InputAcknowledged()
            : base(UpdateKind.InputAcknowledged)
        {
        }

        public uint Tick { get; internal set; }

        public uint Seq { get; internal set; }
    }

    /// <summary>The session is open.</summary>
    public sealed class Welcomed : Update
    {
        internal Welcomed()
            : base(UpdateKind.Welcomed)
        {
        }

        public WelcomeMessage Welcome { get; internal set; }

        public bool HasResumed { get; internal set; }

        /// <summary>The room in which the client was before and is not now; empty: none.</summary>
        public string LostRoomId { get; internal set; }

        /// <summary>Whether the server did not keep the previous session.</summary>
        public bool HasLostSession { get; internal set; }

        /// <summary>Whether the answer to an earlier Join follows.</summary>
        public bool IsJoinInFlight { get; internal set; }
    }

    /// <summary>The player joined a room; its state follows.</summary>
    public sealed class SeatTaken : Update
    {
        internal SeatTaken()
            : base(UpdateKind.SeatTaken)
        {
        }

        public JoinedMessage Joined { get; internal set; }

        /// <summary>Whether the client was in this room before: the room moved, and this does not answer a Join.</summary>
        public bool IsSameRoom { get; internal set; }
    }

    /// <summary>The player left the room, or the room closed.</summary>
    public sealed class SeatLost : Update
    {
        internal SeatLost()
            : base(UpdateKind.SeatLost)
        {
        }

        public string Reason { get; internal set; }
    }

    /// <summary>The room sent an event; `Missed` is the number of lost events before it.</summary>
    public sealed class EventReceived : Update
    {
        internal EventReceived()
            : base(UpdateKind.EventReceived)
        {
        }

        public EventMessage Event { get; internal set; }

        public uint Missed { get; internal set; }
    }

    /// <summary>A command was answered. If the reply is not decided, the command is sent again.</summary>
    public sealed class ReplyReceived : Update
    {
        internal ReplyReceived()
            : base(UpdateKind.ReplyReceived)
        {
        }

        public ReplyMessage Reply { get; internal set; }

        public bool IsDecided { get; internal set; }
    }

    /// <summary>A round trip was measured.</summary>
    public sealed class PongReceived : Update
    {
        internal PongReceived()
            : base(UpdateKind.PongReceived)
        {
        }

        public double RttMs { get; internal set; }

        /// <summary>The server's clock minus the client's clock.</summary>
        public double ClockOffsetMs { get; internal set; }
    }

    /// <summary>The player's status in the queue changed; after FOUND a Redirect follows.</summary>
    public sealed class QueueChanged : Update
    {
        internal QueueChanged()
            : base(UpdateKind.QueueChanged)
        {
        }

        public MatchStatusMessage Status { get; internal set; }

        /// <summary>Whether it is about the current queue entry, and not an abandoned one.</summary>
        public bool IsCurrent { get; internal set; }

        /// <summary>Whether the wait ended without a match.</summary>
        public bool IsEnd { get; internal set; }
    }

    /// <summary>The room is on another shard.</summary>
    public sealed class Redirected : Update
    {
        internal Redirected()
            : base(UpdateKind.Redirected)
        {
        }

        public RedirectMessage Redirect { get; internal set; }

        /// <summary>Whether it leads to a found match, and does not answer a Join.</summary>
        public bool IsMatch { get; internal set; }

        /// <summary>Whether the room moves the player to another room: SeatLost follows.</summary>
        public bool IsMove { get; internal set; }
    }

    /// <summary>The server did not keep all events while the client was disconnected.</summary>
    public sealed class EventsLost : Update
    {
        internal EventsLost()
            : base(UpdateKind.EventsLost)
        {
        }

        public ErrorMessage Error { get; internal set; }
    }

    /// <summary>The server changed its send rate.</summary>
    public sealed class RateChanged : Update
    {
        internal RateChanged()
            : base(UpdateKind.RateChanged)
        {
        }

        public RateMessage Rate { get; internal set; }
    }

    /// <summary>The server sent an Error. The connection may stay open.</summary>
    public sealed class ErrorReceived : Update
    {
        internal ErrorReceived()
            : base(UpdateKind.ErrorReceived)
        {
        }

        public ErrorMessage Error { get; internal set; }
    }

    /// <summary>The server answered a request for open rooms.</summary>
    public sealed class RoomsListed : Update
    {
        internal RoomsListed()
            : base(UpdateKind.RoomsListed)
        {
        }

        public RoomListMessage Answer { get; internal set; }
    }

    /// <summary>The server answered Authenticate: the session is the player's.</summary>
    public sealed class SessionAuthenticated : Update
    {
        internal SessionAuthenticated()
            : base(UpdateKind.SessionAuthenticated)
        {
        }

        public AuthenticatedMessage Answer { get; internal set; }
    }

    /// <summary>The server requests a new token, because the session's token expires soon.</summary>
    public sealed class TokenRequested : Update
    {
        internal TokenRequested()
            : base(UpdateKind.TokenRequested)
        {
        }

        public uint ExpiresInMs { get; internal set; }
    }

    /// <summary>The server sent Goodbye, and closes the connection.</summary>
    public sealed class Ended : Update
    {
        internal Ended()
            : base(UpdateKind.Ended)
        {
        }

        public GoodbyeMessage Goodbye { get; internal set; }
    }
}
