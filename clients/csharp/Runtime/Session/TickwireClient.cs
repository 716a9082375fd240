// The client of one session: a shell around the session machine. Requests are tasks, and messages of the server are events, in
// the order of arrival.
//
// `Poll` carries out everything: it passes the events of the transport and the timer to the machine, and the machine's commands
// to the transport and the game. It runs on Unity's main thread, on a thread of the client, or where the app calls it; a lock
// keeps it and the app's calls apart. TickwireClient.Events.cs has the events.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;

namespace Tickwire
{
    public sealed partial class TickwireClient : IDisposable
    {
        /// <summary>How long a match is waited for, unless the caller chooses another time.</summary>
        public static readonly TimeSpan MatchTime = TimeSpan.FromMinutes(5);

        /// <summary>How long a command may wait for its reply, unless the caller chooses another time.</summary>
        public static readonly TimeSpan CommandTime = TimeSpan.FromSeconds(10);
        private const string ReportCommand = "tickwire.report"; // every shard answers it itself, in any room
        private const int GoingAway = 1001;

        /// <summary>Longer than a transport waits for the server's close: a program must not end while it disposes of its
        /// socket, because mono may abort then.</summary>
        private const int CloseMsMax = 3000;

        /// <summary>A WebSocket's close has room for 123 bytes. A longer reason is an error in .NET and in browsers.</summary>
        private const int ReasonCharactersMax = 40;
        private readonly object gate = new object();
        private readonly ClientOptions options;
        private readonly SessionMachine machine;
        private readonly Random random = new Random();
        private readonly Queue<LinkEvent> queue = new Queue<LinkEvent>();
        private readonly BufferPool buffers = new BufferPool();
        private readonly Dictionary<int, TaskCompletionSource<object>> calls =
            new Dictionary<int, TaskCompletionSource<object>>();
        private TransportLink link;
        private object tokenRequest;
        private double timerMs = double.PositiveInfinity;
        private bool isRunning;
        private bool isDisposed;

        private TickwireClient(string url, ClientOptions options)
        {
            this.options = options;
            CreateListeners();
            var machineOptions = new MachineOptions
            {
                Url = url,
                Build = options.Build,
                ReconnectMs = options.Reconnect.TotalMilliseconds,
                HasStorage = options.SessionStorage != null,
            };
            machine = new SessionMachine(machineOptions, random.NextDouble);
        }

        /// <summary>Opens a session, or continues the one of the last run of the program, if there is a storage.</summary>
        /// <exception cref="DisconnectedException">The connection could not be opened.</exception>
        /// <exception cref="RefusedException">The server refused the session.</exception>
        public static async Task<TickwireClient> ConnectAsync(string url, ClientOptions options = null)
        {
            TickwireClient client = Create(url, options);
            await client.OpenAsync();
            return client;
        }

        /// <summary>Creates a client that is not connected: add listeners and call <see cref="OpenAsync"/>.</summary>
        public static TickwireClient Create(string url, ClientOptions options = null)
        {
            return new TickwireClient(url, options ?? new ClientOptions());
        }

        /// <summary>A monotonic clock, milliseconds.</summary>
        public static double NowMs
        {
            get { return Stopwatch.GetTimestamp() * 1000.0 / Stopwatch.Frequency; }
        }

        /// <summary>Connects for the first time. Call it once.</summary>
        /// <exception cref="DisconnectedException">The connection could not be opened.</exception>
        /// <exception cref="RefusedException">The server refused the session.</exception>
        public Task OpenAsync()
        {
            string stored = LoadSession();
            Task opened = CallAsync(now => machine.Open(stored, now), CancellationToken.None);
            if (!options.IsPolled)
            {
                StartPump();
            }

            return opened;
        }

        // -- state ------------------------------------------------------------------------------------------

        /// <summary>Protects the client against its own thread: hold it to read the world outside of an event, if neither Unity
        /// nor the app polls.</summary>
        public object SyncRoot
        {
            get { return gate; }
        }

        public ClientCore Core
        {
            get { return machine.Core; }
        }

