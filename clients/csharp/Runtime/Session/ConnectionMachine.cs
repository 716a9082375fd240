// The connections of a session machine: attempts, Hello, heartbeat, loss, redirects and the final close.
//
//     closed --open--> token --> opening --> hello --Welcome--> open
//                        ^  └---------└---------└--failed--┐      │
//                        └------------- pause <------------┴-lost-┘
//     any phase --final close, final error, time over, Close()--> closed
//
// ReconnectPlan plans when and where; here the steps of an attempt follow each other. Each step has a time limit. The session
// machine handles the messages, and owns the deadlines and the list of commands.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The connections of one session.</summary>
    internal sealed class ConnectionMachine
    {
        private const double ConnectMsMax = 5000;
        private const double HelloMsMax = 10000;

        private readonly MachineOptions options;
        private readonly ClientCore core;
        private readonly Deadlines deadlines;
        private readonly List<MachineCommand> commands;
        private readonly SessionMachine user;
        private readonly ReconnectPlan plan;
        private bool isFirst = true;
        private string visitedUrl = "";
        private string token = "";

        // The application's newest token, that of the last login, and the application's token that it has replaced.
        private string givenToken = "";
        private string adoptedToken = "";
        private string replacedToken;
        private double pingMs;
        private StoredSession stored;
        private StoredSession saved; // the newest StoreSession

        public ConnectionMachine(
            MachineOptions options,
            ClientCore core,
            Deadlines deadlines,
            List<MachineCommand> commands,
            Func<double> random,
            SessionMachine user)
        {
            this.options = options;
            this.core = core;
            this.deadlines = deadlines;
            this.commands = commands;
            this.user = user;
            Url = options.Url;
            plan = new ReconnectPlan(options.Url, options.ReconnectMs, random);
        }

        public ConnectionPhase Phase { get; private set; } = ConnectionPhase.Closed;

        /// <summary>The state, as the game sees it.</summary>
        public ConnectionState State { get; private set; } = ConnectionState.Closed;

        /// <summary>The address of the newest attempt.</summary>
        public string Url { get; private set; }

        /// <summary>The server's Goodbye on the newest connection.</summary>
        public GoodbyeMessage Goodbye { get; set; }

        /// <summary>The newest Error on it.</summary>
        public ErrorMessage Refusal { get; set; }

        /// <summary>The close code of the last connection; null while it is open, or without a close.</summary>
        public int? CloseCode { get; private set; }

        /// <summary>Why the last connection ended.</summary>
        public string CloseReason { get; private set; } = "never connected";

        public Heartbeat Heartbeat { get; } = new Heartbeat();

        private bool HasSocket
        {
            get { return Phase >= ConnectionPhase.Opening; }
        }

        /// <summary>Returns the reason of the last close as an error.</summary>
        public DisconnectedException Disconnected()
        {
            return new DisconnectedException("the connection is lost: " + CloseReason);
        }

        /// <summary>Returns whether an address would carry the token over a plain connection.</summary>
        public bool IsDowngrade(string url)
        {
            return StoredSession.IsDowngrade(options.Url, url);
        }

        /// <summary>Returns the error for a Redirect from an encrypted connection to a plain one.</summary>
        public static ClientException DowngradeError(string url)
        {
            return new ClientException("redirected to " + url + ": the token is not sent over a plain connection");
        }

        // -- the session ------------------------------------------------------------------------------------

        /// <summary>Begins the first attempt.</summary>
        /// <param name="storedText">The text of the last StoreSession, or empty.</param>
        /// <param name="nowMs">The monotonic clock.</param>
        public void Open(string storedText, double nowMs)
        {
            State = ConnectionState.Connecting;
            if (storedText != "")
            {
                stored = StoredSession.FromText(storedText, options.Url);
                if (stored == null)
                {
                    ClearStored();
                }
            }

            RequestToken(nowMs);
        }

        /// <summary>Ends this session and begins a new one on another shard, or at the initial URL if that shard
        /// fails.</summary>
        public void Visit(string url, double nowMs)
        {
            if (Phase == ConnectionPhase.Open)
            {
                commands.Add(MachineCommand.Send(core.EndSession()));
                commands.Add(MachineCommand.Close(CloseCodes.Normal, "redirected"));
            }
            else if (HasSocket)
            {
                commands.Add(MachineCommand.Close(CloseCodes.Reconnect, "redirected"));
            }

            deadlines.Cancel(Deadlines.Heartbeat);
            core.DiscardSession();
            visitedUrl = url;
            plan.Visit(url, nowMs);
            State = ConnectionState.Connecting;
            NextAttempt(nowMs);
        }

        /// <summary>Records that the session is on another shard. The server closes, and the next attempt goes there.</summary>
        public void Moved(string url)
        {
            plan.Redirected(url);
        }

        /// <summary>Ends the connection for good with this code; 1000 also ends the session.</summary>
        public void Close(int code, string reason)
        {
            if (code == CloseCodes.Normal && Phase == ConnectionPhase.Open)
            {
                commands.Add(MachineCommand.Send(core.EndSession()));
            }

            if (HasSocket)
            {
                commands.Add(MachineCommand.Close(code, reason));
            }

            if (code == CloseCodes.Normal)
            {
                ClearStored();
            }

            CloseReason = reason;
            Finish(Disconnected());
        }

        /// <summary>Breaks the open connection, or an attempt.</summary>
        public void Drop(string reason, double nowMs)
        {
            if (!HasSocket)
            {
                return;
            }

            commands.Add(MachineCommand.Close(CloseCodes.Reconnect, reason));
            if (Phase == ConnectionPhase.Open)
            {
                Lost(null, reason, nowMs);
            }
            else
            {
                Failed(new DisconnectedException(reason), nowMs);
            }
        }

        /// <summary>Checks the path, or attempts to connect at once.</summary>
        public void NetworkChanged(double nowMs)
        {
            if (Phase == ConnectionPhase.Open)
            {
                Probe(nowMs);
            }
            else if (State == ConnectionState.Reconnecting && Phase != ConnectionPhase.Token)
            {
                if (HasSocket) // an attempt on the previous network may hang
                {
                    commands.Add(MachineCommand.Close(CloseCodes.Reconnect, "another attempt"));
                }

                plan.Restart(nowMs);
                RequestToken(nowMs);
            }
        }

        // -- an attempt -------------------------------------------------------------------------------------

        /// <summary>Connects with this token.</summary>
        public void TokenReceived(string received, double nowMs)
        {
            if (Phase != ConnectionPhase.Token)
            {
                return;
            }

            token = PickToken(received);
            if (stored != null)
            {
                Restore(stored, nowMs);
            }

            Phase = ConnectionPhase.Opening;
            Goodbye = null;
            Refusal = null;
            CloseCode = null;
            deadlines.Set(Deadlines.Attempt, nowMs + ConnectMsMax);
            commands.Add(MachineCommand.Connect(Url));
        }

        /// <summary>Of an Authenticate without an answer: Hello has it, because the server may have adopted it.</summary>
        public string LoginToken { get; set; } = "";

        /// <summary>Returns the token with which the session can be renewed; empty if the application has no other
        /// one.</summary>
        public string RenewedToken(string given)
        {
            string picked = PickToken(given);
            return picked == token ? "" : picked;
        }

        /// <summary>Uses the token with which the session has authenticated from now on.</summary>
        public void Authenticated(string accepted)
        {
            token = adoptedToken = accepted;
            replacedToken = givenToken;
            Store();
        }

        /// <summary>Returns the token to use: the application may still return the one that a login has replaced.</summary>
        private string PickToken(string given)
        {
            givenToken = given;
            return given == replacedToken ? adoptedToken : given;
        }

        /// <summary>Counts a failed attempt: the application has no token.</summary>
        public void TokenFailed(string reason, double nowMs)
        {
            if (Phase == ConnectionPhase.Token)
            {
                Failed(new DisconnectedException(reason), nowMs);
            }
        }

        /// <summary>Sends Hello: the WebSocket is open.</summary>
        public void Connected(double nowMs)
        {
            if (Phase != ConnectionPhase.Opening)
            {
                return;
            }

            Phase = ConnectionPhase.Hello;
            deadlines.Set(Deadlines.Attempt, nowMs + HelloMsMax);
            byte[] data;
            try
            {
                data = core.Hello(options.Build, LoginToken != "" ? LoginToken : token);
            }
            catch (ClientException error)
            {
                commands.Add(MachineCommand.Close(CloseCodes.Reconnect, "no Hello")); // the token is too large
                Failed(new DisconnectedException(error.Message), nowMs);
                return;
            }

            if (saved != null && core.Attempt >= saved.Attempt)
            {
                Store();
            }

            commands.Add(MachineCommand.Send(data));
        }

        /// <summary>Counts a failed attempt: the WebSocket could not be opened.</summary>
        public void ConnectFailed(ConnectFailedException error, double nowMs)
        {
            if (Phase == ConnectionPhase.Opening)
            {
                Failed(error, nowMs);
            }
        }

        /// <summary>Counts a failed attempt: the server answered the Hello with an Error.</summary>
        public void Refused(ErrorMessage error, double nowMs)
        {
            commands.Add(MachineCommand.Close(CloseCodes.Reconnect, "refused"));
            Failed(new RefusedException(error), nowMs);
        }

        /// <summary>Begins the session on this connection: the resume token is saved and confirmed.</summary>
        public void Welcomed(WelcomeMessage welcome, double nowMs)
        {
            Phase = ConnectionPhase.Open;
            State = ConnectionState.Connected;
            isFirst = false;
            visitedUrl = "";
            plan.Connected(Url, nowMs);
            deadlines.Cancel(Deadlines.Attempt);
            Store();
            Heartbeat.Reset();
            pingMs = Tickwire.Heartbeat.PingIntervalMs(welcome.HeartbeatIntervalMs);
            Ping(nowMs);
        }

        /// <summary>Handles the end of the newest connection.</summary>
        public void ConnectionLost(int? code, string reason, double nowMs)
        {
            CloseCode = code;
            string text = reason != "" ? reason : code == null ? "no close" : "close code " + code;
            if (Phase == ConnectionPhase.Opening)
            {
                Failed(new ConnectFailedException("cannot connect to " + Url + ": " + text), nowMs);
            }
            else if (Phase == ConnectionPhase.Hello)
            {
                bool mayReturn = !CloseCodes.IsFinal(code, Goodbye);
                Failed(new DisconnectedException("the connection is lost: " + text, mayReturn), nowMs);
            }
            else if (Phase == ConnectionPhase.Open)
            {
                Lost(code, text, nowMs);
            }
        }

        private void NextAttempt(double nowMs)
        {
            ConnectAttempt? attempt = plan.Next(nowMs);
            if (attempt == null)
            {
                CloseReason = "could not reconnect within " + options.ReconnectMs / 1000 + " s: " + CloseReason;
                Finish(new DisconnectedException(CloseReason));
                return;
            }

            Url = attempt.Value.Url;
            if (attempt.Value.PauseMs > 0)
            {
                Phase = ConnectionPhase.Pause;
                deadlines.Set(Deadlines.Attempt, nowMs + attempt.Value.PauseMs);
            }
            else
            {
                RequestToken(nowMs);
            }
        }

        private void RequestToken(double nowMs)
        {
            Phase = ConnectionPhase.Token;
            deadlines.Set(Deadlines.Attempt, nowMs + HelloMsMax);
            commands.Add(MachineCommand.RequestToken());
        }

        private void Failed(ClientException error, double nowMs)
        {
            Phase = ConnectionPhase.Pause;
            CloseReason = error.Message;
            var refused = error as RefusedException;
            var disconnected = error as DisconnectedException;
            // A handshake is always tried again: a proxy may refuse it while it is reloaded.
            bool isFinal = refused != null
                ? !refused.Error.Retryable
                : !disconnected.MayReturn && !(error is ConnectFailedException);
            double advisedMs = refused != null ? refused.Error.RetryAfterMs : Math.Floor(disconnected.RetryAfterMs);
            // Another shard's refusal leads to the initial URL, whose own refusal counts.
            bool isVisit = Url == visitedUrl && Url != options.Url;
            if (isFirst || (isFinal && !isVisit))
            {
                Finish(error);
                return;
            }

            plan.Failed(advisedMs, refused != null);
            NextAttempt(nowMs);
        }

        private void Lost(int? code, string reason, double nowMs)
        {
            Phase = ConnectionPhase.Pause;
            CloseReason = reason;
            deadlines.Cancel(Deadlines.Heartbeat);
            if (options.ReconnectMs <= 0 || CloseCodes.IsFinal(code, Goodbye))
            {
                Finish(Disconnected());
                return;
            }

            plan.Lost(nowMs, CloseCodes.AdviceMs(code, Goodbye, Refusal));
            State = ConnectionState.Reconnecting;
            user.Disconnected(reason);
            NextAttempt(nowMs);
        }

        private void Finish(ClientException error)
        {
            Phase = ConnectionPhase.Closed;
            State = ConnectionState.Closed;
            user.Closed(error);
        }

        // -- time -------------------------------------------------------------------------------------------

        /// <summary>Handles the deadline of an attempt: the pause is over, or a step took too long.</summary>
        public void AttemptDue(double dueMs, double nowMs)
        {
            plan.Extend(nowMs - dueMs);
            switch (Phase)
            {
                case ConnectionPhase.Pause:
                    RequestToken(nowMs);
                    break;
                case ConnectionPhase.Token:
                    Failed(new DisconnectedException("no token in time"), nowMs);
                    break;
                case ConnectionPhase.Opening:
                    commands.Add(MachineCommand.Close(CloseCodes.Reconnect, "no connection in time"));
                    Failed(new ConnectFailedException("cannot connect to " + Url + ": no answer in time"), nowMs);
                    break;
                case ConnectionPhase.Hello:
                    commands.Add(MachineCommand.Close(CloseCodes.Reconnect, "no Welcome in time"));
                    Failed(new DisconnectedException("the server did not answer the Hello"), nowMs);
                    break;
            }
        }

        /// <summary>Handles the deadline of the heartbeat: sends a Ping, or ends a connection on which nothing
        /// arrives.</summary>
        public void HeartbeatDue(double dueMs, double nowMs)
        {
            if (nowMs - dueMs >= pingMs) // the timer was late: the silence proves nothing
            {
                Probe(nowMs);
            }
            else
            {
                Ping(nowMs);
            }
        }

        private void Ping(double nowMs)
        {
            if (!Heartbeat.RecordPing())
            {
                const string Reason = "the server does not answer pings";
                commands.Add(MachineCommand.Close(CloseCodes.Reconnect, Reason));
                Lost(null, Reason, nowMs);
                return;
            }

            if (saved != null && saved.LastEvent != core.LastEvent)
            {
                Store();
            }

            SendPing(nowMs);
        }

        private void Probe(double nowMs)
        {
            Heartbeat.RecordProbe();
            SendPing(nowMs);
        }

        private void SendPing(double nowMs)
        {
            commands.Add(MachineCommand.Send(core.Ping(nowMs)));
            deadlines.Set(Deadlines.Heartbeat, nowMs + pingMs);
        }

        // -- storage ----------------------------------------------------------------------------------------

        /// <summary>Saves the session, if it can be resumed.</summary>
        public void Store()
        {
            if (!options.HasStorage || core.ResumeToken == "")
            {
                return;
            }

            uint attempt = saved == null ? 0 : saved.Attempt;
            ulong commandId = saved == null ? 0 : saved.CommandId;
            saved = new StoredSession
            {
                Url = saved == null || Phase == ConnectionPhase.Open ? plan.Url : saved.Url,
                InitialUrl = options.Url,
                Player = StoredSession.PlayerOf(token),
                ResumeToken = core.ResumeToken,
                LastEvent = core.LastEvent,
                Attempt = core.Attempt < attempt ? attempt : core.Attempt + StoredSession.AttemptsAhead,
                CommandId = core.CommandId < commandId ? commandId : core.CommandId + StoredSession.CommandsAhead,
            };
            commands.Add(MachineCommand.StoreSession(saved.ToText()));
        }

        /// <summary>Saves the session if its saved command id is reached.</summary>
        public void CommandAdded()
        {
            if (saved != null && core.CommandId >= saved.CommandId)
            {
                Store();
            }
        }

        private void Restore(StoredSession session, double nowMs)
        {
            stored = null;
            if (session.Player != StoredSession.PlayerOf(token))
            {
                ClearStored();
                return;
            }

            isFirst = false;
            core.Restore(session.ResumeToken, session.LastEvent, session.Attempt, session.CommandId);
            saved = session;
            visitedUrl = session.Url;
            plan.Visit(session.Url, nowMs);
            ConnectAttempt? attempt = plan.Next(nowMs);
            Url = attempt == null ? session.Url : attempt.Value.Url;
        }

        private void ClearStored()
        {
            saved = null;
            if (options.HasStorage)
            {
                commands.Add(MachineCommand.ClearSession());
            }
        }
    }
}
