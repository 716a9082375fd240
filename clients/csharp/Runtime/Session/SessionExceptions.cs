// The exceptions of the session.
//
//     ClientException              the base class
//     ├── DisconnectedException    the connection is closed for good, or could not be opened
//     │   └── ConnectFailedException   the connection could not be opened
//     ├── RefusedException         the server refused a request; Error has the reason
//     ├── NotMatchedException      the player left the matchmaking queue without a match
//     ├── CommandFailedException   the room rejected a command
//     ├── SessionLostException     the server did not keep the session: the client is in no room
//     ├── MessageTooLargeException     the server would not accept the message, and it was not sent
//     └── MalformedMessageException    the bytes are not a message
//
// A call without an answer in time fails with System.TimeoutException.

namespace Tickwire
{
    /// <summary>The connection is closed for good, or could not be opened.</summary>
    public class DisconnectedException : ClientException
    {
        public DisconnectedException(string message, bool mayReturn = true, double retryAfterMs = 0)
            : base(message)
        {
            MayReturn = mayReturn;
            RetryAfterMs = retryAfterMs;
        }

        /// <summary>Whether the caller may try again.</summary>
        public bool MayReturn { get; }

        /// <summary>The delay that the server advised; 0 without advice.</summary>
        public double RetryAfterMs { get; }
    }

    /// <summary>The connection could not be opened.</summary>
    public sealed class ConnectFailedException : DisconnectedException
    {
        public ConnectFailedException(string message, double retryAfterMs = 0)
            : base(message, true, retryAfterMs)
        {
        }
    }

    /// <summary>The server refused a request; `Error` has the reason, and whether and when to retry.</summary>
    public sealed class RefusedException : ClientException
    {
        public RefusedException(ErrorMessage error)
            : base(ErrorCodes.Name(error.Code) + ": " + error.Message)
        {
            Error = error;
        }

        public ErrorMessage Error { get; }

        public ErrorCode Code
        {
            get { return Error.Code; }
        }
    }

    /// <summary>The room rejected a command.</summary>
    public sealed class CommandFailedException : ClientException
    {
        public CommandFailedException(ReplyMessage reply)
            : base(ErrorCodes.Name(reply.Error) + ": " + reply.Message)
        {
            Reply = reply;
        }

        public ReplyMessage Reply { get; }

        public ErrorCode Code
        {
            get { return Reply.Error; }
        }
    }

    /// <summary>The player left the queue without a match; `Reason` says why: cancelled, timed out, a friend left.</summary>
    public sealed class NotMatchedException : ClientException
    {
        public NotMatchedException(QueueState state, string reason)
            : base(state + ": " + reason)
        {
            State = state;
            Reason = reason;
        }

        public QueueState State { get; }

        public string Reason { get; }
    }

    /// <summary>The server did not keep the session. The client is in no room; whether a command ran is unknown.</summary>
    public sealed class SessionLostException : ClientException
    {
        public SessionLostException(string message)
            : base(message)
        {
        }
    }
}
