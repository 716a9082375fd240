// Applies state frames to the mirrored world of the room, and recovers from frames that cannot be applied.
//
// A delta needs the frame before it. After a frame that is missing, malformed or has a wrong checksum, the receiver requests a
// keyframe of the channel and ignores the channel's deltas until the keyframe arrives:
//
//     current --wrong baseline, malformed, wrong checksum--> awaiting a keyframe --keyframe, resume, new room--> current

using System.Collections.Generic;

namespace Tickwire
{
    internal sealed class StateReceiver
    {
        /// <summary>The number of ticks after which a keyframe that did not arrive is requested again.</summary>
        private const int ResyncAgainTicks = 64;
        private readonly List<byte[]> outgoing;
        private readonly ClientEncoder encoder;
        private readonly PartReader reader = new PartReader();
        private readonly StateApplied applied = new StateApplied();
        private readonly Dictionary<int, uint> awaitingKeyframe = new Dictionary<int, uint>(); // the ticks of the requests
        private readonly List<int> unnamed = new List<int>();

        public StateReceiver(List<byte[]> outgoing, ClientEncoder encoder)
        {
            this.outgoing = outgoing;
            this.encoder = encoder;
        }

        public World World { get; private set; }

        public JoinedMessage Joined { get; private set; }

        public int Resyncs { get; private set; }

        public int Mismatches { get; private set; }

        public string RoomId
        {
            get { return Joined != null ? Joined.RoomId : ""; }
        }

        /// <summary>The tick to which the server may send a delta after a resume; 0 if the world is absent or incorrect.</summary>
        public uint BaselineTick
        {
            get { return World != null && awaitingKeyframe.Count == 0 ? World.Tick : 0; }
        }

        /// <summary>Begins the state of a room. A room that moved to another shard keeps its World, without entities.</summary>
        /// <exception cref="MalformedMessageException">The description is invalid.</exception>
        public void Enter(JoinedMessage joined)
        {
            if (World != null && RoomId == joined.RoomId && World.Description.Matches(joined.Description))
            {
                World.Clear();
            }
            else
            {
                World = new World(joined.Description);
            }

            Joined = joined;
            awaitingKeyframe.Clear();
        }

        /// <summary>Discards the room and its state.</summary>
        public void Leave()
        {
            World = null;
            Joined = null;
            awaitingKeyframe.Clear();
        }

        /// <summary>Continues the state on a new connection.</summary>
        /// <param name="roomId">The room in which the session has a seat; empty: the seat was lost.</param>
        public void Resumed(string roomId)
        {
            awaitingKeyframe.Clear();
            if (RoomId == "")
            {
                return;
            }

            if (roomId == "")
            {
                Leave();
            }
            else if (roomId == RoomId && World != null)
            {
                World.ClearHistory();
            }
        }

        /// <summary>Applies a frame. Returns null if the client is in no room, or no part of the frame could be applied.</summary>
        /// <exception cref="MalformedMessageException">The frame does not have valid parts.</exception>
        public StateApplied Receive(StateFrame frame)
        {
            if (World == null)
            {
                return null;
            }

            reader.Read(frame);
            List<Part> parts = reader.Parts;
            applied.NamedChannels.Clear();
            applied.IsKeyframe = true;
            applied.HasAgreed = true;
            applied.Tick = frame.Tick;
            int count = 0;
            for (int index = 0; index < parts.Count; index++)
            {
                applied.NamedChannels.Add(parts[index].Channel);
                applied.IsKeyframe &= parts[index].IsKeyframe;
                count += ApplyPart(parts[index], frame) ? 1 : 0;
            }

            bool isComplete = (frame.Flags & StateFrame.IsComplete) != 0;
            World.Finish(frame.Tick, isComplete ? reader : null);
            if (isComplete && awaitingKeyframe.Count > 0)
            {
                ForgetUnnamed();
            }

            return parts.Count > 0 && count == 0 ? null : applied;
        }

        /// <summary>Applies one part. Returns false if it could not be applied.</summary>
        private bool ApplyPart(in Part part, StateFrame frame)
        {
            uint requestedTick;
            if (!part.IsKeyframe && awaitingKeyframe.TryGetValue(part.Channel, out requestedTick))
            {
                if ((long)frame.Tick - requestedTick >= ResyncAgainTicks)
                {
                    RequestKeyframe(part.Channel, frame.Tick);
                }

                return false;
            }

            ApplyResult result;
            try
            {
                result = World.Apply(part, frame.Tick, frame.Age);
            }
            catch (MalformedMessageException)
            {
                RequestKeyframe(part.Channel, frame.Tick);
                return false;
            }

            if (result == ApplyResult.WrongBaseline)
            {
                RequestAll(part.Channel, frame.Tick);
                return false;
            }

            awaitingKeyframe.Remove(part.Channel);
            if (result == ApplyResult.WrongChecksum)
            {
                applied.HasAgreed = false;
                Mismatches++;
                RequestKeyframe(part.Channel, frame.Tick);
            }

            return true;
        }

        /// <summary>Requests all channels: a frame is missing, and it may have changed any of them.</summary>
        private void RequestAll(int channel, uint tick)
        {
            bool isKnown = false;
            foreach (Channel known in World.Channels)
            {
                isKnown |= known.Number == channel;
                RequestKeyframe(known.Number, tick);
            }

            if (!isKnown)
            {
                RequestKeyframe(channel, tick);
            }
        }

        private void RequestKeyframe(int channel, uint tick)
        {
            Resyncs++;
            awaitingKeyframe[channel] = tick;
            outgoing.Add(encoder.Resync(channel, tick));
        }

        /// <summary>Awaits no keyframe of a channel that a complete frame does not name: it is removed.</summary>
        private void ForgetUnnamed()
        {
            unnamed.Clear();
            foreach (KeyValuePair<int, uint> entry in awaitingKeyframe)
            {
                if (!reader.Find(entry.Key))
                {
                    unnamed.Add(entry.Key);
                }
            }

            foreach (int channel in unnamed)
            {
                awaitingKeyframe.Remove(channel);
            }
        }
    }
}
