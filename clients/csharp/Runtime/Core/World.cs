// The mirrored state of a room: the tables of each channel, and a merged view of all channels.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    internal enum ApplyResult
    {
        Applied,
        WrongChecksum,

        /// <summary>The client does not have the baseline of a delta: a frame is missing.</summary>
        WrongBaseline,
    }

    /// <summary>The tables of one channel.</summary>
    internal sealed class Channel
    {
        public const long Never = -1;
        public readonly TableState[] Tables;
        public int Number;

        /// <summary>The tick of the last frame that named the channel.</summary>
        public long LastTick = Never;

        public Channel(TableLayout[] layouts, SectionScratch scratch)
        {
            Tables = new TableState[layouts.Length];
            for (int index = 0; index < layouts.Length; index++)
            {
                Tables[index] = new TableState(layouts[index], scratch);
            }
        }

        public void Clear()
        {
            LastTick = Never;
            foreach (TableState table in Tables)
            {
                table.Clear();
            }
        }
    }

    /// <summary>The mirrored state of a room. Read entities by table: `world.Table("ships")`.</summary>
    public sealed class World
    {
        private readonly TableLayout[] layouts;
        private readonly WorldTable[] tables;
        private readonly Dictionary<string, WorldTable> tablesByName = new Dictionary<string, WorldTable>();
        private readonly SectionScratch scratch = new SectionScratch();
        private readonly BitReader bits = new BitReader();
        private readonly Dictionary<int, Channel> channelsByNumber = new Dictionary<int, Channel>();
        private readonly List<Channel> free = new List<Channel>();

        /// <exception cref="MalformedMessageException">The description is invalid.</exception>
        public World(StateDescription description)
        {
            Description = description;
            layouts = new TableLayout[description.Tables.Count];
            tables = new WorldTable[layouts.Length];
            for (int index = 0; index < layouts.Length; index++)
            {
                layouts[index] = new TableLayout(description.Tables[index]);
                tables[index] = new WorldTable(layouts[index], this, index);
                tablesByName[layouts[index].Name] = tables[index];
            }
        }

        public StateDescription Description { get; }

        /// <summary>The tick of the last frame, in all channels.</summary>
        public uint Tick { get; private set; }

        /// <summary>All tables, in the order of the description.</summary>
        public IReadOnlyList<WorldTable> Tables
        {
            get { return tables; }
        }

        /// <summary>Changes with every frame.</summary>
        internal int Version { get; private set; }

        /// <summary>In the order in which their first keyframes arrived.</summary>
        internal List<Channel> Channels { get; } = new List<Channel>();

        /// <summary>Returns a table by its name, merged over all channels.</summary>
        /// <exception cref="ArgumentException">The room has no such table.</exception>
        public WorldTable Table(string name)
        {
            WorldTable table;
            if (!tablesByName.TryGetValue(name, out table))
            {
                string known = string.Join(", ", tablesByName.Keys);
                throw new ArgumentException("unknown table " + name + "; the tables of this room are: " + known);
            }

            return table;
        }

        public bool HasTable(string name)
        {
            return tablesByName.ContainsKey(name);
        }

        /// <summary>Returns the checksum of all tables, which is equal for equal worlds in all clients and languages.</summary>
        public uint Checksum()
        {
            var crc = default(Crc32);
            foreach (WorldTable table in tables)
            {
                table.AddTo(ref crc);
            }

            return crc.Value;
        }

        // -- frames -----------------------------------------------------------------------------------------

        /// <summary>Applies the part of a frame for one channel. Call `Finish` after all parts of the frame.</summary>
        /// <exception cref="MalformedMessageException">The part does not fit the baseline. The world is unchanged.</exception>
        internal ApplyResult Apply(in Part part, uint tick, int age)
        {
            if (!part.IsKeyframe && Tick != (long)tick - age)
            {
                return ApplyResult.WrongBaseline;
            }

            Channel known = FindChannel(part.Channel);
            bool isNew = part.IsKeyframe || known == null;
            Channel channel = isNew ? TakeFree(part.Channel) : known;
            if (channel.LastTick != (long)tick - 1)
            {
                foreach (TableState table in channel.Tables)
                {
                    table.ClearHistory();
                }
            }

            bool agrees;
            try
            {
                agrees = Read(part, channel.Tables);
            }
            catch (MalformedMessageException)
            {
                if (isNew)
                {
                    free.Add(channel);
                }

                throw;
            }

            foreach (TableState table in channel.Tables)
            {
                table.Commit();
            }

            channel.LastTick = tick;
            if (isNew)
            {
                Replace(known, channel);
            }

            return agrees ? ApplyResult.Applied : ApplyResult.WrongChecksum;
        }

        /// <summary>Ends a frame: sets the tick, and removes all channels that are not in `keep`; null keeps all.</summary>
        internal void Finish(uint tick, PartReader keep)
        {
            Tick = tick;
            Version++;
            for (int index = Channels.Count - 1; keep != null && index >= 0; index--)
            {
                if (!keep.Find(Channels[index].Number))
                {
                    Remove(index);
                }
            }
        }

        /// <summary>Removes all entities. References to tables stay valid.</summary>
        internal void Clear()
        {
            Tick = 0;
            Version++;
            for (int index = Channels.Count - 1; index >= 0; index--)
            {
                Remove(index);
            }
        }

        /// <summary>Discards the previous values of all channels after a resume, as the server does.</summary>
        internal void ClearHistory()
        {
            foreach (Channel channel in Channels)
            {
                channel.LastTick = Channel.Never;
            }
        }

        /// <summary>Returns a channel; null before its first keyframe.</summary>
        internal Channel FindChannel(int number)
        {
            Channel channel;
            return channelsByNumber.TryGetValue(number, out channel) ? channel : null;
        }

        private bool Read(in Part part, TableState[] states)
        {
            bits.Open(part.Data, part.Offset, part.Count);
            foreach (TableState state in states)
            {
                state.Stage();
            }

            long seen = 0;
            for (long tag = bits.Varint(); tag != 0; tag = bits.Varint())
            {
                long number = tag >> 3;
                if (number <= seen || number > states.Length)
                {
                    throw new MalformedMessageException("the section of table " + (number - 1) + " is out of order or out of range");
                }

                seen = number;
                states[number - 1].Read(bits, (int)(tag & 7));
            }

            bool agrees = !part.HasChecksum || ChecksumOf(states) == bits.U32();
            if (!bits.IsAtEnd)
            {
                throw new MalformedMessageException("unexpected bytes after the last section");
            }

            return agrees;
        }

        private static uint ChecksumOf(TableState[] states)
        {
            var crc = default(Crc32);
            foreach (TableState state in states)
            {
                state.AddTo(ref crc);
            }

            return crc.Value;
        }

        /// <summary>Returns an empty channel. Removed channels are used again, so that their buffers are.</summary>
        private Channel TakeFree(int number)
        {
            Channel channel;
            if (free.Count > 0)
            {
                channel = free[free.Count - 1];
                free.RemoveAt(free.Count - 1);
                channel.Clear();
            }
            else
            {
                channel = new Channel(layouts, scratch);
            }

            channel.Number = number;
            return channel;
        }

        /// <summary>Adds a channel, at the place of a known one if there is one.</summary>
        private void Replace(Channel known, Channel channel)
        {
            channelsByNumber[channel.Number] = channel;
            if (known == null)
            {
                Channels.Add(channel);
                return;
            }

            free.Add(known);
            Channels[Channels.IndexOf(known)] = channel;
        }

        private void Remove(int index)
        {
            free.Add(Channels[index]);
            channelsByNumber.Remove(Channels[index].Number);
            Channels.RemoveAt(index);
        }
    }
}
