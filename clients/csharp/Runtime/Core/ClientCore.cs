// The protocol of a client without I/O: turns received bytes into updates and a world, and requests into bytes.
//
// The caller passes each WebSocket message to `Receive`, and sends the bytes that the other methods return and those in
// `Outgoing`. After a frame that does not fit or a wrong checksum the core requests a keyframe, and repeats the request if none
// arrives. The core outlives connections: the next `Hello` asks for the same session; after a resume, commands without a reply
// are sent again. The caller passes clock readings. State frames, acknowledgements and inputs allocate nothing.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The client's side of a session.</summary>
    public sealed partial class ClientCore
    {
        public const ushort SchemaVersion = ClientEncoder.SchemaVersion;
        public const string Subprotocol = "tickwire.1";

        /// <summary>The size of the largest message of a server.</summary>
        public const int MessageBytesMax = 4 * 1024 * 1024;
        private readonly ClientEncoder encoder = new ClientEncoder();
        private readonly ServerDecoder decoder = new ServerDecoder();
        private readonly StateReceiver state;
        private readonly InputEncoder inputs;
        private readonly CommandWindow commands;
        private readonly MatchQueue matchQueue = new MatchQueue();
        private readonly InputAcknowledged acknowledged = new InputAcknowledged();
        private uint listId;
        private bool hasSession;
        private uint messageBytesMax; // of the server; 0 before Welcome

        public ClientCore()
            : this(() => 0.5)
        {
        }

        /// <param name="random">Returns random numbers from 0 to 1: spreads the pauses before a command is sent again.</param>
        public ClientCore(Func<double> random)
        {
            state = new StateReceiver(Outgoing, encoder);
            inputs = new InputEncoder(encoder);
            commands = new CommandWindow(random);
        }

        /// <summary>The mirrored state of the room; null outside of a room.</summary>
        public World World
        {
            get { return state.World; }
        }

        /// <summary>The room's Joined message; null outside of a room.</summary>
        public JoinedMessage Joined
        {
            get { return state.Joined; }
        }

        public string RoomId
        {
            get { return state.RoomId; }
        }

        /// <summary>Messages of the protocol itself. Send them after each `Receive` and `AbandonMatch`, and clear the list.</summary>
        public List<byte[]> Outgoing { get; } = new List<byte[]>();

        /// <summary>The sequence number of the newest input that is part of the world.</summary>
        public uint AcknowledgedSeq { get; private set; }

        /// <summary>The sequence number of the last input.</summary>
        public uint InputSeq
        {
            get { return inputs.Seq; }
        }

        /// <summary>Resumes this session; empty without a session, or if it cannot be resumed.</summary>
        public string ResumeToken { get; private set; } = "";

        public string SessionId { get; private set; } = "";

        /// <summary>The number of the last Hello.</summary>
        public uint Attempt { get; private set; }

        /// <summary>The id of the last command.</summary>
        public ulong CommandId { get; private set; }

        /// <summary>The number of the last event.</summary>
        public uint LastEvent { get; private set; }

        public uint Generation { get; private set; }

        /// <summary>The rate at which the server sends the state.</summary>
        public RateMessage Rate { get; private set; } = EveryTick();

        /// <summary>The keyframes that the core requested, over all sessions. Expected to stay 0.</summary>
        public int Resyncs
        {
            get { return state.Resyncs; }
        }

        /// <summary>The states with a wrong checksum, over all sessions. Expected to stay 0.</summary>
        public int Mismatches
        {
            get { return state.Mismatches; }
        }

        public int EventsMissed { get; private set; }

        public int EventsRepeated { get; private set; }

        public int UnknownMessages { get; private set; }

        // -- to the server ----------------------------------------------------------------------------------

        /// <summary>Encodes the first message on a connection. It asks to resume the previous session, if there was
        /// one.</summary>
        public byte[] Hello(string build, string token)
        {
            Outgoing.Clear();
            Attempt += 1;
            bool isResume = ResumeToken != "";
            return CheckSize("Hello", encoder.Hello(new HelloFields
            {
                Build = build,
                Token = token,
                ResumeToken = ResumeToken,
                LastTick = isResume ? state.BaselineTick : 0,
                LastEvent = isResume ? LastEvent : 0,
                RoomId = isResume ? RoomId : "",
                Attempt = Attempt,
            }));
        }

        /// <summary>Continues a session of an earlier process: the next `Hello` asks for it.</summary>
        /// <param name="resumeToken">The stored token.</param>
        /// <param name="lastEvent">The number of the last event that the app has processed.</param>
        /// <param name="attempt">At least the number of the last Hello.</param>
        /// <param name="commandId">At least the id of the last command.</param>
        public void Restore(string resumeToken, uint lastEvent, uint attempt, ulong commandId)
        {
            DiscardSession();
            ResumeToken = resumeToken;
            LastEvent = lastEvent;
            Attempt = attempt;
            CommandId = commandId;
            hasSession = true;
        }

        /// <summary>Discards the session: the next `Hello` asks for a new one.</summary>
        public void DiscardSession()
        {
            ResumeToken = "";
            hasSession = false;
            IsAbandoningJoin = false;
            commands.Clear();
            matchQueue.Reset();
            state.Leave();
            inputs.Reset();
            AcknowledgedSeq = 0;
            LastEvent = 0;
            Rate = EveryTick();
        }

        /// <exception cref="MessageTooLargeException">The server would not accept the message.</exception>
        public byte[] Join(string roomType, JoinOptions options)
        {
            return CheckSize("Join", encoder.Join(roomType, options ?? new JoinOptions()));
        }

        /// <exception cref="MessageTooLargeException">The server would not accept the message.</exception>
        public byte[] MatchRequest(string mode, MatchOptions options)
        {
            byte[] data = CheckSize("MatchRequest", encoder.MatchRequest(mode, options ?? new MatchOptions()));
            matchQueue.Request(mode);
            return data;
        }

        /// <summary>Encodes a request for open rooms.</summary>
        /// <param name="roomType">The type of the rooms.</param>
        /// <param name="labels">Only rooms with these labels; may be null.</param>
        /// <param name="limit">The most rooms to return; 0: 50.</param>
        /// <param name="id">The id that the answer repeats.</param>
        /// <exception cref="MessageTooLargeException">The server would not accept the message.</exception>
        public byte[] ListRooms(string roomType, IReadOnlyDictionary<string, string> labels, int limit, out uint id)
        {
            listId += 1;
            id = listId;
            return CheckSize("ListRooms", encoder.ListRooms(listId, roomType, labels, limit));
        }

        /// <summary>Encodes the request to authenticate the player of the running session.</summary>
        /// <param name="token">The player's token.</param>
        /// <exception cref="MessageTooLargeException">The server would not accept the message.</exception>
        public byte[] Authenticate(string token)
        {
            return CheckSize("Authenticate", encoder.Authenticate(token));
        }

        /// <summary>Encodes the request to leave the queue. The answer is CANCELLED, or FOUND if the match was already
        /// final.</summary>
        public byte[] MatchCancel()
        {
            return encoder.MatchCancel();
        }

        /// <summary>Leaves the queue without waiting for the answer. Does nothing if the wait is over.
        ///
        /// The MatchCancel is added to `Outgoing`, and is sent again after a resume until it is answered. Later messages about
        /// the abandoned queue entry are not reported as current.</summary>
        public void AbandonMatch()
        {
            if (matchQueue.Abandon())
            {
                Outgoing.Add(encoder.MatchCancel());
            }
        }

        /// <summary>Abandons a Join without an answer: if its seat arrives, the core leaves the room.</summary>
        public void AbandonJoin()
        {
            IsAbandoningJoin = true;
        }

        /// <summary>Whether an abandoned Join has no answer yet. The next Join must wait for it.</summary>
        public bool IsAbandoningJoin { get; private set; }

        public byte[] Leave()
        {
            return encoder.Leave();
        }

        /// <summary>Encodes the request to end the session, its seat and its queue entry.</summary>
        public byte[] EndSession()
        {
            return encoder.EndSession();
        }

        /// <summary>Creates the values of an input of this room, to be reused for all inputs until the next Joined.</summary>
        /// <exception cref="InvalidOperationException">The client is in no room.</exception>
        public InputValues CreateInput()
        {
            CheckRoom("an input");
            return inputs.CreateValues();
        }

        /// <summary>Encodes an input; `InputSeq` is its number. The bytes are valid until the next input.</summary>
        /// <exception cref="InvalidOperationException">The client is in no room.</exception>
        /// <exception cref="ArgumentException">The values are of another room, or one is not a finite number.</exception>
        public ArraySegment<byte> Input(InputValues values)
        {
            CheckRoom("an input");
            return inputs.Encode(World.Tick, values);
        }

        /// <summary>Adds a command for the room. `CommandsDue` returns it until it is answered. Returns its id.</summary>
        /// <param name="name">The name of the command.</param>
        /// <param name="payload">Its arguments: a map, or null.</param>
        /// <exception cref="MessageTooLargeException">The server would not accept the message.</exception>
        /// <exception cref="ClientException">Too many commands have no reply yet.</exception>
        public ulong Command(string name, object payload)
        {
            commands.CheckSpace();
            ulong id = CommandId + 1;
            byte[] data = CheckSize("Command", encoder.Command(id, name, MessagePack.Encode(payload)));
            commands.Add(id, data);
            CommandId = id;
            return id;
        }

        /// <summary>Appends the commands to send now on the session's connection: new ones, and those to be sent again.</summary>
        public void CommandsDue(double nowMs, List<byte[]> into)
        {
            commands.Due(nowMs, into);
        }

        /// <summary>Returns the time of the next due command, if no reply arrives before; infinity without commands.</summary>
        public double NextCommandMs(double nowMs)
        {
            return commands.NextDueMs(nowMs);
        }

        /// <summary>The number of commands without a reply.</summary>
        public int CommandsUnanswered
        {
            get { return commands.Count; }
        }

        /// <summary>Removes a command: it is not sent again. Idempotent.</summary>
        public void AbandonCommand(ulong id)
        {
            commands.Remove(id);
        }

        /// <summary>Encodes a Ping: the heartbeat, a clock reading that the server returns, and the number of the last event.
        ///
        /// Send the first Ping directly after Welcome, because it confirms the resume token.</summary>
        public byte[] Ping(double nowMs)
        {
            return encoder.Ping((ulong)Math.Round(nowMs * 1000), LastEvent, Generation);
        }

        private void CheckRoom(string what)
        {
            if (World == null)
            {
                throw new InvalidOperationException(what + " needs a room: join first");
            }
        }

        private byte[] CheckSize(string what, byte[] data)
        {
            if (messageBytesMax != 0 && data.Length > messageBytesMax)
            {
                throw new MessageTooLargeException("the " + what, data.Length, (int)messageBytesMax);
            }

            return data;
        }

        private static RateMessage EveryTick()
        {
            return new RateMessage { TicksPerUpdate = 1 };
        }
    }
}