        public ConnectionState State
        {
            get { return machine.Connection.State; }
        }

        /// <summary>The mirrored state of the room.</summary>
        /// <exception cref="ClientException">The client is in no room.</exception>
        public World World
        {
            get { return Core.World ?? throw new ClientException("the client is in no room"); }
        }

        /// <summary>The room that the client is in; null without one.</summary>
        public Room Room { get; private set; }

        /// <summary>The address of the newest connection.</summary>
        public string Url
        {
            get { return machine.Connection.Url; }
        }

        /// <summary>The last measured round trip; NaN before the first one.</summary>
        public double RttMs { get; private set; } = double.NaN;

        /// <summary>The server's clock (UTC) minus <see cref="NowMs"/>.</summary>
        public double ClockOffsetMs { get; private set; } = double.NaN;

        /// <summary>The connections that continued the session.</summary>
        public int Resumes
        {
            get { return machine.Resumes; }
        }

        /// <summary>The sessions that the server did not keep.</summary>
        public int SessionsLost
        {
            get { return machine.SessionsLost; }
        }

        // -- requests of the player -------------------------------------------------------------------------

        /// <summary>Joins a room, on whichever shard it is.</summary>
        /// <exception cref="RefusedException">The server refused the join; `Code` has the reason.</exception>
        /// <exception cref="DisconnectedException">The connection is closed for good.</exception>
        /// <exception cref="MessageTooLargeException">The options are too large.</exception>
        /// <exception cref="TimeoutException">No answer arrived in time.</exception>
        public async Task<Room> JoinAsync(
            string roomType, JoinOptions join = null, CancellationToken cancellation = default(CancellationToken))
        {
            return (Room)await CallAsync(now => machine.Join(roomType, join, now), cancellation);
        }

        /// <summary>Leaves the room.</summary>
        public Task LeaveAsync()
        {
            return CallAsync(now => machine.Leave(now), CancellationToken.None);
        }

        /// <summary>Waits in a queue until a match is found, and joins its room. Every failure also leaves the queue.</summary>
        /// <remarks>A match that was final before the cancellation or the timeout is joined, because the other players wait for
        /// it.</remarks>
        /// <exception cref="NotMatchedException">The player left the queue without a match.</exception>
        /// <exception cref="RefusedException">The server refused the request.</exception>
        /// <exception cref="TimeoutException">No match was found in time.</exception>
        public async Task<Room> MatchAsync(
            string mode,
            MatchOptions match = null,
            TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            double timeoutMs = (timeout ?? MatchTime).TotalMilliseconds;
            return (Room)await CallAsync(now => machine.Match(mode, match, timeoutMs, now), cancellation);
        }

        /// <summary>Leaves the queue. `MatchAsync` fails, unless the match was already final.</summary>
        public void CancelMatch()
        {
            lock (gate)
            {
                machine.CancelMatch(NowMs);
                Run();
            }
        }

        /// <summary>Logs in during the session, or renews its token, without a new connection. Returns the player's id.</summary>
        /// <remarks>A guest's session becomes that of the token's player, who keeps its seat. The room knows the player by the
        /// guest's id until the next join. The token is used for later connections, too, until `TokenProvider` returns another one
        /// than before. If there is a `TokenProvider`, the client renews the token itself: the server requests it some time before
        /// the token expires.</remarks>
        /// <param name="token">The player's token.</param>
        /// <param name="cancellation">Stops waiting; the session may have the player of the token.</param>
        /// <exception cref="RefusedException">The token is invalid or another player's, the player is banned, or the server is
        /// older. The session continues.</exception>
        /// <exception cref="TimeoutException">No answer arrived in time.</exception>
        public async Task<string> AuthenticateAsync(
            string token, CancellationToken cancellation = default(CancellationToken))
        {
            object answer = await CallAsync(now => machine.Authenticate(token, now), cancellation);
            return ((AuthenticatedMessage)answer).PlayerId;
        }

