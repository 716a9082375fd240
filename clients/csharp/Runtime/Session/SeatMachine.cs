// The calls of a session machine for a seat: joins, leaves, moves and the rooms of matches, one by one.
//
//     join ───────────────────────────> requested --SeatTaken--> resolved
//     match, move --leaves its room-->  ^  └--Redirect--> visiting --connected--> requested there, with the ticket
//                                       └--after a pause, at the initial URL--└--the shard cannot be reached
//
// The server processes one Join at a time. A Redirect without an address leads to a room on the same shard.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    internal sealed class SeatMachine
    {
        private readonly ClientCore core;
        private readonly ConnectionMachine connection;
        private readonly Deadlines deadlines;
        private readonly Func<double> random;
        private readonly SessionMachine user;
        private readonly List<PendingCall> queue = new List<PendingCall>();

        public SeatMachine(
            ClientCore core, ConnectionMachine connection, Deadlines deadlines, Func<double> random, SessionMachine user)
        {
            this.core = core;
            this.connection = connection;
            this.deadlines = deadlines;
            this.random = random;
            this.user = user;
        }

        /// <summary>The call that is processed; the others wait for it. null without calls.</summary>
        public PendingCall Active
        {
            get { return queue.Count > 0 ? queue[0] : null; }
        }

        /// <summary>Adds a call, and begins it if no other is processed.</summary>
        public void Add(PendingCall call, double nowMs)
        {
            queue.Add(call);
            if (queue.Count == 1)
            {
                Begin(call, nowMs);
            }
        }

        /// <summary>Removes a call that has ended, and begins the next one. A Join without an answer is abandoned.
        /// Idempotent.</summary>
        public void Remove(PendingCall call, double nowMs)
        {
            bool wasActive = Active == call;
            if (!queue.Remove(call) || !wasActive)
            {
                return;
            }

            deadlines.Cancel(call.Number);
            if (call.Step == SeatStep.Requested && call.Request != null)
            {
                core.AbandonJoin();
            }

            if (queue.Count > 0 && connection.Phase != ConnectionPhase.Closed)
            {
                Begin(queue[0], nowMs);
            }
        }

        public void Clear()
        {
            queue.Clear();
        }

        /// <summary>Continues a call that waited for the answer to an abandoned Join.</summary>
        public void AbandonedJoinAnswered(double nowMs)
        {
            PendingCall call = Active;
            if (call != null && call.Step == SeatStep.Abandoned)
            {
                RequestSeat(call, call.Unsent, nowMs);
            }
        }

        /// <summary>Handles the answer to the request of the active call.</summary>
        public void Answered(PendingCall call, Update answer, double nowMs)
        {
            call.Request = null;
            if (answer.Kind == UpdateKind.SeatTaken)
            {
                user.Resolve(call, ((SeatTaken)answer).Joined);
            }
            else if (answer.Kind == UpdateKind.Redirected)
            {
                call.Redirects++;
                if (call.Redirects > ReconnectPlan.RedirectsMax)
                {
                    user.Reject(call, new ClientException("redirected more than " + ReconnectPlan.RedirectsMax + " times"));
                }
                else
                {
                    Follow(call, ((Redirected)answer).Redirect, nowMs);
                }
            }
            else if (answer.Kind == UpdateKind.ErrorReceived)
            {
                user.Reject(call, new RefusedException(((ErrorReceived)answer).Error));
            }
            else if (call.Kind == CallKind.Leave)
            {
                user.Resolve(call, null);
            }
            else if (call.Redirect != null)
            {
                Follow(call, call.Redirect, nowMs);
            }
        }

        /// <summary>Continues on a new connection: sends the request again, unless the server still processes it.</summary>
        public void Welcomed(Welcomed update, double nowMs)
        {
            PendingCall call = Active;
            if (call == null)
            {
                return;
            }

            if (call.Step == SeatStep.Visiting && call.Redirect != null)
            {
                if (connection.Url == call.Redirect.Url)
                {
                    RequestWithTicket(call, call.Redirect, nowMs);
                }
                else
                {
                    ShardUnreachable(call, call.Redirect, nowMs);
                }
            }
            else if (call.Step == SeatStep.Abandoned)
            {
                if (!core.IsAbandoningJoin)
                {
                    AbandonedJoinAnswered(nowMs);
                }
            }
            else if (call.Request != null && !call.Request.IsInFlight(update))
            {
                user.Send(call.Request.Data);
            }
        }

        /// <summary>Handles the deadline of the active call: the pause is over, or no answer arrived.</summary>
        public void DeadlineDue(PendingCall call, double nowMs)
        {
            if (call.Step == SeatStep.Pause)
            {
                RequestSeat(call, call.First, nowMs);
            }
            else
            {
                user.Reject(call, new TimeoutException("no answer in time"));
            }
        }

        private void Begin(PendingCall call, double nowMs)
        {
            call.UntilMs = nowMs + PendingCall.JoinMsMax;
            call.Backoff = new Backoff(random);
            if (call.Kind == CallKind.Leave)
            {
                Leave(call, nowMs);
            }
            else if (call.Kind == CallKind.Join)
            {
                RequestSeat(call, call.First, nowMs);
            }
            else if (call.Kind == CallKind.Match && core.Joined != null)
            {
                call.Step = SeatStep.Leaving;
                Leave(call, nowMs);
            }
            else if (call.Redirect != null)
            {
                Follow(call, call.Redirect, nowMs);
            }
        }

        private void Leave(PendingCall call, double nowMs)
        {
            call.Request = new Request(RequestType.Leave, core.Leave());
            deadlines.Set(call.Number, nowMs + PendingCall.CallMsMax);
            user.Send(call.Request.Data);
        }

        /// <summary>Sends a Join, or waits until an abandoned Join has its answer: the server refuses another one until
        /// then.</summary>
        private void RequestSeat(PendingCall call, byte[] data, double nowMs)
        {
            deadlines.Set(call.Number, nowMs + PendingCall.CallMsMax);
            if (core.IsAbandoningJoin)
            {
                call.Step = SeatStep.Abandoned;
                call.Request = null; // the next Error answers the abandoned Join
                call.Unsent = data;
                return;
            }

            call.Step = SeatStep.Requested;
            call.Request = new Request(RequestType.Join, data);
            user.Send(data);
        }

        private void Follow(PendingCall call, RedirectMessage redirect, double nowMs)
        {
            call.Redirect = redirect;
            if (redirect.Url == "")
            {
                RequestWithTicket(call, redirect, nowMs);
            }
            else if (connection.IsDowngrade(redirect.Url))
            {
                user.Reject(call, ConnectionMachine.DowngradeError(redirect.Url));
            }
            else
            {
                call.Step = SeatStep.Visiting;
                deadlines.Set(call.Number, nowMs + PendingCall.JoinMsMax);
                connection.Visit(redirect.Url, nowMs);
            }
        }

        private void RequestWithTicket(PendingCall call, RedirectMessage redirect, double nowMs)
        {
            var options = new JoinOptions { Name = redirect.RoomName, Ticket = redirect.Ticket, Options = call.Options };
            byte[] data;
            try
            {
                data = core.Join(redirect.RoomType, options);
            }
            catch (ClientException error) // too large for this shard
            {
                user.Reject(call, error);
                return;
            }

            RequestSeat(call, data, nowMs);
        }

        /// <summary>Handles a Redirect to a shard that failed. The client is connected to its initial URL.</summary>
        private void ShardUnreachable(PendingCall call, RedirectMessage redirect, double nowMs)
        {
            if (call.Kind == CallKind.Match)
            {
                user.Reject(call, new NotMatchedException(QueueState.Cancelled, "the shard of the match cannot be reached"));
                return;
            }

            double pauseMs = call.Backoff == null ? 0 : call.Backoff.NextMs(0);
            if (call.Kind == CallKind.Move || nowMs + pauseMs > call.UntilMs)
            {
                user.Reject(call, new DisconnectedException("the room's shard, " + redirect.Url + ", cannot be reached"));
                return;
            }

            call.Step = SeatStep.Pause;
            call.Redirects = 0;
            deadlines.Set(call.Number, nowMs + pauseMs);
        }
    }
}
