// The received messages of a client: what each changes, and the update that it becomes.

using System;

namespace Tickwire
{
    public sealed partial class ClientCore
    {
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
            return Apply(decoder.Decode(data, offset, count, World != null ? World.Tick : 0, inputs.Seq), nowMs);
        }

        /// <summary>Applies a decoded message; null for one of an unknown type.</summary>
        internal Update Apply(ServerMessage message, double nowMs)
        {
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

            if (message is AuthenticatedMessage)
            {
                return new SessionAuthenticated { Answer = (AuthenticatedMessage)message };
            }

            if (message is TokenExpiringMessage)
            {
                return new TokenRequested { ExpiresInMs = ((TokenExpiringMessage)message).ExpiresInMs };
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
    }
}
