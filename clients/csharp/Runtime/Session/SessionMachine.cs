// The policy of a client: events go in with the time, commands come out in order.
//
//     shell --Open, Join, Connected, MessageReceived, TimerFired, ...--> SessionMachine
//     shell <--Connect, Send, SetTimer, Resolve, Emit, ...-------------- `Commands`
//
// A shell opens sockets, runs one timer and passes results to the game. It carries out the commands in order, after each call
// of a method. All clients have this machine, and agree on schemas/scenarios; the README there defines the events and commands.
// ConnectionMachine connects, SeatMachine joins rooms; here are the game's calls and the shell's events, and in
// SessionMachine.Updates.cs the messages, and in SessionMachine.Tokens.cs logins and renewals.
//
// States and acknowledgements are nearly all messages: the machine does nothing for them but Emit, and allocates nothing.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>One session over successive connections. Times are milliseconds of a monotonic clock.</summary>
    internal sealed partial class SessionMachine
    {
        private readonly Deadlines deadlines = new Deadlines();
        private readonly SeatMachine seats;
        private readonly List<PendingCall> calls = new List<PendingCall>(); // in the order of their numbers
        private readonly List<PendingCall> lists = new List<PendingCall>();
        private readonly List<byte[]> dueCommands = new List<byte[]>();
        private double timerMs = double.PositiveInfinity;
        private int lastCall;
        private PendingCall openCall;
        private PendingCall matchCall;
        private RedirectMessage move; // from the Redirect of a move until the room's Left
        private int seatedCall; // the call that got the newest seat
        private bool hasReportedLoss; // Disconnected was emitted, and Reconnected not yet
        private double nowMs; // the time of the current event

        /// <param name="options">The options.</param>
        /// <param name="random">Returns random numbers from 0 to 1.</param>
        public SessionMachine(MachineOptions options, Func<double> random)
        {
            Core = new ClientCore(random);
            Connection = new ConnectionMachine(options, Core, deadlines, Commands, random, this);
            seats = new SeatMachine(Core, Connection, deadlines, random, this);
        }

        /// <summary>The protocol.</summary>
        public ClientCore Core { get; }

        public ConnectionMachine Connection { get; }

        /// <summary>The commands to carry out. Call <see cref="UpdateTimer"/> before, and clear the list after that.</summary>
        public List<MachineCommand> Commands { get; } = new List<MachineCommand>();

        /// <summary>The connections that continued the session.</summary>
        public int Resumes { get; private set; }

        /// <summary>The sessions that the server did not keep.</summary>
        public int SessionsLost { get; private set; }

        /// <summary>Whether the session is open and connected.</summary>
        public bool IsConnected
        {
            get { return Connection.Phase == ConnectionPhase.Open; }
        }

        /// <summary>Adds SetTimer if the next deadline has changed.</summary>
        public void UpdateTimer()
        {
            double nextMs = deadlines.NextMs;
            if (nextMs != timerMs)
            {
                timerMs = nextMs;
                Commands.Add(MachineCommand.SetTimer(nextMs));
            }
        }

        // -- the game's calls -------------------------------------------------------------------------------

        /// <summary>Connects for the first time, or resumes the session of an earlier run of the program. Returns the number of
        /// the call, as the other methods here do.</summary>
        /// <param name="stored">The text of the last StoreSession; empty without one.</param>
        /// <param name="now">The clock.</param>
        public int Open(string stored, double now)
        {
            nowMs = now;
            openCall = NewCall(CallKind.Open);
            int number = openCall.Number;
            Connection.Open(stored, now);
            return number;
        }

        /// <summary>Joins a room, on whichever shard it is.</summary>
        public int Join(string roomType, JoinOptions options, double now)
        {
            nowMs = now;
            PendingCall call = NewCall(CallKind.Join);
            call.Options = options == null ? null : options.Options;
            if (TryEncode(call, () => call.First = Core.Join(roomType, options)))
            {
                seats.Add(call, now);
            }

            return call.Number;
        }

        /// <summary>Leaves the room.</summary>
        public int Leave(double now)
        {
            nowMs = now;
            PendingCall call = NewCall(CallKind.Leave);
            if (CheckOpen(call))
            {
                seats.Add(call, now);
            }

            return call.Number;
        }

        /// <summary>Waits in a queue until a match is found, and joins its room.</summary>
        public int Match(string mode, MatchOptions options, double timeoutMs, double now)
        {
            nowMs = now;
            PendingCall call = NewCall(CallKind.Match);
            if (matchCall != null)
            {
                Reject(call, new ClientException("another match is waiting: call CancelMatch first"));
                return call.Number;
            }

            call.Mode = mode;
            call.Options = options == null ? null : options.Options;
            if (TryEncode(call, () => call.Request = new Request(RequestType.MatchRequest, Core.MatchRequest(mode, options))))
            {
                matchCall = call;
                deadlines.Set(call.Number, now + timeoutMs);
                Send(call.Request.Data);
            }

            return call.Number;
        }

        /// <summary>Leaves the queue. A Match in progress fails, unless the match was final before.</summary>
        public void CancelMatch(double now)
        {
            nowMs = now;
            if (matchCall != null && matchCall.Request != null)
            {
                matchCall.IsCancelled = true;
            }

            Send(Core.MatchCancel());
        }

        /// <summary>Requests open rooms of a type. One request waits at a time: an Error does not say which one it
        /// answers.</summary>
        public int ListRooms(string roomType, IReadOnlyDictionary<string, string> labels, int limit, double now)
        {
            nowMs = now;
            PendingCall call = NewCall(CallKind.ListRooms);
            bool isEncoded = TryEncode(call, () =>
            {
                uint id;
                byte[] data = Core.ListRooms(roomType, labels, limit, out id);
                call.Request = new Request(RequestType.ListRooms, data, id);
            });
            if (isEncoded)
            {
                lists.Add(call);
                if (lists.Count == 1)
                {
                    Begin(call);
                }
            }

            return call.Number;
        }

        /// <summary>Runs a command in the room. It is sent again until it is answered, and runs at most once.</summary>
        public int Command(string name, object payload, double timeoutMs, double now)
        {
            nowMs = now;
            PendingCall call = NewCall(CallKind.Command);
            call.Name = name;
            if (Core.World == null)
            {
                Reject(call, new ClientException("the client is in no room: join first"));
            }
            else if (TryEncode(call, () => call.CommandId = Core.Command(name, payload)))
            {
                deadlines.Set(call.Number, now + timeoutMs);
                Connection.CommandAdded();
                SendCommands();
            }

            return call.Number;
        }

        /// <summary>Sends an input. Returns its sequence number; 0 if it was not sent because the client is not
        /// connected.</summary>
        /// <exception cref="ClientException">The client is in no room.</exception>
        /// <exception cref="DisconnectedException">The connection was closed for good.</exception>
        /// <exception cref="ArgumentException">The values are of another room, or one is not a finite number.</exception>
        public uint SendInput(InputValues values)
        {
            ArraySegment<byte> data;
            uint seq = EncodeInput(values, out data);
            if (seq != 0)
            {
                Commands.Add(MachineCommand.Send(data));
            }

            return seq;
        }

        /// <summary>Encodes an input, for a shell that sends it at once: the data are valid until the next input.</summary>
        public uint EncodeInput(InputValues values, out ArraySegment<byte> data)
        {
            CheckInput();
            data = IsConnected ? Core.Input(values) : default(ArraySegment<byte>);
            return IsConnected ? Core.InputSeq : 0;
        }

        /// <summary>Stops waiting for a call: a seat or a queue entry that it would get is released. Idempotent.</summary>
        public void Abandon(int number, double now)
        {
            nowMs = now;
            PendingCall call = FindCall(number);
            if (call != null)
            {
                End(call, true);
            }
            else if (number != 0 && number == seatedCall && Core.Joined != null) // resolved, and not received
            {
                Send(Core.Leave());
            }

            if (call != null && call.Kind == CallKind.Open)
            {
                Connection.Close(CloseCodes.Normal, "abandoned");
            }

            Flush();
        }

        /// <summary>Checks the path at once: the network changed, a timer was late, or the game is visible again.</summary>
        public void NetworkChanged(double now)
        {
            nowMs = now;
            Connection.NetworkChanged(now);
        }

        /// <summary>Breaks the connection, as a bad network does.</summary>
        public void Drop(double now)
        {
            nowMs = now;
            Connection.Drop("dropped", now);
        }

        /// <summary>Ends the session, its seat and its queue entry. Idempotent.</summary>
        public void Close(double now)
        {
            nowMs = now;
            if (Connection.Phase != ConnectionPhase.Closed)
            {
                Connection.Close(CloseCodes.Normal, "closed");
            }
        }

        // -- the shell's events -----------------------------------------------------------------------------

        /// <summary>Answers RequestToken.</summary>
        public void TokenReceived(string token, double now)
        {
            nowMs = now;
            if (IsConnected)
            {
                Renew(token);
            }
            else
            {
                Connection.TokenReceived(token, now);
            }
        }

        /// <summary>Answers RequestToken: the application's function failed.</summary>
        public void TokenFailed(string reason, double now)
        {
            nowMs = now;
            Connection.TokenFailed(reason, now);
        }

        /// <summary>Answers Connect: the WebSocket is open.</summary>
        public void Connected(double now)
        {
            nowMs = now;
            Connection.Connected(now);
        }

        /// <summary>Answers Connect: the WebSocket could not be opened.</summary>
        public void ConnectFailed(ConnectFailedException error, double now)
        {
            nowMs = now;
            Connection.ConnectFailed(error, now);
        }

        /// <summary>Reports the end of the newest connection, unless Close caused it.</summary>
        /// <param name="code">The close code; null without a close. A code that the WebSocket library sent itself counts as
        /// well.</param>
        /// <param name="reason">Why this side closed; empty if the server or the network did.</param>
        /// <param name="now">The clock.</param>
        public void ConnectionLost(int? code, string reason, double now)
        {
            nowMs = now;
            Connection.ConnectionLost(code, reason, now);
        }

        /// <summary>Reports that the time of the last SetTimer has come.</summary>
        public void TimerFired(double now)
        {
            timerMs = double.PositiveInfinity;
            RunDue(now);
        }

        /// <summary>Applies a message of the newest connection.</summary>
        public void MessageReceived(byte[] data, int offset, int count, double now)
        {
            if (Connection.Phase != ConnectionPhase.Hello && !IsConnected)
            {
                return;
            }

            Connection.Heartbeat.RecordReceived();
            Update update;
            try
            {
                update = Core.Receive(data, offset, count, now);
            }
            catch (MalformedMessageException error) // the server would send it again after a reconnect
            {
                string reason = "the server sent a message that cannot be decoded: " + error.Message;
                Connection.Close(CloseCodes.ProtocolError, reason);
                return;
            }

            UpdateReceived(update, now);
        }

        private void RunDue(double now)
        {
            nowMs = now;
            int key;
            double dueMs;
            while (deadlines.TryPopDue(now, out key, out dueMs))
            {
                switch (key)
                {
                    case Deadlines.Attempt:
                        Connection.AttemptDue(dueMs, now);
                        break;
                    case Deadlines.Heartbeat:
                        Connection.HeartbeatDue(dueMs, now);
                        break;
                    case Deadlines.Commands:
                        SendCommands();
                        break;
                    default:
                        CallDue(FindCall(key), key);
                        break;
                }
            }

            Flush();
        }

        private void CallDue(PendingCall call, int key)
        {
            if (call == null)
            {
                if (key == Deadlines.Renewal && IsConnected)
                {
                    RequestRenewal();
                }

                return;
            }

            if (seats.Active == call)
            {
                seats.DeadlineDue(call, nowMs);
            }
            else if (call.Kind == CallKind.Open)
            {
                Resolve(call, null);
            }
            else if (call.Kind == CallKind.Match && !call.IsLate)
            {
                call.IsLate = call.IsCancelled = true;
                deadlines.Set(call.Number, nowMs + PendingCall.CancelMsMax);
                Send(Core.MatchCancel());
            }
            else
            {
                Reject(call, new TimeoutException("no answer in time"));
            }
        }

        // -- parts ------------------------------------------------------------------------------------------

        private PendingCall NewCall(CallKind kind)
        {
            lastCall++;
            var call = new PendingCall(lastCall, kind);
            calls.Add(call);
            return call;
        }

        private PendingCall FindCall(int number)
        {
            foreach (PendingCall call in calls)
            {
                if (call.Number == number)
                {
                    return call;
                }
            }

            return null;
        }

        private bool CheckOpen(PendingCall call)
        {
            if (Connection.Phase == ConnectionPhase.Closed)
            {
                Reject(call, Connection.Disconnected());
                return false;
            }

            return true;
        }

        private void CheckInput()
        {
            if (Core.World == null)
            {
                throw new ClientException("the client is in no room: join first");
            }

            if (Connection.Phase == ConnectionPhase.Closed)
            {
                throw Connection.Disconnected();
            }
        }

        /// <summary>Encodes the message of a call. Rejects the call and returns false if it cannot be sent.</summary>
        private bool TryEncode(PendingCall call, Action encode)
        {
            if (!CheckOpen(call))
            {
                return false;
            }

            try
            {
                encode();
                return true;
            }
            catch (ClientException error)
            {
                Reject(call, error);
            }
            catch (ArgumentException error) // MessagePack cannot represent the options
            {
                Reject(call, error);
            }

            return false;
        }

        private void Begin(PendingCall call)
        {
            deadlines.Set(call.Number, nowMs + PendingCall.CallMsMax);
            Send(call.Request.Data);
        }

        /// <summary>Sends a message, if the session is open.</summary>
        public void Send(byte[] data)
        {
            if (IsConnected)
            {
                Commands.Add(MachineCommand.Send(data));
            }
        }

        /// <summary>Sends the core's own messages. Without a connection they wait for the next one.</summary>
        private void Flush()
        {
            if (Core.Outgoing.Count == 0 || !IsConnected)
            {
                return;
            }

            foreach (byte[] data in Core.Outgoing)
            {
                Commands.Add(MachineCommand.Send(data));
            }

            Core.Outgoing.Clear();
        }

        /// <summary>Sends the commands that are due, and sets the deadline of the next one.</summary>
        private void SendCommands()
        {
            if (!IsConnected)
            {
                return;
            }

            Core.CommandsDue(nowMs, dueCommands);
            foreach (byte[] data in dueCommands)
            {
                Commands.Add(MachineCommand.Send(data));
            }

            dueCommands.Clear();
            double nextMs = Core.NextCommandMs(nowMs);
            if (double.IsPositiveInfinity(nextMs))
            {
                deadlines.Cancel(Deadlines.Commands);
            }
            else
            {
                deadlines.Set(Deadlines.Commands, nextMs);
            }
        }

        private void Emit(ClientEvent name, object value)
        {
            Commands.Add(MachineCommand.Emit(name, value));
        }

        // -- the end of a call ------------------------------------------------------------------------------

        /// <summary>Ends a call with its result.</summary>
        public void Resolve(PendingCall call, object value)
        {
            if (call.Kind == CallKind.Join || call.Kind == CallKind.Match)
            {
                seatedCall = call.Number;
            }

            if (call.Kind != CallKind.Move && call.Kind != CallKind.Renewal)
            {
                Commands.Add(MachineCommand.Resolve(call.Number, value));
            }

            End(call, false);
        }

        /// <summary>Ends a call with an error. A move has no caller: its error is reported. A renewal is tried
        /// again.</summary>
        public void Reject(PendingCall call, Exception error)
        {
            if (call.Kind == CallKind.Move)
            {
                Emit(ClientEvent.Error, error);
            }
            else if (call.Kind != CallKind.Renewal)
            {
                Commands.Add(MachineCommand.Reject(call.Number, error));
            }

            End(call, !(error is NotMatchedException));
            if (call.Kind == CallKind.Renewal)
            {
                RenewalFailed(error as RefusedException);
            }
        }

        /// <summary>Removes a call, and begins the next of its kind.</summary>
        /// <param name="call">The call.</param>
        /// <param name="isFailure">Whether a match leaves the queue.</param>
        private void End(PendingCall call, bool isFailure)
        {
            calls.Remove(call);
            deadlines.Cancel(call.Number);
            if (call == openCall)
            {
                openCall = null;
            }

            if (call == matchCall)
            {
                matchCall = null;
                if (isFailure)
                {
                    Core.AbandonMatch();
                    Flush();
                }
            }

            if (call.Kind == CallKind.Command && call.CommandId != 0)
            {
                Core.AbandonCommand(call.CommandId);
                SendCommands();
            }

            bool wasFirst = lists.Count > 0 && lists[0] == call;
            lists.Remove(call);
            if (wasFirst && lists.Count > 0)
            {
                Begin(lists[0]);
            }

            RemoveAuthentication(call);

            seats.Remove(call, nowMs);
        }
    }
}