        /// <summary>Returns rooms of a type that any player may join now, the fullest first. Join one with its
        /// `RoomId`.</summary>
        /// <param name="roomType">The type of the rooms.</param>
        /// <param name="labels">Only rooms with these labels; null: all.</param>
        /// <param name="limit">The most rooms to return, 1 to 100.</param>
        public async Task<IReadOnlyList<OpenRoom>> ListRoomsAsync(
            string roomType, IReadOnlyDictionary<string, string> labels = null, int limit = 50)
        {
            object answer = await CallAsync(now => machine.ListRooms(roomType, labels, limit, now), CancellationToken.None);
            return ((RoomListMessage)answer).Rooms;
        }

        /// <summary>Runs a command in the room and returns its decoded result. The command runs at most once, also across
        /// reconnects.</summary>
        /// <param name="name">The name of the command.</param>
        /// <param name="payload">Its arguments: a map, or null. Another value is the first argument.</param>
        /// <param name="timeout">How long to wait for the reply.</param>
        /// <param name="cancellation">Stops waiting; the command may have been run.</param>
        /// <exception cref="CommandFailedException">The room rejected the command.</exception>
        /// <exception cref="SessionLostException">Whether the command ran is unknown.</exception>
        /// <exception cref="TimeoutException">No reply arrived in time.</exception>
        public async Task<object> CommandAsync(
            string name,
            object payload = null,
            TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            double timeoutMs = (timeout ?? CommandTime).TotalMilliseconds;
            object encoded = WireValues.FromObject(payload);
            object reply = await CallAsync(now => machine.Command(name, encoded, timeoutMs, now), cancellation);
            return MessagePack.Decode(((ReplyMessage)reply).Payload);
        }

        /// <summary>Sends an input of the room: see <see cref="Room.CreateInput"/>.</summary>
        /// <returns>Its sequence number; 0 if it was not sent because the client is not connected.</returns>
        /// <exception cref="ClientException">The client is in no room.</exception>
        public uint SendInput(InputValues values)
        {
            lock (gate)
            {
                if (isDisposed)
                {
                    return 0;
                }

                ArraySegment<byte> data;
                uint seq = machine.EncodeInput(values, out data);
                if (seq != 0)
                {
                    link.Transport.Send(data);
                }

                return seq;
            }
        }

        /// <summary>Reports what is wrong in the match: the shard logs it and stores the last seconds of the room.</summary>
        /// <param name="reason">The player's words, 1 to 500 characters.</param>
        /// <exception cref="CommandFailedException">The player has reported less than a minute ago.</exception>
        public async Task<Report> ReportAsync(string reason)
        {
            object reply = await CommandAsync(ReportCommand, new Dictionary<string, object> { { "reason", reason } });
            Dictionary<string, object> fields = WireValues.ToFields(reply);
            return new Report(
                WireValues.Field(fields, "report_id", value => WireValues.ToText(value)),
                WireValues.Field(fields, "is_recorded", value => WireValues.ToBoolean(value)));
        }

        /// <summary>Checks the path at once, or reconnects at once: the network has changed, or the app is visible
        /// again.</summary>
        public void NetworkChanged()
        {
            lock (gate)
            {
                machine.NetworkChanged(NowMs);
                Run();
            }
        }

        /// <summary>Drops the connection, as a bad network does; the session is then resumed. For demonstrations and
        /// tests.</summary>
        public void Drop()
        {
            lock (gate)
            {
                machine.Drop(NowMs);
                Run();
            }
        }

        /// <summary>Ends the session, and frees the seat and the queue entry. Idempotent.</summary>
        public void Close()
        {
            lock (gate)
            {
                machine.Close(NowMs);
                Run();
            }
        }

        /// <summary>Ends the session, and completes when the server has closed the connection, or after 2 to 3 s. Await it
        /// before the program ends: the server does not receive messages of a process that is gone.</summary>
        public Task CloseAsync()
        {
            lock (gate)
            {
                TransportLink closed = link;
                Close();
                // A browser ends the connection after the program's last call, and its page has no threads for a delay.
                bool isOver = closed == null || closed.Transport is IPolledTransport;
                return isOver ? Task.CompletedTask : Task.WhenAny(closed.Ended, Task.Delay(CloseMsMax));
            }
        }

