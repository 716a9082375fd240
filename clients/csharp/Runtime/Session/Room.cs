// A room that the client has joined.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>A room. It stays the same object when the room moves to another shard. After the player has left, its commands
    /// fail and its inputs are not sent.</summary>
    public sealed class Room
    {
        /// <summary>How long events are kept for the first listener of their name, which the app adds after the join.</summary>
        private const double EarlyMs = 1000;
        private const int EarlyMax = 256;
        private readonly TickwireClient client;
        private readonly double joinedMs = TickwireClient.NowMs;
        private readonly Dictionary<string, Listeners<object>> listeners = new Dictionary<string, Listeners<object>>();
        private readonly List<RoomEvent> early = new List<RoomEvent>();
        private JoinedMessage joined;
        private InputValues values;
        private string[] inputNames;
        private int[] inputIndexes;

        internal Room(TickwireClient client, JoinedMessage joined, ClientCore core)
        {
            this.client = client;
            Enter(joined, core);
        }

        public TickwireClient Client
        {
            get { return client; }
        }

        public string RoomId
        {
            get { return joined.RoomId; }
        }

        public string RoomType
        {
            get { return joined.RoomType; }
        }

        public string RoomName
        {
            get { return joined.RoomName; }
        }

        /// <summary>The code of a private room; empty without one.</summary>
        public string RoomCode
        {
            get { return joined.RoomCode; }
        }

        public double TickRateHz
        {
            get { return joined.TickRateHz; }
        }

        /// <summary>The player's entity; 0 without one.</summary>
        public uint Entity
        {
            get { return joined.Entity; }
        }

        /// <summary>The team in a match, from 1; 0 without teams.</summary>
        public int Team
        {
            get { return joined.Team; }
        }

        public StateDescription Description
        {
            get { return joined.Description; }
        }

        /// <summary>The mirrored state; the last one after the player has left.</summary>
        public World World { get; private set; }

        /// <summary>Whether the player is in this room.</summary>
        public bool IsJoined { get; private set; }

        /// <summary>Runs a command and returns its decoded result. See <see cref="TickwireClient.CommandAsync"/>.</summary>
        public System.Threading.Tasks.Task<object> CommandAsync(string name, object payload = null, TimeSpan? timeout = null)
        {
            return IsJoined
                ? client.CommandAsync(name, payload, timeout)
                : System.Threading.Tasks.Task.FromException<object>(new ClientException("the player has left this room"));
        }

        /// <summary>Adds a listener for an event of the room, by its name on the wire. Dispose the result to remove
        /// it.</summary>
        /// <remarks>Events that arrived right after the join are delivered to their first listener.</remarks>
        public IDisposable On(string name, Action<object> listener)
        {
            lock (client.SyncRoot)
            {
                Listeners<object> list;
                if (!listeners.TryGetValue(name, out list))
                {
                    list = listeners[name] = new Listeners<object>(client.ReportError);
                }

                list.Add(listener);
                DeliverEarly(name, list);
                return new Subscription(client.SyncRoot, list, listener);
            }
        }

        // -- inputs -----------------------------------------------------------------------------------------

        /// <summary>Creates the values of an input, to be used for all inputs until the room is joined again.</summary>
        /// <exception cref="InvalidOperationException">The player has left.</exception>
        public InputValues CreateInput()
        {
            return client.Core.CreateInput();
        }

        /// <summary>Sends an input, in the game's units. Fields that are not named are zero.</summary>
        /// <returns>Its sequence number; 0 if it was not sent.</returns>
        /// <exception cref="ArgumentException">The room has no such input, or a value is not a finite number.</exception>
        public uint SendInput(IReadOnlyDictionary<string, double> named)
        {
            lock (client.SyncRoot)
            {
                if (!IsJoined)
                {
                    return 0;
                }

                values.Set(named);
                return client.SendInput(values);
            }
        }

        /// <summary>Sends an input of the struct that `tickwire codegen csharp` generates. Allocates nothing.</summary>
        /// <returns>Its sequence number; 0 if it was not sent.</returns>
        /// <exception cref="ArgumentException">The room has no such input, or a value is not a finite number.</exception>
        public uint SendTypedInput<TInput>(in TInput inputs)
            where TInput : struct, IInputs
        {
            lock (client.SyncRoot)
            {
                if (!IsJoined)
                {
                    return 0;
                }

                TInput copy = inputs;
                FindInputs(copy.Names);
                values.Clear();
                for (int index = 0; index < inputIndexes.Length; index++)
                {
                    values[inputIndexes[index]] = copy.ValueAt(index);
                }

                return client.SendInput(values);
            }
        }

        private void FindInputs(string[] names)
        {
            if (ReferenceEquals(names, inputNames))
            {
                return;
            }

            var indexes = new int[names.Length];
            for (int index = 0; index < names.Length; index++)
            {
                indexes[index] = IndexOfInput(names[index]);
            }

            inputNames = names;
            inputIndexes = indexes;
        }

        private int IndexOfInput(string name)
        {
            for (int index = 0; index < values.Fields.Count; index++)
            {
                if (values.Fields[index].Name == name)
                {
                    return index;
                }
            }

            throw new ArgumentException("the room has no input " + name + ": generate the types of the game again");
        }

        // -- of the package ---------------------------------------------------------------------------------

        internal void Enter(JoinedMessage message, ClientCore core)
        {
            joined = message;
            World = core.World;
            values = core.CreateInput();
            inputNames = null;
            IsJoined = true;
        }

        internal void End()
        {
            IsJoined = false;
            early.Clear();
        }

        internal void Emit(string name, object payload)
        {
            Listeners<object> list;
            if (listeners.TryGetValue(name, out list))
            {
                list.Invoke(payload);
            }
            else if (early.Count < EarlyMax && TickwireClient.NowMs - joinedMs < EarlyMs)
            {
                early.Add(new RoomEvent(name, payload));
            }
        }

        private void DeliverEarly(string name, Listeners<object> list)
        {
            for (int index = 0; index < early.Count; index++)
            {
                if (early[index].Name == name)
                {
                    object payload = early[index].Payload;
                    early.RemoveAt(index--);
                    list.Invoke(payload);
                }
            }
        }

        private sealed class Subscription : IDisposable
        {
            private readonly object gate;
            private readonly Listeners<object> list;
            private readonly Action<object> listener;

            public Subscription(object gate, Listeners<object> list, Action<object> listener)
            {
                this.gate = gate;
                this.list = list;
                this.listener = listener;
            }

            public void Dispose()
            {
                lock (gate)
                {
                    list.Remove(listener);
                }
            }
        }
    }
}
