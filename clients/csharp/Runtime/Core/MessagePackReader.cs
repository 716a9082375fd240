// Reads MessagePack of a peer. Invalid bytes raise MalformedMessageException.

using System;
using System.Collections.Generic;
using System.Globalization;

namespace Tickwire
{
    /// <summary>Reads one value: null, bool, long (ulong above its range), double, string, byte[], DateTime in UTC,
    /// List of object, or Dictionary from string to object.</summary>
    internal struct MessagePackReader
    {
        private const int DepthMax = 64;
        private const int Timestamp = 0xff;
        private static readonly DateTime Epoch = new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc);
        private readonly byte[] data;
        private int at;

        public MessagePackReader(byte[] data)
        {
            this.data = data;
            at = 0;
        }

        public bool IsAtEnd
        {
            get { return at == data.Length; }
        }

        public object Value(int depth)
        {
            if (depth > DepthMax)
            {
                throw new MalformedMessageException("a value is nested too deeply");
            }

            int tag = (int)Unsigned(1);
            if (tag < 0x80)
            {
                return (long)tag;
            }

            if (tag < 0x90)
            {
                return Map((uint)tag & 0x0f, depth);
            }

            if (tag < 0xa0)
            {
                return List((uint)tag & 0x0f, depth);
            }

            if (tag < 0xc0)
            {
                return Text((uint)tag & 0x1f);
            }

            return tag >= 0xe0 ? (long)(tag - 0x100) : Tagged(tag, depth);
        }

        private object Tagged(int tag, int depth)
        {
            switch (tag)
            {
                case 0xc0:
                    return null;
                case 0xc2:
                case 0xc3:
                    return tag == 0xc3;
                case 0xc4:
                case 0xc5:
                case 0xc6:
                    return Bytes(Unsigned(1 << (tag - 0xc4)));
                case 0xc7:
                    return Time(Unsigned(1));
                case 0xd6:
                case 0xd7:
                    return Time(tag == 0xd6 ? 4u : 8u);
                case 0xca:
                    return (double)BitConverter.Int32BitsToSingle((int)Unsigned(4));
                case 0xcb:
                    return BitConverter.Int64BitsToDouble((long)Unsigned(8));
                case 0xcc:
                case 0xcd:
                case 0xce:
                    return (long)Unsigned(1 << (tag - 0xcc));
                case 0xcf:
                    ulong large = Unsigned(8);
                    return large <= long.MaxValue ? (object)(long)large : large;
                case 0xd0:
                    return (long)(sbyte)Unsigned(1);
                case 0xd1:
                    return (long)(short)Unsigned(2);
                case 0xd2:
                    return (long)(int)Unsigned(4);
                case 0xd3:
                    return (long)Unsigned(8);
                case 0xd9:
                case 0xda:
                case 0xdb:
                    return Text(Unsigned(1 << (tag - 0xd9)));
                case 0xdc:
                case 0xdd:
                    return List(Unsigned(2 << (tag - 0xdc)), depth);
                case 0xde:
                case 0xdf:
                    return Map(Unsigned(2 << (tag - 0xde)), depth);
                default:
                    throw new MalformedMessageException("unsupported type " + tag + " of MessagePack");
            }
        }

        /// <summary>Reads a time, truncated to 100 nanoseconds.</summary>
        private DateTime Time(ulong size)
        {
            if (Unsigned(1) != Timestamp)
            {
                throw new MalformedMessageException("an extension of MessagePack that is not a timestamp");
            }

            ulong nanoseconds = 0;
            long seconds;
            if (size == 4)
            {
                seconds = (long)Unsigned(4);
            }
            else if (size == 8)
            {
                ulong both = Unsigned(8); // 30 bits of nanoseconds, then 34 bits of seconds
                nanoseconds = both >> 34;
                seconds = (long)(both & 0x3ffffffff);
            }
            else if (size == 12)
            {
                nanoseconds = Unsigned(4);
                seconds = (long)Unsigned(8);
            }
            else
            {
                throw new MalformedMessageException("a timestamp of " + size + " bytes");
            }

            const long secondsMin = -62135596800; // the year 1
            const long secondsMax = 253402300799; // the year 9999
            if (seconds < secondsMin || seconds > secondsMax || nanoseconds > 999999999)
            {
                throw new MalformedMessageException("a timestamp beyond all dates");
            }

            return Epoch.AddTicks(seconds * TimeSpan.TicksPerSecond + (long)nanoseconds / 100);
        }

        private List<object> List(ulong count, int depth)
        {
            var items = new List<object>((int)Math.Min(count, 64)); // a count may be false
            for (ulong index = 0; index < count; index++)
            {
                items.Add(Value(depth + 1));
            }

            return items;
        }

        private Dictionary<string, object> Map(ulong count, int depth)
        {
            var map = new Dictionary<string, object>();
            for (ulong index = 0; index < count; index++)
            {
                object key = Value(depth + 1);
                var name = key as string;
                if (key is long)
                {
                    name = ((long)key).ToString(CultureInfo.InvariantCulture); // as the other clients do
                }

                if (name == null)
                {
                    throw new MalformedMessageException("a key of a map is not a text");
                }

                map[name] = Value(depth + 1);
            }

            return map;
        }

        private string Text(ulong size)
        {
            int start = Skip(size);
            return FlatReader.DecodeText(data, start, at - start);
        }

        private byte[] Bytes(ulong size)
        {
            int start = Skip(size);
            var bytes = new byte[at - start];
            Buffer.BlockCopy(data, start, bytes, 0, bytes.Length);
            return bytes;
        }

        private ulong Unsigned(int octets)
        {
            ulong value = 0;
            for (int start = Skip((ulong)octets); start < at; start++)
            {
                value = (value << 8) | data[start];
            }

            return value;
        }

        private int Skip(ulong count)
        {
            if (count > (ulong)(data.Length - at))
            {
                throw new MalformedMessageException("a MessagePack value ends too early");
            }

            at += (int)count;
            return at - (int)count;
        }
    }
}
