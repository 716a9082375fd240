// The values of a client's events that are no messages of the protocol.

namespace Tickwire
{
    /// <summary>An event of the room.</summary>
    public readonly struct RoomEvent
    {
        public RoomEvent(string name, object payload)
        {
            Name = name;
            Payload = payload;
        }

        public string Name { get; }

        /// <summary>The decoded payload: see <see cref="MessagePack.Decode(byte[])"/>.</summary>
        public object Payload { get; }
    }

    /// <summary>The reply to a report of this player.</summary>
    public readonly struct Report
    {
        public Report(string reportId, bool isRecorded)
        {
            ReportId = reportId;
            IsRecorded = isRecorded;
        }

        /// <summary>The number of the report, for the game's support.</summary>
        public string ReportId { get; }

        /// <summary>Whether the last seconds of the room are stored.</summary>
        public bool IsRecorded { get; }
    }
}
