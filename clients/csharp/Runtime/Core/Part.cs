// The parts of a state frame: one for each channel that it names. See docs/protocol.md, "State frames".

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The part of a frame for one channel. The packed bytes are a slice of the frame's buffer.</summary>
    internal struct Part
    {
        public int Channel;
        public bool IsKeyframe;
        public bool HasChecksum;
        public byte[] Data;
        public int Offset;
        public int Count;
    }

    /// <summary>Splits frames into parts. Its list is reused.</summary>
    internal sealed class PartReader
    {
        public readonly List<Part> Parts = new List<Part>();
        private const int ChannelsMax = 1 << 16;
        private readonly HashSet<int> channels = new HashSet<int>();
        private byte[] data;
        private int at;
        private int end;

        /// <summary>Finds the parts of a frame.</summary>
        /// <exception cref="MalformedMessageException">The parts do not fill the frame exactly, a channel is out of range or
        /// repeated, or a delta has no baseline.</exception>
        public void Read(StateFrame frame)
        {
            Parts.Clear();
            channels.Clear();
            data = frame.Data;
            at = frame.Offset;
            end = frame.Offset + frame.Count;
            if ((frame.Flags & StateFrame.HasParts) == 0)
            {
                Add(frame.Channel, frame.Age == 0, (frame.Flags & StateFrame.HasChecksum) != 0, frame.Count);
                return;
            }

            while (at < end)
            {
                long tag = Varint();
                long channel = tag >> 2;
                bool isKeyframe = (tag & 2) != 0;
                if (channel >= ChannelsMax || Find((int)channel) || !(isKeyframe || frame.Age != 0))
                {
                    throw new MalformedMessageException("the channel " + channel + " is invalid or appears twice");
                }

                long count = Varint();
                if (count > end - at)
                {
                    throw new MalformedMessageException("the part of channel " + channel + " ends too early");
                }

                Add((int)channel, isKeyframe, (tag & 1) != 0, (int)count);
            }
        }

        /// <summary>Returns whether the frame has a part for a channel.</summary>
        public bool Find(int channel)
        {
            return channels.Contains(channel);
        }

        private void Add(int channel, bool isKeyframe, bool hasChecksum, int count)
        {
            channels.Add(channel);
            Parts.Add(new Part
            {
                Channel = channel,
                IsKeyframe = isKeyframe,
                HasChecksum = hasChecksum,
                Data = data,
                Offset = at,
                Count = count,
            });
            at += count;
        }

        private long Varint()
        {
            long value = 0;
            for (int shift = 0; shift < 35 && at < end; shift += 7)
            {
                byte octet = data[at++];
                value |= (long)(octet & 0x7f) << shift;
                if (octet < 0x80)
                {
                    return value;
                }
            }

            throw new MalformedMessageException("a number of a part is invalid");
        }
    }
}
