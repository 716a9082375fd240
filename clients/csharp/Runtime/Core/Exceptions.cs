// The exceptions of the core. The session adds its own below ClientException.

using System;

namespace Tickwire
{
    /// <summary>The base of all exceptions of the client.</summary>
    public class ClientException : Exception
    {
        public ClientException(string message)
            : base(message)
        {
        }

        public ClientException(string message, Exception cause)
            : base(message, cause)
        {
        }
    }

    /// <summary>The bytes are not a message, or do not fit the state that was received before.</summary>
    public sealed class MalformedMessageException : ClientException
    {
        public MalformedMessageException(string message)
            : base(message)
        {
        }

        public MalformedMessageException(string message, Exception cause)
            : base(message, cause)
        {
        }
    }

    /// <summary>A message, or a text in it, is larger than the server accepts. It was not sent.</summary>
    public sealed class MessageTooLargeException : ClientException
    {
        public MessageTooLargeException(string what, int size, int sizeMax)
            : base(what + " has " + size + " bytes; the server accepts at most " + sizeMax)
        {
        }
    }
}
