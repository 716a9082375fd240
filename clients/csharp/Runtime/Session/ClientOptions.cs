// The options of a client.

using System;
using System.Threading.Tasks;

namespace Tickwire
{
    public sealed class ClientOptions
    {
        /// <summary>The player's token; empty for a guest.</summary>
        public string Token { get; set; } = "";

        /// <summary>Returns the player's token; called for every connection. It precedes <see cref="Token"/>.</summary>
        public Func<Task<string>> TokenProvider { get; set; }

        /// <summary>The game's version, for the server's logs.</summary>
        public string Build { get; set; } = "tickwire-csharp";

        /// <summary>How long the client tries to reconnect after a lost connection; zero disables reconnecting.</summary>
        public TimeSpan Reconnect { get; set; } = TimeSpan.FromSeconds(60);

        /// <summary>Keeps the session over restarts of the program; null: the session ends with the program.</summary>
        public ISessionStorage SessionStorage { get; set; }

        /// <summary>Whether the app calls <see cref="TickwireClient.Poll"/> itself, for example once a frame: all events are
        /// then raised there. Otherwise Unity's main thread does, and in plain .NET a thread of the client.</summary>
        public bool IsPolled { get; set; }

        /// <summary>Creates a connection; by default the WebSocket of the platform.</summary>
        public Func<ITransport> CreateTransport { get; set; }

        /// <summary>Returns a copy with another source of the token.</summary>
        internal ClientOptions WithProvider(Func<Task<string>> provider)
        {
            var copy = (ClientOptions)MemberwiseClone();
            copy.TokenProvider = provider;
            return copy;
        }
    }
}
