// Pending requests, and the updates that answer them.
//
// An Error ends only the request that it answers. After a reconnect a request is sent again, unless the server is still
// processing it.

namespace Tickwire
{
    /// <summary>One pending request: a Join, Leave, MatchRequest, ListRooms or Authenticate.</summary>
    internal sealed class Request
    {
        public readonly RequestType Type;
        public readonly byte[] Data;
        private readonly uint id; // of a ListRooms

        public Request(RequestType type, byte[] data, uint id = 0)
        {
            Type = type;
            Data = data;
            this.id = id;
        }

        /// <summary>Returns whether an update answers this request.</summary>
        public bool IsAnswer(Update update)
        {
            switch (update.Kind)
            {
                case UpdateKind.ErrorReceived:
                    return ((ErrorReceived)update).Error.IsAnswerTo(Type);
                case UpdateKind.SeatTaken:
                    return Type == RequestType.Join && !((SeatTaken)update).IsSameRoom;
                case UpdateKind.SeatLost:
                    return Type == RequestType.Leave;
                case UpdateKind.Redirected:
                    return IsAnswer((Redirected)update);
                case UpdateKind.RoomsListed:
                    return Type == RequestType.ListRooms && ((RoomsListed)update).Answer.Id == id;
                case UpdateKind.SessionAuthenticated:
                    return Type == RequestType.Authenticate;
                case UpdateKind.QueueChanged:
                    return Type == RequestType.MatchRequest && ((QueueChanged)update).IsEnd;
                default:
                    return false;
            }
        }

        /// <summary>Returns whether the answer follows on the new connection, without sending the request again.</summary>
        public bool IsInFlight(Welcomed update)
        {
            return Type == RequestType.Join && update.IsJoinInFlight;
        }

        private bool IsAnswer(Redirected update)
        {
            bool isForSession = update.IsMove || update.Redirect.IsResume;
            return !isForSession && Type == (update.IsMatch ? RequestType.MatchRequest : RequestType.Join);
        }
    }
}
