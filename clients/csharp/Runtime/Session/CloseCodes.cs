// The WebSocket close codes that decide whether a client reconnects. See docs/protocol.md, "Errors and closing".

namespace Tickwire
{
    internal static class CloseCodes
    {
        /// <summary>The session ends.</summary>
        public const int Normal = 1000;

        /// <summary>A message of the server cannot be decoded.</summary>
        public const int ProtocolError = 1002;

        /// <summary>The client closes this connection, and keeps the session.</summary>
        public const int Reconnect = 4000;
        private const int Unavailable = 4002;
        private const int RateLimited = 4004;

        /// <summary>Returns whether the server closed the connection for good.</summary>
        /// <param name="code">The close code; null if the connection broke without a close.</param>
        /// <param name="goodbye">The server's Goodbye, if it sent one; it takes precedence over the code.</param>
        public static bool IsFinal(int? code, GoodbyeMessage goodbye)
        {
            if (goodbye != null)
            {
                return !goodbye.ComeBack;
            }

            switch (code)
            {
                case 1000:
                case 1002:
                case 1003:
                case 1007:
                case 1008:
                case 1009:
                    return true;
                default:
                    return code >= 4500 && code <= 4999;
            }
        }

        /// <summary>Returns the delay that the server advised before the next connection; 0 without advice.</summary>
        /// <param name="code">The close code.</param>
        /// <param name="goodbye">The server's Goodbye on the connection, if it sent one.</param>
        /// <param name="refusal">The newest Error on the connection. It counts only if the close code refers to it.</param>
        public static double AdviceMs(int? code, GoodbyeMessage goodbye, ErrorMessage refusal)
        {
            if (goodbye != null)
            {
                return goodbye.RetryAfterMs;
            }

            return refusal != null && (code == Unavailable || code == RateLimited) ? refusal.RetryAfterMs : 0;
        }
    }
}
