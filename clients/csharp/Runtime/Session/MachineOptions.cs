// The options of a session machine, and the states of its connection.

namespace Tickwire
{
    /// <summary>The state of a client's connection.</summary>
    public enum ConnectionState
    {
        Connecting,
        Connected,
        Reconnecting,
        Closed,
    }

    internal sealed class MachineOptions
    {
        /// <summary>The address of the first connection.</summary>
        public string Url = "";

        /// <summary>The game's version.</summary>
        public string Build = "";

        /// <summary>How long the client tries to reconnect; 0 disables reconnecting.</summary>
        public double ReconnectMs = 60000;

        /// <summary>Whether StoreSession and ClearSession are returned.</summary>
        public bool HasStorage;
    }

    /// <summary>The phase of a connection; see ConnectionMachine.</summary>
    internal enum ConnectionPhase
    {
        Closed,
        Pause,
        Token,
        Opening,
        Hello,
        Open,
    }
}
