// The codes of errors and of requests, with their values on the wire and their names in the other clients.

namespace Tickwire
{
    /// <summary>The reason why a request failed or a connection ends.</summary>
    public enum ErrorCode : byte
    {
        Internal = 0,
        Malformed,
        Unsupported,
        UpgradeRequired,
        Unauthorized,
        OutOfOrder,
        RateLimited,
        NoSuchRoomType,
        NoSuchRoom,
        RoomFull,
        RoomClosed,
        Unavailable,
        StaleEpoch,
        HandshakeTimeout,
        CommandFailed,
        Replaced,
        AlreadyConnected,
        Resync,
        CommandTooOld,
        RoomLocked,
        NoSuchMode,
        Kicked,
        Banned,
        KeyReused,
        StateTooLarge,
        RoomFailed,
        InvalidArgument,
        NoSuchCommand,
    }

    /// <summary>The messages of a client, by their tags in the union ClientBody.</summary>
    public enum RequestType : byte
    {
        None = 0,
        Hello,
        Join,
        Leave,
        Input,
        Command,
        Resync,
        Ping,
        MatchRequest,
        MatchCancel,
        EndSession,
        ListRooms,
        Authenticate,
    }

    /// <summary>Converts codes between the wire, this client and the names that all clients share.</summary>
    public static class ErrorCodes
    {
        // An enumeration finds its names by reflection, which a stripped build may lack.
        private static readonly string[] Names =
        {
            "INTERNAL", "MALFORMED", "UNSUPPORTED", "UPGRADE_REQUIRED", "UNAUTHORIZED", "OUT_OF_ORDER", "RATE_LIMITED",
            "NO_SUCH_ROOM_TYPE", "NO_SUCH_ROOM", "ROOM_FULL", "ROOM_CLOSED", "UNAVAILABLE", "STALE_EPOCH",
            "HANDSHAKE_TIMEOUT", "COMMAND_FAILED", "REPLACED", "ALREADY_CONNECTED", "RESYNC", "COMMAND_TOO_OLD",
            "ROOM_LOCKED", "NO_SUCH_MODE", "KICKED", "BANNED", "KEY_REUSED", "STATE_TOO_LARGE", "ROOM_FAILED",
            "INVALID_ARGUMENT", "NO_SUCH_COMMAND",
        };

        /// <summary>Returns the name of a code as in the protocol, such as "RATE_LIMITED".</summary>
        public static string Name(ErrorCode code)
        {
            return Names[(int)code < Names.Length ? (int)code : 0];
        }

        /// <summary>Returns the code; Internal for a code of a newer server.</summary>
        public static ErrorCode FromWire(byte code)
        {
            return code < Names.Length ? (ErrorCode)code : ErrorCode.Internal;
        }
    }
}
