// The commands of the session machine: values that a shell carries out, in order. schemas/scenarios/README.md defines them.

using System;

namespace Tickwire
{
    public enum MachineCommandKind
    {
        /// <summary>Get the player's token, and answer with TokenReceived or TokenFailed. It replaces an earlier
        /// request.</summary>
        RequestToken,

        /// <summary>Open a WebSocket to `Text`, and answer with Connected, ConnectFailed or ConnectionLost.</summary>
        Connect,

        /// <summary>Send `Data` on the newest connection.</summary>
        Send,

        /// <summary>Close the newest connection with `Code`, for the reason `Text`. Later events of it must not be passed to
        /// the machine. 1000 ends the session; with any other code the shell need not wait, and may break the
        /// connection.</summary>
        Close,

        /// <summary>Call TimerFired at `AtMs`, on the machine's clock. It replaces the previous timer; infinity: no
        /// timer.</summary>
        SetTimer,

        /// <summary>The call `Call` has succeeded with `Value`: a JoinedMessage (join, match), a RoomListMessage (list of
        /// rooms), a ReplyMessage (command), or null.</summary>
        Resolve,

        /// <summary>The call `Call` has failed with the exception `Value`.</summary>
        Reject,

        /// <summary>Call the listeners of `Event` with `Value`.</summary>
        Emit,

        /// <summary>Save `Text`, from which Open resumes the session after a restart of the program.</summary>
        StoreSession,

        /// <summary>Delete the saved text.</summary>
        ClearSession,
    }

    /// <summary>The events of a client.</summary>
    public enum ClientEvent
    {
        /// <summary>The world advanced: a <see cref="StateApplied"/>.</summary>
        State,

        /// <summary>The room sent an event: an <see cref="EventMessage"/>.</summary>
        Event,

        /// <summary>The player joined a room: a <see cref="JoinedMessage"/>.</summary>
        Joined,

        /// <summary>The player is no longer in the room: the reason, a string.</summary>
        Left,

        /// <summary>Inputs are part of the world: an <see cref="InputAcknowledged"/>.</summary>
        Acknowledged,

        /// <summary>The status in the queue: a <see cref="MatchStatusMessage"/>.</summary>
        Match,

        /// <summary>The connection was lost, and the client reconnects: the reason, a string.</summary>
        Disconnected,

        /// <summary>The client reconnected: whether the session was resumed, a bool.</summary>
        Reconnected,

        /// <summary>A round trip was measured: a <see cref="PongReceived"/>.</summary>
        Pong,

        /// <summary>The server refused something: a <see cref="RefusedException"/>.</summary>
        Refused,

        /// <summary>The session has ended: a <see cref="DisconnectedException"/>.</summary>
        Closed,

        /// <summary>An exception that no call receives.</summary>
        Error,
    }

    /// <summary>One command. A struct, so that a state allocates nothing.</summary>
    public readonly struct MachineCommand
    {
        public readonly MachineCommandKind Kind;
        public readonly int Call;
        public readonly int Code;
        public readonly double AtMs;
        public readonly string Text;
        public readonly ClientEvent Event;
        public readonly object Value;
        public readonly ArraySegment<byte> Data;

        private MachineCommand(MachineCommandKind kind, int number, string text, object value)
        {
            Kind = kind;
            Call = kind == MachineCommandKind.Close ? 0 : number;
            Code = kind == MachineCommandKind.Close ? number : 0;
            AtMs = 0;
            Text = text;
            Event = default(ClientEvent);
            Value = value;
            Data = default(ArraySegment<byte>);
        }

        private MachineCommand(ArraySegment<byte> data)
            : this(MachineCommandKind.Send, 0, null, null)
        {
            Data = data;
        }

        private MachineCommand(double atMs)
            : this(MachineCommandKind.SetTimer, 0, null, null)
        {
            AtMs = atMs;
        }

        private MachineCommand(ClientEvent name, object value)
            : this(MachineCommandKind.Emit, 0, null, value)
        {
            Event = name;
        }

        internal static MachineCommand RequestToken()
        {
            return new MachineCommand(MachineCommandKind.RequestToken, 0, null, null);
        }

        internal static MachineCommand Connect(string url)
        {
            return new MachineCommand(MachineCommandKind.Connect, 0, url, null);
        }

        internal static MachineCommand Send(byte[] data)
        {
            return new MachineCommand(new ArraySegment<byte>(data));
        }

        internal static MachineCommand Send(ArraySegment<byte> data)
        {
            return new MachineCommand(data);
        }

        internal static MachineCommand Close(int code, string reason)
        {
            return new MachineCommand(MachineCommandKind.Close, code, reason, null);
        }

        internal static MachineCommand SetTimer(double atMs)
        {
            return new MachineCommand(atMs);
        }

        internal static MachineCommand Resolve(int call, object value)
        {
            return new MachineCommand(MachineCommandKind.Resolve, call, null, value);
        }

        internal static MachineCommand Reject(int call, Exception error)
        {
            return new MachineCommand(MachineCommandKind.Reject, call, null, error);
        }

        internal static MachineCommand Emit(ClientEvent name, object value)
        {
            return new MachineCommand(name, value);
        }

        internal static MachineCommand StoreSession(string text)
        {
            return new MachineCommand(MachineCommandKind.StoreSession, 0, text, null);
        }

        internal static MachineCommand ClearSession()
        {
            return new MachineCommand(MachineCommandKind.ClearSession, 0, null, null);
        }
    }
}
