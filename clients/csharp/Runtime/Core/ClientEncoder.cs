// Encodes the messages of a client (schemas/client.fbs).

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>Encodes messages, with a buffer that is reused.</summary>
    internal sealed class ClientEncoder
    {
        public const ushort SchemaVersion = 5;
        private readonly FlatBuilder builder = new FlatBuilder();

        public byte[] Hello(in HelloFields fields)
        {
            builder.Clear();
            int build = builder.Text(fields.Build, "build");
            int token = builder.Text(fields.Token, "token");
            int resumeToken = builder.Text(fields.ResumeToken, "resume_token");
            int roomId = builder.Text(fields.RoomId, "room_id");
            builder.StartTable();
            builder.Add(0, SchemaVersion, 2);
            builder.AddOffset(1, build);
            builder.AddOffset(2, token);
            builder.AddOffset(3, resumeToken);
            builder.Add(4, fields.LastTick, 4);
            builder.Add(5, fields.LastEvent, 4);
            builder.AddOffset(6, roomId);
            builder.Add(7, fields.Attempt, 4);
            return builder.Finish(RequestType.Hello, builder.EndTable());
        }

        public byte[] Join(string roomType, JoinOptions options)
        {
            builder.Clear();
            Party party = options.Party ?? default(Party);
            int type = builder.Text(roomType, "room_type");
            int name = builder.Text(options.Name, "room_name");
            int ticket = builder.Text(options.Ticket, "ticket");
            int gameOptions = Map(options.Options);
            int roomId = builder.Text(options.RoomId, "room_id");
            int code = builder.Text(options.Code, "code");
            int labels = Map(options.Labels);
            int partyCode = builder.Text(party.Code, "party");
            builder.StartTable();
            builder.AddOffset(0, type);
            builder.AddOffset(1, name);
            builder.AddOffset(2, ticket);
            builder.AddOffset(3, gameOptions);
            builder.AddOffset(4, roomId);
            builder.AddOffset(5, code);
            builder.Add(6, options.IsPrivate ? 1u : 0u, 1);
            builder.AddOffset(7, labels);
            builder.AddOffset(8, partyCode);
            builder.Add(9, PartySize(party), 1);
            return builder.Finish(RequestType.Join, builder.EndTable());
        }

        public byte[] Leave()
        {
            return Empty(RequestType.Leave);
        }

        /// <summary>Encodes an input. All inputs of a room have the same layout, so their numbers are never absent.</summary>
        public byte[] Input(uint seq, uint tick, byte[] payload)
        {
            builder.Clear();
            int vector = builder.Bytes(payload, payload.Length);
            builder.StartTable();
            builder.Add(0, seq, 4, true);
            builder.Add(1, tick, 4, true);
            builder.AddOffset(2, vector);
            return builder.Finish(RequestType.Input, builder.EndTable());
        }

        public byte[] Command(ulong id, string name, byte[] payload)
        {
            builder.Clear();
            int nameAt = builder.Text(name, "name");
            int vector = builder.Bytes(payload, payload.Length);
            builder.StartTable();
            builder.Add(0, id, 8);
            builder.AddOffset(1, nameAt);
            builder.AddOffset(2, vector);
            return builder.Finish(RequestType.Command, builder.EndTable());
        }

        public byte[] Resync(int channel, uint tick)
        {
            builder.Clear();
            builder.StartTable();
            builder.Add(0, (ulong)channel, 2);
            builder.Add(1, tick, 4);
            return builder.Finish(RequestType.Resync, builder.EndTable());
        }

        public byte[] Ping(ulong clientTimeUs, uint lastEvent, uint generation)
        {
            builder.Clear();
            builder.StartTable();
            builder.Add(0, clientTimeUs, 8);
            builder.Add(1, lastEvent, 4);
            builder.Add(2, generation, 4);
            return builder.Finish(RequestType.Ping, builder.EndTable());
        }

        public byte[] MatchRequest(string mode, MatchOptions options)
        {
            builder.Clear();
            Party party = options.Party ?? default(Party);
            int modeAt = builder.Text(mode, "mode");
            int gameOptions = Map(options.Options);
            int partyCode = builder.Text(party.Code, "party");
            int latencies = Map(options.Latencies);
            int labels = Map(options.Labels);
            builder.StartTable();
            builder.AddOffset(0, modeAt);
            builder.AddOffset(1, gameOptions);
            builder.AddOffset(2, partyCode);
            builder.Add(3, PartySize(party), 1);
            builder.AddOffset(4, latencies);
            builder.AddOffset(5, labels);
            return builder.Finish(RequestType.MatchRequest, builder.EndTable());
        }

        public byte[] MatchCancel()
        {
            return Empty(RequestType.MatchCancel);
        }

        public byte[] EndSession()
        {
            return Empty(RequestType.EndSession);
        }

        public byte[] Authenticate(string token)
        {
            builder.Clear();
            int tokenAt = builder.Text(token, "token");
            builder.StartTable();
            builder.AddOffset(0, tokenAt);
            return builder.Finish(RequestType.Authenticate, builder.EndTable());
        }

        public byte[] ListRooms(uint id, string roomType, IReadOnlyDictionary<string, string> labels, int limit)
        {
            builder.Clear();
            int type = builder.Text(roomType, "room_type");
            int labelsAt = Map(labels);
            builder.StartTable();
            builder.Add(0, id, 4);
            builder.AddOffset(1, type);
            builder.AddOffset(2, labelsAt);
            builder.Add(3, (ulong)Math.Max(0, Math.Min(limit, ushort.MaxValue)), 2);
            return builder.Finish(RequestType.ListRooms, builder.EndTable());
        }

        private byte[] Empty(RequestType type)
        {
            builder.Clear();
            builder.StartTable();
            return builder.Finish(type, builder.EndTable());
        }

        private int Map(object map)
        {
            if (map == null)
            {
                return 0;
            }

            byte[] packed = MessagePack.Encode(map);
            return builder.Bytes(packed, packed.Length);
        }

        private static ulong PartySize(Party party)
        {
            if (party.Size < 0 || party.Size > byte.MaxValue)
            {
                throw new ArgumentException("a party cannot have " + party.Size + " members");
            }

            return (ulong)party.Size;
        }
    }

    internal struct HelloFields
    {
        public string Build;
        public string Token;
        public string ResumeToken;
        public uint LastTick;
        public uint LastEvent;
        public string RoomId;
        public uint Attempt;
    }
}
