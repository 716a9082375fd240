// The events of a client. An exception of a listener is reported by OnError, and the client continues.

using System;

namespace Tickwire
{
    public sealed partial class TickwireClient
    {
        private Listeners<StateApplied> stateListeners;
        private Listeners<RoomEvent> eventListeners;
        private Listeners<JoinedMessage> joinedListeners;
        private Listeners<string> leftListeners;
        private Listeners<InputAcknowledged> acknowledgedListeners;
        private Listeners<MatchStatusMessage> matchListeners;
        private Listeners<string> disconnectedListeners;
        private Listeners<bool> reconnectedListeners;
        private Listeners<PongReceived> pongListeners;
        private Listeners<RefusedException> refusedListeners;
        private Listeners<DisconnectedException> closedListeners;
        private Listeners<Exception> errorListeners;

        /// <summary>The world advanced by one or more ticks. The value is valid until the listener returns.</summary>
        public event Action<StateApplied> OnState
        {
            add { Add(stateListeners, value); }
            remove { Remove(stateListeners, value); }
        }

        /// <summary>An event of the room. <see cref="Room.On"/> listens to one name.</summary>
        public event Action<RoomEvent> OnEvent
        {
            add { Add(eventListeners, value); }
            remove { Remove(eventListeners, value); }
        }

        /// <summary>The player joined a room, or the room moved to another shard. <see cref="Room"/> is the room.</summary>
        public event Action<JoinedMessage> OnJoined
        {
            add { Add(joinedListeners, value); }
            remove { Remove(joinedListeners, value); }
        }

        /// <summary>The player is no longer in the room, for this reason.</summary>
        public event Action<string> OnLeft
        {
            add { Add(leftListeners, value); }
            remove { Remove(leftListeners, value); }
        }

        /// <summary>Inputs are part of the world. The value is valid until the listener returns.</summary>
        public event Action<InputAcknowledged> OnAcknowledged
        {
            add { Add(acknowledgedListeners, value); }
            remove { Remove(acknowledgedListeners, value); }
        }

        /// <summary>The status in the queue.</summary>
        public event Action<MatchStatusMessage> OnMatch
        {
            add { Add(matchListeners, value); }
            remove { Remove(matchListeners, value); }
        }

        /// <summary>The connection was lost, for this reason, and the client reconnects.</summary>
        public event Action<string> OnDisconnected
        {
            add { Add(disconnectedListeners, value); }
            remove { Remove(disconnectedListeners, value); }
        }

        /// <summary>The client reconnected. True: the session was resumed.</summary>
        public event Action<bool> OnReconnected
        {
            add { Add(reconnectedListeners, value); }
            remove { Remove(reconnectedListeners, value); }
        }

        /// <summary>A round trip was measured.</summary>
        public event Action<PongReceived> OnPong
        {
            add { Add(pongListeners, value); }
            remove { Remove(pongListeners, value); }
        }

        /// <summary>The server sent an Error.</summary>
        public event Action<RefusedException> OnRefused
        {
            add { Add(refusedListeners, value); }
            remove { Remove(refusedListeners, value); }
        }

        /// <summary>The session has ended, and why.</summary>
        public event Action<DisconnectedException> OnClosed
        {
            add { Add(closedListeners, value); }
            remove { Remove(closedListeners, value); }
        }

        /// <summary>An exception of a listener or of the storage, or one that no call receives. Without a listener it is
        /// logged.</summary>
        public event Action<Exception> OnError
        {
            add { Add(errorListeners, value); }
            remove { Remove(errorListeners, value); }
        }

        /// <summary>Reports an exception by <see cref="OnError"/>.</summary>
        internal void ReportError(Exception error)
        {
            if (errorListeners.Count > 0)
            {
                errorListeners.Invoke(error);
            }
            else
            {
                Log(error);
            }
        }

        private static void Log(Exception error)
        {
#if UNITY_5_3_OR_NEWER
            UnityEngine.Debug.LogException(error);
#else
            Console.Error.WriteLine(error);
#endif
        }

        private void CreateListeners()
        {
            stateListeners = new Listeners<StateApplied>(ReportError);
            eventListeners = new Listeners<RoomEvent>(ReportError);
            joinedListeners = new Listeners<JoinedMessage>(ReportError);
            leftListeners = new Listeners<string>(ReportError);
            acknowledgedListeners = new Listeners<InputAcknowledged>(ReportError);
            matchListeners = new Listeners<MatchStatusMessage>(ReportError);
            disconnectedListeners = new Listeners<string>(ReportError);
            reconnectedListeners = new Listeners<bool>(ReportError);
            pongListeners = new Listeners<PongReceived>(ReportError);
            refusedListeners = new Listeners<RefusedException>(ReportError);
            closedListeners = new Listeners<DisconnectedException>(ReportError);
            errorListeners = new Listeners<Exception>(Log); // a listener of errors that fails is not called again for it
        }

        private void Add<T>(Listeners<T> listeners, Action<T> listener)
        {
            lock (gate)
            {
                listeners.Add(listener);
            }
        }

        private void Remove<T>(Listeners<T> listeners, Action<T> listener)
        {
            lock (gate)
            {
                listeners.Remove(listener);
            }
        }

        private void Emit(ClientEvent name, object value)
        {
            switch (name)
            {
                case ClientEvent.State:
                    stateListeners.Invoke((StateApplied)value);
                    break;
                case ClientEvent.Acknowledged:
                    acknowledgedListeners.Invoke((InputAcknowledged)value);
                    break;
                case ClientEvent.Event:
                    EmitEvent((EventMessage)value);
                    break;
                case ClientEvent.Joined:
                    EnterRoom((JoinedMessage)value);
                    break;
                case ClientEvent.Left:
                    LeaveRoom();
                    leftListeners.Invoke((string)value);
                    break;
                case ClientEvent.Match:
                    matchListeners.Invoke((MatchStatusMessage)value);
                    break;
                case ClientEvent.Disconnected:
                    disconnectedListeners.Invoke((string)value);
                    break;
                case ClientEvent.Reconnected:
                    reconnectedListeners.Invoke((bool)value);
                    break;
                case ClientEvent.Pong:
                    EmitPong((PongReceived)value);
                    break;
                case ClientEvent.Refused:
                    refusedListeners.Invoke((RefusedException)value);
                    break;
                case ClientEvent.Closed:
                    LeaveRoom();
                    closedListeners.Invoke((DisconnectedException)value);
                    break;
                case ClientEvent.Error:
                    ReportError((Exception)value);
                    break;
            }
        }

        private void EnterRoom(JoinedMessage joined)
        {
            if (Room != null && Room.RoomId == joined.RoomId)
            {
                Room.Enter(joined, Core);
            }
            else
            {
                LeaveRoom();
                Room = new Room(this, joined, Core);
            }

            joinedListeners.Invoke(joined);
        }

        private void LeaveRoom()
        {
            if (Room != null)
            {
                Room.End();
                Room = null;
            }
        }

        private void EmitEvent(EventMessage message)
        {
            object payload;
            try
            {
                payload = MessagePack.Decode(message.Payload);
            }
            catch (MalformedMessageException error)
            {
                ReportError(error);
                return;
            }

            eventListeners.Invoke(new RoomEvent(message.Name, payload));
            if (Room != null)
            {
                Room.Emit(message.Name, payload);
            }
        }

        private void EmitPong(PongReceived pong)
        {
            RttMs = pong.RttMs;
            ClockOffsetMs = pong.ClockOffsetMs;
            pongListeners.Invoke(pong);
        }
    }
}
