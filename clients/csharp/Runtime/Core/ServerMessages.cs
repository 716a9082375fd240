// The messages of a server, decoded. The fields are those of schemas/server.fbs.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>A decoded message of the server.</summary>
    public abstract class ServerMessage
    {
    }

    /// <summary>A state frame. The decoder reuses one object: it is valid until the next message.</summary>
    public sealed class StateFrame : ServerMessage
    {
        public const int HasChecksum = 1;
        public const int HasParts = 2;
        public const int IsComplete = 4;

        public uint Tick { get; internal set; }

        public int Channel { get; internal set; }

        /// <summary>The age of the baseline in ticks; 0: there are only keyframes.</summary>
        public int Age { get; internal set; }

        public int Flags { get; internal set; }

        /// <summary>The buffer of the message, which has the packed bytes from `Offset` on.</summary>
        public byte[] Data { get; internal set; }

        public int Offset { get; internal set; }

        public int Count { get; internal set; }
    }

    /// <summary>An acknowledgement of inputs. The decoder reuses one object: it is valid until the next message.</summary>
    public sealed class InputAck : ServerMessage
    {
        public uint Tick { get; internal set; }

        public uint Seq { get; internal set; }
    }

    public sealed class WelcomeMessage : ServerMessage
    {
        public string SessionId { get; internal set; } = "";

        public string ResumeToken { get; internal set; } = "";

        public ulong ServerTimeUs { get; internal set; }

        public uint HeartbeatIntervalMs { get; internal set; }

        public uint MessageBytesMax { get; internal set; }

        public uint InputsPerSecondMax { get; internal set; }

        public uint Generation { get; internal set; }

        public uint ResumeWindowMs { get; internal set; }

        public string RoomId { get; internal set; } = "";

        public bool IsJoining { get; internal set; }

        public uint MessagesPerSecondMax { get; internal set; }

        public uint BytesPerSecondMax { get; internal set; }

        public string LeftReason { get; internal set; } = "";
    }

    public sealed class JoinedMessage : ServerMessage
    {
        public string RoomId { get; internal set; } = "";

        public string RoomType { get; internal set; } = "";

        public string RoomName { get; internal set; } = "";

        public double TickRateHz { get; internal set; }

        public uint Tick { get; internal set; }

        /// <summary>The player's entity; 0: none.</summary>
        public uint Entity { get; internal set; }

        public StateDescription Description { get; internal set; } = new StateDescription();

        /// <summary>The code of a private room; empty: the room has none.</summary>
        public string RoomCode { get; internal set; } = "";

        /// <summary>The team in a match, from 1; 0: the room has no teams.</summary>
        public int Team { get; internal set; }
    }

    public sealed class LeftMessage : ServerMessage
    {
        public string Reason { get; internal set; } = "";
    }

    public sealed class EventMessage : ServerMessage
    {
        public uint Number { get; internal set; }

        public string Name { get; internal set; } = "";

        /// <summary>MessagePack: see <see cref="MessagePack.Decode(byte[])"/>.</summary>
        public byte[] Payload { get; internal set; } = new byte[0];
    }

    public sealed class ReplyMessage : ServerMessage
    {
        public ulong Id { get; internal set; }

        public bool Ok { get; internal set; }

        public ErrorCode Error { get; internal set; }

        public string Message { get; internal set; } = "";

        /// <summary>MessagePack: see <see cref="MessagePack.Decode(byte[])"/>.</summary>
        public byte[] Payload { get; internal set; } = new byte[0];

        /// <summary>Above 0: the outcome is open; the core sends the same id again after this time.</summary>
        public uint RetryAfterMs { get; internal set; }

        /// <summary>Whether the reply is final. Otherwise the core sends the command again.</summary>
        public bool IsDecided
        {
            get
            {
                return Ok || (RetryAfterMs == 0 && Error != ErrorCode.Unavailable && Error != ErrorCode.RateLimited);
            }
        }
    }

    public sealed class PongMessage : ServerMessage
    {
        public ulong ClientTimeUs { get; internal set; }

        public ulong ServerTimeUs { get; internal set; }

        public uint Tick { get; internal set; }
    }

    public sealed class RedirectMessage : ServerMessage
    {
        /// <summary>Empty: join with the ticket on this connection.</summary>
        public string Url { get; internal set; } = "";

        public string Ticket { get; internal set; } = "";

        public string RoomType { get; internal set; } = "";

        public string RoomName { get; internal set; } = "";

        /// <summary>Whether the session continues at the URL, without a Join.</summary>
        public bool IsResume { get; internal set; }
    }

    public enum QueueState : byte
    {
        Waiting = 0,
        Found,
        Cancelled,
        TimedOut,
    }

    public sealed class MatchStatusMessage : ServerMessage
    {
        public QueueState State { get; internal set; }

        /// <summary>From 1, while waiting; 0: not known.</summary>
        public uint Position { get; internal set; }

        public uint EstimateMs { get; internal set; }

        public string Mode { get; internal set; } = "";

        public string Reason { get; internal set; } = "";

        /// <summary>The number of party members that have not sent a request.</summary>
        public int WaitingFor { get; internal set; }
    }

    public sealed class ErrorMessage : ServerMessage
    {
        public ErrorCode Code { get; internal set; }

        public string Message { get; internal set; } = "";

        public uint RetryAfterMs { get; internal set; }

        public int UpgradeTo { get; internal set; }

        public bool Retryable { get; internal set; }

        /// <summary>The message that failed; None: the error is not about a message.</summary>
        public RequestType RequestType { get; internal set; }

        /// <summary>Returns this error as one after which the client tries again.</summary>
        internal ErrorMessage AsRetryable()
        {
            return new ErrorMessage
            {
                Code = Code, Message = Message, RetryAfterMs = RetryAfterMs, UpgradeTo = UpgradeTo, Retryable = true,
                RequestType = RequestType,
            };
        }

        /// <summary>Returns whether this answers a request of a type. Older servers do not name the request.</summary>
        public bool IsAnswerTo(RequestType request)
        {
            if (RequestType != RequestType.None)
            {
                return RequestType == request;
            }

            return Code != ErrorCode.RateLimited && Code != ErrorCode.Unsupported && Code != ErrorCode.Resync;
        }
    }

    public sealed class GoodbyeMessage : ServerMessage
    {
        public ErrorCode Code { get; internal set; }

        public string Message { get; internal set; } = "";

        public bool ComeBack { get; internal set; }

        public uint RetryAfterMs { get; internal set; }
    }

    public sealed class RateMessage : ServerMessage
    {
        public int TicksPerUpdate { get; internal set; }

        public bool KeyframesOnly { get; internal set; }
    }

    /// <summary>A room that any player may join.</summary>
    public sealed class OpenRoom
    {
        public string RoomId { get; internal set; } = "";

        /// <summary>Those in the room, and the seats that are reserved.</summary>
        public uint Players { get; internal set; }

        public uint MaxPlayers { get; internal set; }

        public IReadOnlyDictionary<string, string> Labels { get; internal set; } = new Dictionary<string, string>();
    }

    public sealed class RoomListMessage : ServerMessage
    {
        public uint Id { get; internal set; }

        public IReadOnlyList<OpenRoom> Rooms { get; internal set; } = new OpenRoom[0];
    }

    /// <summary>The answer to Authenticate: the session is this player's.</summary>
    public sealed class AuthenticatedMessage : ServerMessage
    {
        public string PlayerId { get; internal set; } = "";

        /// <summary>The time until the token expires; 0 if it does not.</summary>
        public uint ExpiresInMs { get; internal set; }
    }

    public sealed class TokenExpiringMessage : ServerMessage
    {
        /// <summary>The time until the token expires; 0 if it has expired.</summary>
        public uint ExpiresInMs { get; internal set; }
    }
}
