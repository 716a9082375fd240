// The options of a client of accounts.

using System;

namespace Tickwire
{
    public sealed class AccountOptions
    {
        /// <summary>Keeps the login between runs of the program; null: it ends with the program. Use another file or key than
        /// that of the session. Its text logs the player in: it is as secret as a password.</summary>
        public ISessionStorage Storage { get; set; }

        /// <summary>Makes the requests; by default the HTTP client of the platform.</summary>
        public IHttpTransport Http { get; set; }

        /// <summary>A monotonic clock, milliseconds.</summary>
        public Func<double> NowMs { get; set; } = () => TickwireClient.NowMs;

        /// <summary>The clock of the computer, for tests.</summary>
        internal Func<DateTime> UtcNow { get; set; } = () => DateTime.UtcNow;
    }
}