        /// <summary>Closes the connection without ending the session, as when the program ends: a stored session can be resumed.
        /// Calls that wait fail. Idempotent.</summary>
        public void Dispose()
        {
            lock (gate)
            {
                if (isDisposed)
                {
                    return;
                }

                isDisposed = true;
                StopPump();
                CloseLink(GoingAway, "disposed");
                foreach (TaskCompletionSource<object> call in calls.Values)
                {
                    call.TrySetException(new DisconnectedException("the client was disposed"));
                }

                calls.Clear();
            }
        }

        // -- the loop ---------------------------------------------------------------------------------------

        /// <summary>Carries out what has happened since the last call, and raises the events. Call it once a frame if
        /// <see cref="ClientOptions.IsPolled"/> is set.</summary>
        public void Poll()
        {
            lock (gate)
            {
                var polled = link == null ? null : link.Transport as IPolledTransport;
                if (polled != null)
                {
                    polled.Poll();
                }

                while (queue.Count > 0 && !isDisposed)
                {
                    Handle(queue.Dequeue());
                    Run();
                }

                double now = NowMs;
                if (timerMs <= now && !isDisposed)
                {
                    timerMs = double.PositiveInfinity;
                    machine.TimerFired(now);
                    Run();
                }
            }
        }

        internal void Enqueue(in LinkEvent happened)
        {
            lock (gate)
            {
                queue.Enqueue(happened);
                Monitor.PulseAll(gate);
            }
        }

        private void Handle(in LinkEvent happened)
        {
            double now = NowMs;
            bool isCurrent = ReferenceEquals(happened.Source, link) || ReferenceEquals(happened.Source, tokenRequest);
            if (isCurrent)
            {
                switch (happened.Kind)
                {
                    case LinkEventKind.Opened:
                        machine.Connected(now);
                        break;
                    case LinkEventKind.Received:
                        machine.MessageReceived(happened.Buffer, 0, happened.Count, now);
                        break;
                    case LinkEventKind.Failed:
                        link = null;
                        machine.ConnectFailed(new ConnectFailedException(happened.Text, happened.RetryAfterMs), now);
                        break;
                    case LinkEventKind.Closed:
                        link = null;
                        machine.ConnectionLost(happened.Code, happened.Text, now);
                        break;
                    case LinkEventKind.TokenReceived:
                        machine.TokenReceived(happened.Text, now);
                        break;
                    case LinkEventKind.TokenFailed:
                        machine.TokenFailed(happened.Text, now);
                        break;
                }
            }

            if (happened.Buffer != null)
            {
                buffers.Return(happened.Buffer);
            }
        }

        /// <summary>Carries out the machine's commands. A listener may call the client: the new commands follow.</summary>
        private void Run()
        {
            if (isRunning)
            {
                return;
            }

            isRunning = true;
            List<MachineCommand> commands = machine.Commands;
            int at = 0;
            try
            {
                do
                {
                    while (at < commands.Count)
                    {
                        Execute(commands[at++]);
                    }

                    machine.UpdateTimer();
                }
                while (at < commands.Count);
            }
            finally
            {
                commands.RemoveRange(0, at);
                isRunning = false;
            }
        }

        private void Execute(in MachineCommand command)
        {
            switch (command.Kind)
            {
                case MachineCommandKind.RequestToken:
                    RequestToken();
                    break;
                case MachineCommandKind.Connect:
                    OpenLink(command.Text);
                    break;
                case MachineCommandKind.Send:
                    if (link != null)
                    {
                        link.Transport.Send(command.Data);
                    }

                    break;
                case MachineCommandKind.Close:
                    CloseLink(command.Code, command.Text);
                    break;
                case MachineCommandKind.SetTimer:
                    timerMs = command.AtMs;
                    Monitor.PulseAll(gate);
                    break;
                case MachineCommandKind.Emit:
                    Emit(command.Event, command.Value);
                    break;
                case MachineCommandKind.Resolve:
                    EndCall(command.Call, command.Value is JoinedMessage ? Room : command.Value, null);
                    break;
                case MachineCommandKind.Reject:
                    EndCall(command.Call, null, (Exception)command.Value);
                    break;
                case MachineCommandKind.StoreSession:
                    Store(command.Text);
                    break;
                case MachineCommandKind.ClearSession:
                    Store(null);
                    break;
            }
        }

