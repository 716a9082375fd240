// Tokens of a running session: a guest logs in, and a token is renewed before it expires. One token is checked at a time.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    internal sealed partial class SessionMachine
    {
        private readonly List<PendingCall> authentications = new List<PendingCall>(); // the first one has been sent
        private double renewalUntilMs; // when the token of the session expires

        /// <summary>Logs in during the session, or renews its token.</summary>
        public int Authenticate(string token, double now)
        {
            nowMs = now;
            PendingCall call = NewCall(CallKind.Authenticate);
            AddAuthentication(call, token);
            return call.Number;
        }

        private void AddAuthentication(PendingCall call, string token)
        {
            call.Token = token ?? "";
            if (TryEncode(call, () => call.Request = new Request(RequestType.Authenticate, Core.Authenticate(call.Token))))
            {
                authentications.Add(call);
                if (authentications.Count == 1)
                {
                    BeginAuthentication();
                }
            }
        }

        private void BeginAuthentication()
        {
            PendingCall call = authentications[0];
            if (call.Kind == CallKind.Authenticate)
            {
                Connection.LoginToken = call.Token;
            }

            Begin(call);
        }

        private void RemoveAuthentication(PendingCall call)
        {
            bool wasFirst = authentications.Count > 0 && authentications[0] == call;
            authentications.Remove(call);
            if (!wasFirst)
            {
                return;
            }

            Connection.LoginToken = "";
            if (authentications.Count > 0)
            {
                BeginAuthentication();
            }
        }

        /// <summary>Returns the Error that answers a Hello. One with the token of a login ends the login, not the
        /// session.</summary>
        private ErrorMessage LoginRefused(ErrorMessage error)
        {
            if (error.Retryable || Connection.LoginToken == "")
            {
                return error;
            }

            Reject(authentications[0], new RefusedException(error));
            return error.AsRetryable();
        }

        /// <summary>Requests a new token, now and after a pause, until the token of the session expires.</summary>
        private void RequestRenewal()
        {
            Commands.Add(MachineCommand.RequestToken());
            TryRenewalLater(PendingCall.RenewalMs);
        }

        private void TryRenewalLater(double pauseMs)
        {
            if (nowMs + pauseMs < renewalUntilMs)
            {
                deadlines.Set(Deadlines.Renewal, nowMs + pauseMs);
            }
        }

        private void Renew(string given)
        {
            string token = Connection.RenewedToken(given);
            if (token != "" && FindCall(Deadlines.Renewal) == null)
            {
                var call = new PendingCall(Deadlines.Renewal, CallKind.Renewal);
                calls.Add(call);
                AddAuthentication(call, token);
            }
        }

        private void RenewalFailed(RefusedException refused)
        {
            if (IsConnected && (refused == null || refused.Error.Retryable))
            {
                double adviceMs = refused == null ? 0 : refused.Error.RetryAfterMs;
                TryRenewalLater(Math.Max(PendingCall.RenewalMs, adviceMs));
            }
        }

        /// <summary>Ends a renewal after a reconnect: Hello had a token.</summary>
        private void StopRenewal()
        {
            deadlines.Cancel(Deadlines.Renewal);
            PendingCall renewal = FindCall(Deadlines.Renewal);
            if (renewal != null)
            {
                End(renewal, false);
            }
        }
    }
}
