// The options of a join and of a match request.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>A party: a code that friends share, and their number.</summary>
    public readonly struct Party
    {
        public Party(string code, int size)
        {
            Code = code;
            Size = size;
        }

        public string Code { get; }

        public int Size { get; }
    }

    /// <summary>Selects a room: by ticket, id, code or name, in this order, or else any open room of the type.</summary>
    public sealed class JoinOptions
    {
        public string Name { get; set; } = "";

        public string RoomId { get; set; } = "";

        public string Code { get; set; } = "";

        /// <summary>Creates a room that can be joined only with its code.</summary>
        public bool IsPrivate { get; set; }

        /// <summary>Only rooms with these labels.</summary>
        public IReadOnlyDictionary<string, string> Labels { get; set; }

        /// <summary>All members get seats in one room, or none of them does.</summary>
        public Party? Party { get; set; }

        /// <summary>Passed to the room's on_join: a map that <see cref="MessagePack"/> can encode.</summary>
        public object Options { get; set; }

        /// <summary>From a Redirect.</summary>
        public string Ticket { get; set; } = "";
    }

    /// <summary>The requirements for a match.</summary>
    public sealed class MatchOptions
    {
        /// <summary>The members are matched together, once all of them are queued.</summary>
        public Party? Party { get; set; }

        /// <summary>Round trips in milliseconds by region; without it only the shard's region counts.</summary>
        public IReadOnlyDictionary<string, double> Latencies { get; set; }

        /// <summary>Labels that the match must have.</summary>
        public IReadOnlyDictionary<string, string> Labels { get; set; }

        /// <summary>Passed to the room's on_join: a map that <see cref="MessagePack"/> can encode.</summary>
        public object Options { get; set; }
    }
}
