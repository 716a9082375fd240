// Decodes the messages of a server: tables, and the three structs that have no offsets (schemas/server.fbs).

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>Decodes messages. State frames and acknowledgements are objects that the next call overwrites.</summary>
    internal sealed class ServerDecoder
    {
        private const int StateFrameKind = 1;
        private const int DeltaFrameKind = 3;
        private const int InputAckKind = 5;
        private const int KindBits = 3;
        private const int TagMax = 14;
        private readonly FlatReader reader = new FlatReader();
        private readonly StateFrame state = new StateFrame();
        private readonly InputAck ack = new InputAck();

        /// <summary>Decodes one message; null for a type of a newer server.</summary>
        /// <param name="data">The buffer of the message.</param>
        /// <param name="offset">The position of the message in the buffer.</param>
        /// <param name="count">The size of the message.</param>
        /// <param name="lastTick">The tick of the client's last frame: a delta has the lowest 16 bits of its tick.</param>
        /// <param name="lastSeq">The number of the client's last input.</param>
        /// <exception cref="MalformedMessageException">The bytes are not a message.</exception>
        public ServerMessage Decode(byte[] data, int offset, int count, uint lastTick, uint lastSeq)
        {
            reader.Open(data, offset, count);

            // A table begins with the offset of its root, a multiple of four; the kinds of structs are odd.
            if (count > 0 && (data[offset] & 1) != 0)
            {
                return ReadStruct(data, offset, count, lastTick, lastSeq);
            }

            FlatTable root = reader.Root();
            if (root.Find(0) != 0)
            {
                return ReadTableFrame(root);
            }

            int ackAt = root.Find(2);
            if (ackAt != 0)
            {
                ack.Tick = reader.U32(ackAt);
                ack.Seq = reader.U32(ackAt + 4);
                return ack;
            }

            if (root.Find(3) == 0 || root.Find(4) == 0)
            {
                throw new MalformedMessageException("the message has no body");
            }

            int tag = root.U8(3);
            FlatTable body;
            return tag >= 1 && tag <= TagMax && root.Table(4, out body) ? ReadBody(tag, body) : null;
        }

        private ServerMessage ReadStruct(byte[] data, int offset, int count, uint lastTick, uint lastSeq)
        {
            int kind = data[offset] & ((1 << KindBits) - 1);
            if (kind == DeltaFrameKind && count >= 4)
            {
                SetFrame(data, offset + 4, count - 4);
                state.Tick = Nearest(reader.U16(2), lastTick);
                state.Channel = 0;
            }
            else if (kind == StateFrameKind && count >= 8)
            {
                SetFrame(data, offset + 8, count - 8);
                state.Tick = reader.U32(4);
                state.Channel = reader.U16(2);
            }
            else if (kind == InputAckKind && count == 8)
            {
                ack.Tick = reader.U32(4);
                ack.Seq = Nearest(reader.U16(2), lastSeq);
                return ack;
            }
            else if (kind > InputAckKind)
            {
                return null;
            }
            else
            {
                throw new MalformedMessageException("a struct of kind " + kind + " cannot have " + count + " bytes");
            }

            state.Age = data[offset + 1];
            state.Flags = data[offset] >> KindBits;
            return state;
        }

        private void SetFrame(byte[] data, int offset, int count)
        {
            state.Data = data;
            state.Offset = offset;
            state.Count = count;
        }

        /// <summary>Returns the u32 with these lowest 16 bits that is nearest to a known one.</summary>
        private static uint Nearest(ushort low, uint known)
        {
            long number = known + ((low - (long)known + 0x8000) & 0xffff) - 0x8000;
            if (number < 0)
            {
                number += 0x10000;
            }

            return (uint)(number <= uint.MaxValue ? number : number - 0x10000);
        }

        /// <summary>Reads a state frame in a table, from a server of schema version 3.</summary>
        private StateFrame ReadTableFrame(FlatTable root)
        {
            int at = root.Find(0);
            reader.Check(at, 8);
            state.Tick = reader.U32(at);
            state.Channel = reader.U16(at + 4);
            state.Age = reader.U8(at + 6);
            state.Flags = reader.U8(at + 7);
            int packedAt = root.Find(1);
            if (packedAt == 0)
            {
                SetFrame(new byte[0], 0, 0);
            }
            else
            {
                var packed = reader.Slice(packedAt);
                SetFrame(packed.Array, packed.Offset, packed.Count);
            }

            return state;
        }

        private static ServerMessage ReadBody(int tag, FlatTable body)
        {
            switch (tag)
            {
                case 1:
                    return ReadWelcome(body);
                case 2:
                    return ReadJoined(body);
                case 3:
                    return new LeftMessage { Reason = body.Text(0) };
                case 4:
                    return new EventMessage { Number = body.U32(0), Name = body.Text(1), Payload = body.Bytes(2) };
                case 5:
                    return ReadReply(body);
                case 6:
                    return new PongMessage { ClientTimeUs = body.U64(0), ServerTimeUs = body.U64(1), Tick = body.U32(2) };
                case 7:
                    return ReadRedirect(body);
                case 8:
                    return ReadMatchStatus(body);
                case 9:
                    return ReadError(body);
                case 10:
                    return ReadGoodbye(body);
                case 11:
                    return new RateMessage { TicksPerUpdate = body.U8(0), KeyframesOnly = body.Bool(1) };
                case 12:
                    return ReadRoomList(body);
                case 13:
                    return new AuthenticatedMessage { PlayerId = body.Text(0), ExpiresInMs = body.U32(1) };
                default:
                    return new TokenExpiringMessage { ExpiresInMs = body.U32(0) };
            }
        }

        private static WelcomeMessage ReadWelcome(FlatTable body)
        {
            return new WelcomeMessage
            {
                SessionId = body.Text(0),
                ResumeToken = body.Text(1),
                ServerTimeUs = body.U64(2),
                HeartbeatIntervalMs = body.U32(3),
                MessageBytesMax = body.U32(4),
                InputsPerSecondMax = body.U32(5),
                Generation = body.U32(6),
                ResumeWindowMs = body.U32(7),
                RoomId = body.Text(8),
                IsJoining = body.Bool(9),
                MessagesPerSecondMax = body.U32(10),
                BytesPerSecondMax = body.U32(11),
                LeftReason = body.Text(12),
            };
        }

        private static JoinedMessage ReadJoined(FlatTable body)
        {
            FlatTable description;
            bool isDescribed = body.Table(6, out description);
            return new JoinedMessage
            {
                RoomId = body.Text(0),
                RoomType = body.Text(1),
                RoomName = body.Text(2),
                TickRateHz = body.F32(3),
                Tick = body.U32(4),
                Entity = body.U32(5),
                Description = isDescribed ? ReadDescription(description) : new StateDescription(),
                RoomCode = body.Text(7),
                Team = body.U8(8),
            };
        }

        private static StateDescription ReadDescription(FlatTable from)
        {
            FlatVector vector = from.Vector(0);
            var tables = new TableDescription[vector.Count];
            for (int index = 0; index < tables.Length; index++)
            {
                FlatTable table = vector.Table(index);
                tables[index] = new TableDescription
                {
                    Name = table.Text(0),
                    Fields = ReadFields(table.Vector(1)),
                    Groups = ReadGroups(table.Vector(2)),
                };
            }

            return new StateDescription { Tables = tables, Inputs = ReadFields(from.Vector(1)) };
        }

        private static FieldDescription[] ReadFields(FlatVector vector)
        {
            var fields = new FieldDescription[vector.Count];
            for (int index = 0; index < fields.Length; index++)
            {
                FlatTable field = vector.Table(index);
                FlatVector labelVector = field.Vector(6);
                var labels = new string[labelVector.Count];
                for (int label = 0; label < labels.Length; label++)
                {
                    labels[label] = labelVector.Text(label);
                }

                int kind = field.U8(1);
                if (kind > (int)FieldKind.Blob)
                {
                    throw new MalformedMessageException(kind + " is not a kind of field");
                }

                fields[index] = new FieldDescription
                {
                    Name = field.Text(0),
                    Kind = (FieldKind)kind,
                    Bits = field.U8(2),
                    Low = field.F64(3),
                    High = field.F64(4),
                    Step = field.F64(5),
                    Labels = labels,
                    BytesMax = field.U16(7),
                };
            }

            return fields;
        }

        /// <summary>Reads groups. Those of an unknown kind are left out: their fields are read one by one.</summary>
        private static IReadOnlyList<GroupDescription> ReadGroups(FlatVector vector)
        {
            var groups = new List<GroupDescription>(vector.Count);
            for (int index = 0; index < vector.Count; index++)
            {
                FlatTable group = vector.Table(index);
                int kind = group.U8(1);
                if (kind <= (int)GroupKind.Quaternion)
                {
                    groups.Add(new GroupDescription
                    {
                        Name = group.Text(0),
                        Kind = (GroupKind)kind,
                        First = group.U16(2),
                        Size = group.U8(3),
                    });
                }
            }

            return groups;
        }

        private static ReplyMessage ReadReply(FlatTable body)
        {
            return new ReplyMessage
            {
                Id = body.U64(0),
                Ok = body.Bool(1),
                Error = ErrorCodes.FromWire(body.U8(2)),
                Message = body.Text(3),
                Payload = body.Bytes(4),
                RetryAfterMs = body.U32(5),
            };
        }

        private static RedirectMessage ReadRedirect(FlatTable body)
        {
            return new RedirectMessage
            {
                Url = body.Text(0),
                Ticket = body.Text(1),
                RoomType = body.Text(2),
                RoomName = body.Text(3),
                IsResume = body.Bool(4),
            };
        }

        private static MatchStatusMessage ReadMatchStatus(FlatTable body)
        {
            int state = body.U8(0);
            if (state > (int)QueueState.TimedOut)
            {
                throw new MalformedMessageException(state + " is not a state of the queue");
            }

            return new MatchStatusMessage
            {
                State = (QueueState)state,
                Position = body.U32(1),
                EstimateMs = body.U32(2),
                Mode = body.Text(3),
                Reason = body.Text(4),
                WaitingFor = body.U8(5),
            };
        }

        private static ErrorMessage ReadError(FlatTable body)
        {
            return new ErrorMessage
            {
                Code = ErrorCodes.FromWire(body.U8(0)),
                Message = body.Text(1),
                RetryAfterMs = body.U32(2),
                UpgradeTo = body.U16(3),
                Retryable = body.Bool(4),
                RequestType = (RequestType)body.U8(5),
            };
        }

        private static GoodbyeMessage ReadGoodbye(FlatTable body)
        {
            return new GoodbyeMessage
            {
                Code = ErrorCodes.FromWire(body.U8(0)),
                Message = body.Text(1),
                ComeBack = body.Bool(2),
                RetryAfterMs = body.U32(3),
            };
        }

        private static RoomListMessage ReadRoomList(FlatTable body)
        {
            FlatVector vector = body.Vector(1);
            var rooms = new OpenRoom[vector.Count];
            for (int index = 0; index < rooms.Length; index++)
            {
                FlatTable room = vector.Table(index);
                rooms[index] = new OpenRoom
                {
                    RoomId = room.Text(0),
                    Players = room.U32(1),
                    MaxPlayers = room.U32(2),
                    Labels = ReadLabels(room.Bytes(3)),
                };
            }

            return new RoomListMessage { Id = body.U32(0), Rooms = rooms };
        }

        private static IReadOnlyDictionary<string, string> ReadLabels(byte[] packed)
        {
            var labels = new Dictionary<string, string>();
            var decoded = MessagePack.Decode(packed);
            var map = decoded as Dictionary<string, object>;
            if (map == null && decoded != null)
            {
                throw new MalformedMessageException("the labels of a room are not a map");
            }

            if (map != null)
            {
                foreach (KeyValuePair<string, object> entry in map)
                {
                    var label = entry.Value as string;
                    if (label == null)
                    {
                        throw new MalformedMessageException("the label " + entry.Key + " is not a text");
                    }

                    labels[entry.Key] = label;
                }
            }

            return labels;
        }
    }
}
