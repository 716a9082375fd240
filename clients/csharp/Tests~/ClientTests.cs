// The client as a shell of the machine: tasks, events, listeners that fail, storage, and nothing allocated per tick.

using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;

namespace Tickwire.Tests
{
    public static class ClientTests
    {
        private const int Joined = 2; // messages of the vector open_and_join
        private const int Keyframe = 3;
        private const int Event = 6;
        private const int Left = 7;

        public static IEnumerable<Test> All()
        {
            yield return new Test("client: a room is joined, played and left", JoinAndLeave);
            yield return new Test("client: events before the first listener are delivered to it", EarlyEvents);
            yield return new Test("client: an exception of a listener is reported, and the client continues", FailingListener);
            yield return new Test("client: a listener may call the client and remove itself", NestedCalls);
            yield return new Test("client: a token that fails is a failed attempt", FailingToken);
            yield return new Test("client: a transport that throws is a failed attempt", FailingTransport);
            yield return new Test("client: a cancelled join is abandoned", CancelledJoin);
            yield return new Test("client: the session is stored, and cleared by a close", Storage);
            yield return new Test("client: a disposed client closes its connection and fails its calls", Disposed);
            yield return new Test("client: the reason of a close fits into a frame", LongReason);
            yield return new Test("client: a close does not wait for a transport without threads", PolledClose);
            yield return new Test("client: messages of an old connection are ignored", OldConnection);
            yield return new Test("client: in plain .NET a thread of the client raises the events", OwnThread);
            yield return new Test("client: states, inputs, interpolation and typed tables allocate nothing", Allocation);
        }

        private static FakeServer Opened()
        {
            var server = new FakeServer("open_and_join");
            server.Open();
            return server;
        }

        private static Room Join(FakeServer server)
        {
            Task<Room> joining = server.Client.JoinAsync("arena");
            server.Receive(Joined);
            return Result(joining);
        }

        /// <summary>Returns the result of a task whose continuations run on other threads.</summary>
        private static T Result<T>(Task<T> task)
        {
            Check.That(task.Wait(5000), "the task has ended");
            return task.Result;
        }

        private static Exception Error(Task task)
        {
            try
            {
                Check.That(task.Wait(5000), "the task has ended");
            }
            catch (AggregateException error)
            {
                return error.InnerException;
            }

            throw new CheckFailedException("the task has succeeded");
        }

        private static void JoinAndLeave()
        {
            FakeServer server = Opened();
            var states = new List<uint>();
            server.Client.OnState += update => states.Add(update.Tick);
            Room room = Join(server);
            Check.Equal("arena", room.RoomType, "room type");
            Check.That(ReferenceEquals(room, server.Client.Room) && room.IsJoined, "it is the client's room");
            server.Receive(Keyframe);
            Check.Equal(1, states.Count, "states");
            Check.Equal(1, room.World.Table("ships").Count, "ships");
            Check.Equal(1u, room.SendInput(new Dictionary<string, double> { { "dx", 0.5 } }), "the first input");
            Check.Throws<ArgumentException>(() => room.SendInput(new Dictionary<string, double> { { "dy", 1 } }), "an input");
            var reasons = new List<string>();
            server.Client.OnLeft += reasons.Add;
            Task leaving = server.Client.LeaveAsync();
            server.Receive(Left);
            Check.That(leaving.Wait(5000), "the client has left");
            Check.Equal(1, reasons.Count, "the event");
            Check.That(!room.IsJoined && server.Client.Room == null, "it is no longer the client's room");
            Check.Equal(0u, room.SendInput(new Dictionary<string, double>()), "an input after it");
            Check.That(Error(room.CommandAsync("say")) is ClientException, "a command after it");
            Check.Throws<ClientException>(() => Console.WriteLine(server.Client.World), "the world");
            Check.Equal(0, server.Errors.Count, "errors");
        }

        private static void EarlyEvents()
        {
            FakeServer server = Opened();
            Room room = Join(server);
            server.Receive(Event);
            var payloads = new List<object>();
            IDisposable listening = room.On("scored", payloads.Add);
            Check.Equal(1, payloads.Count, "the event that arrived before");
            Check.Equal(1L, (long)payloads[0], "its payload");
            room.On("scored", payloads.Add);
            Check.Equal(1, payloads.Count, "it is delivered once");
            listening.Dispose();
        }

