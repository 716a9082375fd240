// Plans when and where a client reconnects. The rules are documented in docs/clients.md, "The connection".

using System;

namespace Tickwire
{
    /// <summary>The next attempt to connect, after a pause.</summary>
    internal readonly struct ConnectAttempt
    {
        public readonly string Url;
        public readonly double PauseMs;

        public ConnectAttempt(string url, double pauseMs)
        {
            Url = url;
            PauseMs = pauseMs;
        }
    }

    /// <summary>Plans the attempts to reconnect one session, over all of its connections.</summary>
    /// <remarks>A *series* begins when a stable connection is lost. It has a deadline and growing pauses.</remarks>
    internal sealed class ReconnectPlan
    {
        /// <summary>The limit of consecutive Redirects. More of them mean that shards redirect the session in a
        /// circle.</summary>
        public const int RedirectsMax = 5;

        /// <summary>The first attempt that goes to the initial URL, as does every second one after it: the shard may be
        /// gone.</summary>
        private const int InitialUrlAttemptFirst = 4;

        /// <summary>A connection that is lost before this time continues the previous series of attempts.</summary>
        private const double StableConnectionMs = 5000;

        /// <summary>The least time in which a client that left its session for another shard tries to open a new
        /// one.</summary>
        private const double VisitMs = 10000;

        private readonly string initialUrl;
        private readonly double reconnectMs;
        private readonly Func<double> random;
        private Backoff backoff;
        private double? deadlineMs;
        private double connectedMs;
        private int attempts;
        private int redirects;
        private double adviceMs;
        private bool wasInitialUrl;
        private bool staysAtInitialUrl;
        private string nextUrl = ""; // the target of a Redirect, until the attempt

        public ReconnectPlan(string initialUrl, double reconnectMs, Func<double> random)
        {
            Url = initialUrl;
            this.initialUrl = initialUrl;
            this.reconnectMs = reconnectMs;
            this.random = random;
            backoff = new Backoff(random);
        }

        /// <summary>The last known address of the session's shard.</summary>
        public string Url { get; private set; }

        /// <summary>Records that the session has a connection.</summary>
        public void Connected(string url, double nowMs)
        {
            Url = url;
            connectedMs = nowMs;
        }

        /// <summary>Records that the connection was lost, and how long the server asked to wait.</summary>
        public void Lost(double nowMs, double advisedMs)
        {
            if (deadlineMs == null || nowMs - connectedMs >= StableConnectionMs)
            {
                Begin(nowMs, reconnectMs);
            }

            attempts = 0;
            adviceMs = advisedMs;
            staysAtInitialUrl = false;
        }

        /// <summary>Records that the session moved to another shard: the next attempt goes there, without a pause.</summary>
        public void Redirected(string url)
        {
            Url = nextUrl = url;
        }

        /// <summary>Begins a series for a new session on another shard.</summary>
        /// <remarks>The first attempt goes there, without a pause. If it fails, later ones go to the initial URL: the shard may
        /// be dead.</remarks>
        public void Visit(string url, double nowMs)
        {
            Begin(nowMs, Math.Max(reconnectMs, VisitMs));
            Url = initialUrl;
            nextUrl = url;
        }

        /// <summary>Records that the last attempt failed.</summary>
        /// <param name="advisedMs">The delay that the server advised; 0 without advice.</param>
        /// <param name="wasRefused">The server answered with a retryable error. If this was the initial URL, later attempts
        /// skip the session's shard, which does not answer.</param>
        public void Failed(double advisedMs, bool wasRefused)
        {
            adviceMs = advisedMs;
            if (wasRefused)
            {
                staysAtInitialUrl = wasInitialUrl;
            }
        }

        /// <summary>Moves the deadline: the client's timers were late by this time (a hidden page, a suspended
        /// laptop).</summary>
        public void Extend(double ms)
        {
            deadlineMs += ms;
        }

        /// <summary>Begins the series again, with short pauses: the network may work again.</summary>
        public void Restart(double nowMs)
        {
            Begin(nowMs, reconnectMs);
        }

        /// <summary>Returns the next attempt; null if it would begin after the deadline of the series.</summary>
        public ConnectAttempt? Next(double nowMs)
        {
            string url = nextUrl;
            nextUrl = "";
            if (url != "" && redirects < RedirectsMax)
            {
                redirects++;
                attempts = 0;
                staysAtInitialUrl = wasInitialUrl = false;
                return new ConnectAttempt(url, 0);
            }

            double pauseMs = backoff.NextMs(adviceMs);
            if (deadlineMs == null || nowMs + pauseMs > deadlineMs)
            {
                return null;
            }

            attempts++;
            bool isInitialTurn = attempts >= InitialUrlAttemptFirst && attempts % 2 == 0;
            wasInitialUrl = staysAtInitialUrl || isInitialTurn;
            return new ConnectAttempt(wasInitialUrl ? initialUrl : Url, pauseMs);
        }

        private void Begin(double nowMs, double durationMs)
        {
            deadlineMs = nowMs + durationMs;
            backoff = new Backoff(random);
            attempts = redirects = 0;
            adviceMs = 0;
            staysAtInitialUrl = false;
        }
    }
}
