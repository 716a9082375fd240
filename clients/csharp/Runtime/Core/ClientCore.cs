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
    public sealed class ClientCore
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

        // -- from the server --------------------------------------------------------------------------------

        public Update Receive(byte[] data, double nowMs)
        {
            return Receive(data, 0, data.Length, nowMs);
        }

        /// <summary>Applies one message. Returns the update; null if the message contains nothing new, or if this build does
        /// not know its type.</summary>
        /// <param name="data">A buffer with a whole WebSocket message. The core does not keep it.</param>
        /// <param name="offset">The position of the message.</param>
        /// <param name="count">The size of the message.</param>
        /// <param name="nowMs">The clock that `Ping` uses.</param>
        /// <exception cref="MalformedMessageException">The bytes are not a message; close the connection.</exception>
        public Update Receive(byte[] data, int offset, int count, double nowMs)
        {
            ServerMessage message = decoder.Decode(data, offset, count, World != null ? World.Tick : 0, inputs.Seq);
            if (message is StateFrame)
            {
                return state.Receive((StateFrame)message);
            }

            if (message is InputAck)
            {
                return Acknowledge((InputAck)message);
            }

            if (message == null)
            {
                UnknownMessages++;
                return null;
            }

            return ReceiveRoom(message) ?? ReceiveOther(message, nowMs);
        }

        private Update Acknowledge(InputAck ack)
        {
            AcknowledgedSeq = ack.Seq;
            acknowledged.Tick = ack.Tick;
            acknowledged.Seq = ack.Seq;
            return acknowledged;
        }

        /// <summary>Handles the messages about the session and its room.</summary>
        private Update ReceiveRoom(ServerMessage message)
        {
            if (message is EventMessage)
            {
                return ReceiveEvent((EventMessage)message);
            }

            if (message is WelcomeMessage)
            {
                return ReceiveWelcome((WelcomeMessage)message);
            }

            if (message is JoinedMessage)
            {
                return Enter((JoinedMessage)message);
            }

            if (message is LeftMessage)
            {
                state.Leave();
                Rate = EveryTick();
                return new SeatLost { Reason = ((LeftMessage)message).Reason };
            }

            return null;
        }

        private Update ReceiveOther(ServerMessage message, double nowMs)
        {
            if (message is ReplyMessage)
            {
                var reply = (ReplyMessage)message;
                commands.Replied(reply, nowMs);
                return new ReplyReceived { Reply = reply, IsDecided = reply.IsDecided };
            }

            if (message is PongMessage)
            {
                return ReceivePong((PongMessage)message, nowMs);
            }

            if (message is RedirectMessage)
            {
                return ReceiveRedirect((RedirectMessage)message);
            }

            if (message is MatchStatusMessage)
            {
                var status = (MatchStatusMessage)message;
                QueueMeaning meaning = matchQueue.StatusReceived(status);
                return new QueueChanged
                {
                    Status = status, IsCurrent = meaning != QueueMeaning.None, IsEnd = meaning == QueueMeaning.End,
                };
            }

            if (message is ErrorMessage)
            {
                return ReceiveError((ErrorMessage)message);
            }

            if (message is RoomListMessage)
            {
                return new RoomsListed { Answer = (RoomListMessage)message };
            }

            if (message is RateMessage)
            {
                Rate = (RateMessage)message;
                return new RateChanged { Rate = Rate };
            }

            return message is GoodbyeMessage ? new Ended { Goodbye = (GoodbyeMessage)message } : null;
        }

        private Update ReceiveWelcome(WelcomeMessage welcome)
        {
            bool hasResumed = welcome.Generation > 1;
            string previousRoomId = RoomId;
            bool hasLostSession = hasSession && !hasResumed;
            if (!hasResumed)
            {
                DiscardSession();
            }

            hasSession = true;
            ResumeToken = welcome.ResumeToken;
            SessionId = welcome.SessionId;
            Generation = welcome.Generation;
            messageBytesMax = welcome.MessageBytesMax;
            commands.Welcomed(welcome);

            // A client that joins from a seat is refused, so that a seat in the same room does not come from its Join.
            bool isJoinInFlight = welcome.IsJoining || (welcome.RoomId != "" && welcome.RoomId != previousRoomId);
            if (!isJoinInFlight)
            {
                IsAbandoningJoin = false;
            }

            if (hasResumed)
            {
                Resume(welcome);
            }

            return new Welcomed
            {
                Welcome = welcome,
                HasResumed = hasResumed,
                LostRoomId = Joined == null ? previousRoomId : "",
                HasLostSession = hasLostSession,
                IsJoinInFlight = isJoinInFlight,
            };
        }

        private void Resume(WelcomeMessage welcome)
        {
            Rate = EveryTick();
            state.Resumed(welcome.RoomId);
            if (matchQueue.HasCancelled)
            {
                matchQueue.Resumed();
                Outgoing.Add(encoder.MatchCancel());
            }
        }

        /// <summary>Handles Joined.</summary>
        /// <exception cref="MalformedMessageException">The description is invalid.</exception>
        internal Update Enter(JoinedMessage joined)
        {
            bool isSameRoom = joined.RoomId == RoomId;
            if (IsAbandoningJoin && !isSameRoom)
            {
                IsAbandoningJoin = false;
                Outgoing.Add(encoder.Leave());
                return null;
            }

            Field[] fields = Field.FromDescriptions(joined.Description.Inputs);
            state.Enter(joined); // an invalid description raises an exception before anything has changed
            inputs.Enter(fields);
            return new SeatTaken { Joined = joined, IsSameRoom = isSameRoom };
        }

        private Update ReceiveEvent(EventMessage received)
        {
            if (received.Number <= LastEvent)
            {
                EventsRepeated++;
                return null;
            }

            uint missed = received.Number - LastEvent - 1;
            EventsMissed += (int)missed;
            LastEvent = received.Number;
            return new EventReceived { Event = received, Missed = missed };
        }

        private static Update ReceivePong(PongMessage pong, double nowMs)
        {
            // The server read its clock half a round trip ago, if both directions take equally long: RFC 5905, section 8.
            double rttMs = Math.Max(0, nowMs - pong.ClientTimeUs / 1000.0);
            return new PongReceived { RttMs = rttMs, ClockOffsetMs = pong.ServerTimeUs / 1000.0 + rttMs / 2 - nowMs };
        }

        private Update ReceiveRedirect(RedirectMessage redirect)
        {
            if (redirect.IsResume)
            {
                return new Redirected { Redirect = redirect };
            }

            QueueMeaning meaning = matchQueue.RedirectReceived();
            if (meaning != QueueMeaning.Absent)
            {
                return meaning == QueueMeaning.Progress ? new Redirected { Redirect = redirect, IsMatch = true } : null;
            }

            if (World != null)
            {
                return new Redirected { Redirect = redirect, IsMove = true }; // a Join from a seat is refused
            }

            IsAbandoningJoin = false;
            return new Redirected { Redirect = redirect };
        }

        private Update ReceiveError(ErrorMessage error)
        {
            if (error.Code == ErrorCode.Resync)
            {
                return new EventsLost { Error = error };
            }

            if (error.IsAnswerTo(RequestType.Join))
            {
                IsAbandoningJoin = false;
            }

            return new ErrorReceived { Error = error };
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