        private static void FailingListener()
        {
            FakeServer server = Opened();
            int calls = 0;
            server.Client.OnJoined += joined => { throw new InvalidOperationException("listener"); };
            server.Client.OnJoined += joined => calls++;
            Room room = Join(server);
            room.On("scored", payload => { throw new InvalidOperationException("room"); });
            server.Receive(Event);
            Check.Equal(1, calls, "calls of the other listener");
            Check.Equal("listener room", string.Join(" ", server.Errors), "reported errors");
            Check.Equal(ConnectionState.Connected, server.Client.State, "the state");
        }

        private static void NestedCalls()
        {
            FakeServer server = Opened();
            var seen = new List<string>();
            Action<JoinedMessage> once = null;
            once = joined =>
            {
                seen.Add("first");
                server.Client.OnJoined -= once;
                server.Client.LeaveAsync();
            };
            server.Client.OnJoined += once;
            server.Client.OnJoined += joined => seen.Add("second");
            int before = server.Transport.SentCount;
            Join(server);
            Check.Equal("first second", string.Join(" ", seen), "the listeners");
            Check.Equal(before + 2, server.Transport.SentCount, "Join and Leave");
        }

        private static void FailingToken()
        {
            var server = new FakeServer("open_and_join");
            server.Options.TokenProvider = () => { throw new InvalidOperationException("logged out"); };
            TickwireClient client = TickwireClient.Create("ws://home/", server.Options);
            Task opened = client.OpenAsync();
            client.Poll();
            Exception error = Error(opened);
            Check.That(error is DisconnectedException && error.Message.Contains("logged out"), error.ToString());
        }

        private static void FailingTransport()
        {
            var server = new FakeServer("open_and_join");
            server.Options.CreateTransport = () => { throw new PlatformNotSupportedException("no sockets"); };
            TickwireClient client = TickwireClient.Create("ws://home/", server.Options);
            Task opened = client.OpenAsync();
            client.Poll();
            Exception error = Error(opened);
            Check.That(error is ConnectFailedException && error.Message.Contains("no sockets"), error.ToString());
        }

        private static void CancelledJoin()
        {
            FakeServer server = Opened();
            var cancellation = new CancellationTokenSource();
            Task<Room> joining = server.Client.JoinAsync("arena", null, cancellation.Token);
            cancellation.Cancel();
            Check.That(Error(joining) is TaskCanceledException, "the task is cancelled");
            int before = server.Transport.SentCount;
            server.Receive(Joined);
            Check.Equal(before + 1, server.Transport.SentCount, "the seat is released");
            Check.That(server.Client.Room == null, "the client is in no room");
        }

        private static void Storage()
        {
            string path = Path.Combine(Path.GetTempPath(), "tickwire-test-" + Guid.NewGuid().ToString("N"));
            var storage = new FileSessionStorage(path);
            Check.Equal("", storage.Load(), "nothing is stored");
            var server = new FakeServer("open_and_join");
            server.Options.SessionStorage = storage;
            server.Open();
            Join(server);
            Check.That(storage.Load().Contains("\"resume_token\":\"s.1\""), storage.Load());
            server.Client.Dispose();
            Check.That(storage.Load() != "", "a program that ends keeps its session");
            var again = new FakeServer("open_and_join");
            again.Options.SessionStorage = storage;
            again.Open();
            again.Client.Close();
            Check.Equal("", storage.Load(), "a session that has ended is cleared");
            again.Options.SessionStorage = new FileSessionStorage(Path.Combine(path, "no", "folder"));
            again.Open();
            Check.That(again.Errors.Count > 0, "a storage that fails is reported");
        }

        private static void Disposed()
        {
            FakeServer server = Opened();
            Room room = Join(server);
            Task<Room> joining = server.Client.JoinAsync("arena");
            server.Client.Dispose();
            server.Client.Dispose();
            Check.Equal(1001, server.Transport.CloseCode, "the close code");
            Check.That(Error(joining) is DisconnectedException, "the call has failed");
            Check.That(Error(server.Client.LeaveAsync()) is DisconnectedException, "a later call");
            Check.Equal(0u, room.SendInput(new Dictionary<string, double>()), "a later input is not sent");
        }

        private static void LongReason()
        {
            FakeServer server = Opened();
            server.Receive(new byte[] { 1, 2, 3 });
            Check.Equal(1002, server.Transport.CloseCode, "the close code");
            Check.Equal("the server sent a message that cannot be", server.Transport.CloseReason, "the reason");
        }

        private static void PolledClose()
        {
            FakeServer server = Opened();
            Check.That(!server.Client.CloseAsync().IsCompleted, "a transport with threads ends later");
            server = new FakeServer("open_and_join");
            server.Options.CreateTransport = () =>
            {
                server.Transports.Add(new PolledTransport());
                return server.Transport;
            };
            server.Open();
            Check.That(server.Client.CloseAsync().IsCompleted, "the browser closes the connection by itself");
            Check.Equal(1000, server.Transport.CloseCode, "the close code");
        }

