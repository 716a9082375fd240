// The messages of a session: what the machine does for each update of the core.

using System;

namespace Tickwire
{
    internal sealed partial class SessionMachine
    {
        /// <summary>Handles an update of the core; null if the message contained nothing new.</summary>
        public void UpdateReceived(Update update, double now)
        {
            nowMs = now;
            if (update != null && update.Kind == UpdateKind.StateApplied)
            {
                Emit(ClientEvent.State, update);
            }
            else if (update != null && update.Kind == UpdateKind.InputAcknowledged)
            {
                Emit(ClientEvent.Acknowledged, update);
            }
            else if (update != null)
            {
                HandleRare(update);
            }

            if (Core.Outgoing.Count > 0)
            {
                Flush();
                ContinueSeats();
            }

            if (timerMs <= now) // timers are late in a hidden page
            {
                RunDue(now);
            }
        }

        private void HandleRare(Update update)
        {
            if (update.Kind == UpdateKind.ErrorReceived && Connection.Phase == ConnectionPhase.Hello)
            {
                ErrorMessage error = ((ErrorReceived)update).Error;
                Emit(ClientEvent.Refused, new RefusedException(error));
                Connection.Refused(LoginRefused(error), nowMs);
                return;
            }

            Handle(update);
            Answer(update);
            if (openCall != null && IsConnected)
            {
                OpenAnswered(update);
            }

            ContinueSeats();
            FollowMove();
        }

        private void ContinueSeats()
        {
            if (!Core.IsAbandoningJoin)
            {
                seats.AbandonedJoinAnswered(nowMs);
            }
        }

        private void Handle(Update update)
        {
            switch (update.Kind)
            {
                case UpdateKind.Welcomed:
                    Welcomed((Welcomed)update);
                    break;
                case UpdateKind.Redirected:
                    Redirected((Redirected)update);
                    break;
                case UpdateKind.SeatTaken:
                    Emit(ClientEvent.Joined, ((SeatTaken)update).Joined);
                    Connection.Store();
                    break;
                case UpdateKind.SeatLost:
                    SeatLost(((SeatLost)update).Reason);
                    break;
                case UpdateKind.ErrorReceived:
                    Connection.Refusal = ((ErrorReceived)update).Error;
                    Emit(ClientEvent.Refused, new RefusedException(Connection.Refusal));
                    break;
                case UpdateKind.EventsLost:
                    Emit(ClientEvent.Refused, new RefusedException(((EventsLost)update).Error));
                    break;
                case UpdateKind.EventReceived:
                    Emit(ClientEvent.Event, ((EventReceived)update).Event);
                    break;
                case UpdateKind.ReplyReceived:
                    Replied((ReplyReceived)update);
                    break;
                case UpdateKind.QueueChanged:
                    if (((QueueChanged)update).IsCurrent)
                    {
                        Emit(ClientEvent.Match, ((QueueChanged)update).Status);
                    }

                    break;
                case UpdateKind.PongReceived:
                    Emit(ClientEvent.Pong, update);
                    break;
                case UpdateKind.TokenRequested:
                    renewalUntilMs = nowMs + ((TokenRequested)update).ExpiresInMs;
                    RequestRenewal();
                    break;
                case UpdateKind.Ended:
                    Connection.Goodbye = ((Ended)update).Goodbye;
                    break;
            }
        }

        private void Welcomed(Welcomed update)
        {
            if (Connection.Phase != ConnectionPhase.Hello)
            {
                return;
            }

            Connection.Welcomed(update.Welcome, nowMs);
            Resumes += update.HasResumed ? 1 : 0;
            SessionsLost += update.HasLostSession ? 1 : 0;
            Flush();
            StopRenewal();
            if (hasReportedLoss)
            {
                hasReportedLoss = false;
                Emit(ClientEvent.Reconnected, update.HasResumed);
            }

            if (update.HasLostSession)
            {
                FailCommands(name => new SessionLostException("the session was lost before the room answered " + name));
            }

            if (update.LostRoomId != "")
            {
                string reason = update.Welcome.LeftReason;
                SeatLost(reason != "" ? reason : "the seat was lost while the client was disconnected");
            }

            seats.Welcomed(update, nowMs);
            SendRequestsAgain();
            SendCommands();
            if (openCall != null && update.HasResumed && update.IsJoinInFlight)
            {
                // The seat of the earlier run of the program follows.
                deadlines.Set(openCall.Number, nowMs + PendingCall.CallMsMax);
            }
            else if (openCall != null)
            {
                Resolve(openCall, null);
            }
        }

        /// <summary>Ends Open once the client has the seat of an earlier run of the program, or will not get it.</summary>
        private void OpenAnswered(Update update)
        {
            bool isError = update.Kind == UpdateKind.ErrorReceived
                && ((ErrorReceived)update).Error.IsAnswerTo(RequestType.Join);
            bool isOver = isError || update.Kind == UpdateKind.SeatTaken || update.Kind == UpdateKind.SeatLost
                || (update.Kind == UpdateKind.Redirected && !((Redirected)update).Redirect.IsResume);
            if (isOver)
            {
                Resolve(openCall, null);
            }
        }