        private void OpenLink(string url)
        {
            link = new TransportLink(this, buffers);
            try
            {
                link.Transport = options.CreateTransport == null ? DefaultTransport() : options.CreateTransport();
                link.Transport.Open(url, ClientCore.Subprotocol, link);
            }
            catch (Exception error) // such as an invalid address
            {
                link.Failed("cannot connect to " + url + ": " + error.Message, 0);
            }
        }

        private void CloseLink(int code, string reason)
        {
            TransportLink closed = link;
            link = null;
            if (closed != null && closed.Transport != null)
            {
                string shortened = reason.Length > ReasonCharactersMax ? reason.Substring(0, ReasonCharactersMax) : reason;
                closed.Transport.Close(code, shortened);
            }
        }

        private static ITransport DefaultTransport()
        {
#if UNITY_WEBGL && !UNITY_EDITOR
            return new WebGlTransport();
#else
            return new ClientWebSocketTransport();
#endif
        }

        private void RequestToken()
        {
            var request = new object();
            tokenRequest = request;
            if (options.TokenProvider == null)
            {
                Enqueue(new LinkEvent { Kind = LinkEventKind.TokenReceived, Source = request, Text = options.Token ?? "" });
                return;
            }

            ProvideToken(request);
        }

        private async void ProvideToken(object request)
        {
            LinkEvent answer;
            try
            {
                string token = await options.TokenProvider() ?? "";
                answer = new LinkEvent { Kind = LinkEventKind.TokenReceived, Source = request, Text = token };
            }
            catch (Exception error)
            {
                answer = new LinkEvent { Kind = LinkEventKind.TokenFailed, Source = request, Text = "no token: " + error.Message };
            }

            Enqueue(answer);
        }

        // -- calls ------------------------------------------------------------------------------------------

        private async Task<object> CallAsync(Func<double, int> begin, CancellationToken cancellation)
        {
            // Continuations run on their own thread or on Unity's main thread, never inside of the lock.
            var source = new TaskCompletionSource<object>(TaskCreationOptions.RunContinuationsAsynchronously);
            int number;
            lock (gate)
            {
                if (isDisposed)
                {
                    throw new DisconnectedException("the client was disposed");
                }

                number = begin(NowMs);
                calls[number] = source;
                Run();
            }

            if (!cancellation.CanBeCanceled)
            {
                return await source.Task;
            }

            using (cancellation.Register(() => Abandon(number)))
            {
                return await source.Task;
            }
        }

        private void Abandon(int number)
        {
            lock (gate)
            {
                TaskCompletionSource<object> source;
                if (calls.TryGetValue(number, out source))
                {
                    calls.Remove(number);
                    machine.Abandon(number, NowMs);
                    Run();
                    source.TrySetCanceled();
                }
            }
        }

        private void EndCall(int number, object value, Exception error)
        {
            TaskCompletionSource<object> source;
            if (!calls.TryGetValue(number, out source))
            {
                return;
            }

            calls.Remove(number);
            if (error == null)
            {
                source.TrySetResult(value);
            }
            else
            {
                source.TrySetException(error);
            }
        }

        // -- storage ----------------------------------------------------------------------------------------

        private string LoadSession()
        {
            try
            {
                return options.SessionStorage == null ? "" : options.SessionStorage.Load() ?? "";
            }
            catch (Exception error)
            {
                ReportError(error);
                return "";
            }
        }

        private void Store(string text)
        {
            try
            {
                if (text == null)
                {
                    options.SessionStorage.Clear();
                }
                else
                {
                    options.SessionStorage.Save(text);
                }
            }
            catch (Exception error)
            {
                ReportError(error);
            }
        }
    }
}