        private static void OldConnection()
        {
            FakeServer server = Opened();
            FakeTransport old = server.Transport;
            server.Client.Drop();
            Check.Equal(ConnectionState.Reconnecting, server.Client.State, "the state");
            old.Listener.Closed(1000, "");
            server.Client.Poll();
            Check.Equal(ConnectionState.Reconnecting, server.Client.State, "a close of the old connection");
            Check.Equal(4000, old.CloseCode, "the close code");
            while (server.Transports.Count == 1) // the pause is at most 250 ms
            {
                Thread.Yield();
                server.Client.Poll();
            }

            old.Listener.Closed(1000, "");
            server.Transport.Listener.Opened();
            server.Client.Poll();
            server.Receive(0);
            Check.Equal(ConnectionState.Connected, server.Client.State, "the new connection");
        }

        private static void OwnThread()
        {
            var server = new FakeServer("open_and_join");
            server.Options.IsPolled = false;
            TickwireClient client = TickwireClient.Create("ws://home/", server.Options);
            int thread = 0;
            var isClosed = new ManualResetEvent(false);
            client.OnClosed += error =>
            {
                thread = Thread.CurrentThread.ManagedThreadId;
                isClosed.Set();
            };
            Task opened = client.OpenAsync();
            bool isOpening = SpinWait.SpinUntil(
                () => server.Transports.Count > 0 && Volatile.Read(ref server.Transport.Listener) != null, 10000);
            Check.That(isOpening, "the client has opened a transport");
            server.Transport.Listener.Failed("no server", 0);
            Check.That(Error(opened) is ConnectFailedException, "the call has failed");
            Check.That(isClosed.WaitOne(10000), "the event was raised");
            Check.That(thread != Thread.CurrentThread.ManagedThreadId, "another thread");
        }

        // -- allocation -------------------------------------------------------------------------------------

        private struct DxInputs : IInputs
        {
            private static readonly string[] InputNames = { "dx" };
            public double Dx;

            public string[] Names
            {
                get { return InputNames; }
            }

            public double ValueAt(int index)
            {
                return Dx;
            }

            public void SetValueAt(int index, double value)
            {
                Dx = value;
            }
        }

        private readonly struct ShipRow
        {
            private readonly TableReader reader;
            private readonly int row;

            public ShipRow(TableReader reader, int row)
            {
                this.reader = reader;
                this.row = row;
            }

            public double X
            {
                get { return reader.Number(row, 0); }
            }
        }

        private static void Allocation()
        {
            FakeServer server = Opened();
            Room room = Join(server);
            server.Receive(Keyframe);
            server.Transport.IsRecording = false;
            var ships = new TypedTable<ShipRow>(room, "ships", new[] { "x" }, (reader, row) => new ShipRow(reader, row));
            var interpolation = new Interpolation("ships", "x", "heading");
            var clock = new TickClock(room.TickRateHz);
            double sum = 0;
            server.Client.OnState += update =>
            {
                interpolation.Push(room.World);
                clock.Observe(update.Tick, update.Tick * 50);
            };
            byte[] ack = { 5, 0, 1, 0, 1, 0, 0, 0 };
            byte[] delta = { 3, 1, 0, 0, 0 }; // nothing has changed since the tick before
            long allocated = 0;
            for (int tick = 2; tick <= 200; tick++)
            {
                delta[2] = (byte)tick;
                long before = GC.GetAllocatedBytesForCurrentThread();
                server.Receive(ack);
                server.Receive(delta);
                room.SendTypedInput(new DxInputs { Dx = 0.5 });
                sum += Draw(ships, interpolation, clock.RenderTick(tick * 50));
                allocated = tick < 100 ? 0 : allocated + GC.GetAllocatedBytesForCurrentThread() - before;
            }

            Check.Equal(200u, room.World.Tick, "the tick");
            Check.That(sum != 0 && server.Errors.Count == 0 && server.Client.Core.Resyncs == 0, "everything was read");
            Check.Equal(0L, allocated, "bytes allocated in 100 ticks");
        }

        private static double Draw(TypedTable<ShipRow> ships, Interpolation interpolation, double tick)
        {
            double sum = 0;
            foreach (ShipRow ship in ships)
            {
                sum += ship.X;
            }

            foreach (InterpolatedEntity ship in interpolation.Sample(tick))
            {
                sum += ship.Number("x") + ship.Number("heading");
            }

            return sum;
        }
    }
}