        private void SendRequestsAgain()
        {
            if (matchCall != null && matchCall.Request != null && matchCall.Request.Type == RequestType.MatchRequest)
            {
                Send(matchCall.Request.Data);
                if (matchCall.IsCancelled)
                {
                    Send(Core.MatchCancel());
                }
            }

            if (lists.Count > 0)
            {
                Send(lists[0].Request.Data);
            }

            if (authentications.Count > 0)
            {
                Send(authentications[0].Request.Data);
            }
        }

        private void Redirected(Redirected update)
        {
            if (update.Redirect.IsResume)
            {
                if (Connection.IsDowngrade(update.Redirect.Url))
                {
                    Emit(ClientEvent.Error, ConnectionMachine.DowngradeError(update.Redirect.Url));
                }
                else
                {
                    Connection.Moved(update.Redirect.Url);
                }
            }
            else if (update.IsMove)
            {
                move = update.Redirect;
            }
        }

        private void SeatLost(string reason)
        {
            FailCommands(name => new ClientException("the seat was lost before the room answered " + name));
            Emit(ClientEvent.Left, reason);
            Connection.Store();
        }

        private void FailCommands(Func<string, ClientException> create)
        {
            foreach (PendingCall call in calls.ToArray())
            {
                if (call.Kind == CallKind.Command)
                {
                    Reject(call, create(call.Name));
                }
            }
        }

        /// <summary>Enters the room to which the player is moved, once it has left its room.</summary>
        private void FollowMove()
        {
            if (move == null || Core.Joined != null)
            {
                return;
            }

            var call = new PendingCall(PendingCall.MoveNumber, CallKind.Move) { Redirect = move };
            move = null;
            PendingCall before = FindCall(PendingCall.MoveNumber);
            if (before != null)
            {
                End(before, true);
            }

            calls.Add(call);
            seats.Add(call, nowMs);
        }

        /// <summary>Passes an update to the oldest call whose request it answers.</summary>
        private void Answer(Update update)
        {
            foreach (PendingCall call in calls)
            {
                if (call.Request != null && call.Request.IsAnswer(update))
                {
                    Answered(call, update);
                    return;
                }
            }
        }

        private void Answered(PendingCall call, Update answer)
        {
            if (seats.Active == call)
            {
                seats.Answered(call, answer, nowMs);
            }
            else if (answer.Kind == UpdateKind.ErrorReceived)
            {
                Reject(call, new RefusedException(((ErrorReceived)answer).Error));
            }
            else if (answer.Kind == UpdateKind.RoomsListed)
            {
                Resolve(call, ((RoomsListed)answer).Answer);
            }
            else if (answer.Kind == UpdateKind.SessionAuthenticated)
            {
                Connection.Authenticated(call.Token);
                Resolve(call, ((SessionAuthenticated)answer).Answer);
            }
            else if (answer.Kind == UpdateKind.QueueChanged)
            {
                MatchStatusMessage status = ((QueueChanged)answer).Status;
                Reject(call, call.IsLate
                    ? (Exception)new TimeoutException("no match in time")
                    : new NotMatchedException(status.State, status.Reason));
            }
            else if (answer.Kind == UpdateKind.Redirected)
            {
                call.Request = null;
                call.Redirect = ((Redirected)answer).Redirect;
                deadlines.Cancel(call.Number);
                seats.Add(call, nowMs);
            }
        }

        private void Replied(ReplyReceived update)
        {
            PendingCall call = update.IsDecided ? FindCommand(update.Reply.Id) : null;
            if (call != null && update.Reply.Ok)
            {
                Resolve(call, update.Reply);
            }
            else if (call != null)
            {
                Reject(call, new CommandFailedException(update.Reply));
            }

            SendCommands();
        }

        private PendingCall FindCommand(ulong id)
        {
            foreach (PendingCall call in calls)
            {
                if (call.Kind == CallKind.Command && call.CommandId == id)
                {
                    return call;
                }
            }

            return null;
        }

        // -- the connection's events ------------------------------------------------------------------------

        /// <summary>Reports the loss of the connection; the machine reconnects.</summary>
        public void Disconnected(string reason)
        {
            deadlines.Cancel(Deadlines.Commands);
            hasReportedLoss = true;
            Emit(ClientEvent.Disconnected, reason);
        }

        /// <summary>Ends all calls.</summary>
        public void Closed(ClientException error)
        {
            seats.Clear();
            deadlines.Clear();
            lists.Clear();
            authentications.Clear();
            Connection.LoginToken = "";
            foreach (PendingCall call in calls.ToArray())
            {
                Reject(call, call.Kind == CallKind.Open ? error : Connection.Disconnected());
            }

            Emit(ClientEvent.Closed, Connection.Disconnected());
        }
    }
}
