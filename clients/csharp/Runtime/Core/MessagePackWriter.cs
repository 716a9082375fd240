// Writes MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md

using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;

namespace Tickwire
{
    /// <summary>Writes values one after another. Lists and maps begin with their number of items.</summary>
    public sealed class MessagePackWriter
    {
        private const int DepthMax = 64;
        private static readonly DateTime Epoch = new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc);
        private static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);
        private byte[] data = new byte[256];
        private int count;

        public byte[] ToArray()
        {
            byte[] copy = new byte[count];
            Buffer.BlockCopy(data, 0, copy, 0, count);
            return copy;
        }

        public void Clear()
        {
            count = 0;
        }

        public void WriteNull()
        {
            Byte(0xc0);
        }

        public void Write(bool value)
        {
            Byte(value ? 0xc3 : 0xc2);
        }

        public void Write(long value)
        {
            if (value >= 0)
            {
                Write((ulong)value);
            }
            else if (value >= -32)
            {
                Byte((int)value & 0xff);
            }
            else if (value >= sbyte.MinValue)
            {
                Tagged(0xd0, 1, (ulong)value);
            }
            else if (value >= short.MinValue)
            {
                Tagged(0xd1, 2, (ulong)value);
            }
            else if (value >= int.MinValue)
            {
                Tagged(0xd2, 4, (ulong)value);
            }
            else
            {
                Tagged(0xd3, 8, (ulong)value);
            }
        }

        public void Write(ulong value)
        {
            if (value < 0x80)
            {
                Byte((int)value);
            }
            else if (value <= byte.MaxValue)
            {
                Tagged(0xcc, 1, value);
            }
            else if (value <= ushort.MaxValue)
            {
                Tagged(0xcd, 2, value);
            }
            else if (value <= uint.MaxValue)
            {
                Tagged(0xce, 4, value);
            }
            else
            {
                Tagged(0xcf, 8, value);
            }
        }

        public void Write(double value)
        {
            Tagged(0xcb, 8, (ulong)BitConverter.DoubleToInt64Bits(value));
        }

        /// <summary>Writes a text; nil for null.</summary>
        public void Write(string value)
        {
            if (value == null)
            {
                WriteNull();
                return;
            }

            int size = Utf8.GetByteCount(value);
            if (size < 32)
            {
                Byte(0xa0 | size);
            }
            else
            {
                Sized(size, 0xd9, 0xda, 0xdb);
            }

            Reserve(size);
            count += Utf8.GetBytes(value, 0, value.Length, data, count);
        }

        /// <summary>Writes bytes; nil for null.</summary>
        public void Write(byte[] value)
        {
            if (value == null)
            {
                WriteNull();
                return;
            }

            Sized(value.Length, 0xc4, 0xc5, 0xc6);
            Reserve(value.Length);
            Buffer.BlockCopy(value, 0, data, count, value.Length);
            count += value.Length;
        }

        /// <summary>Writes a time as a timestamp of 96 bits, which represents every time.</summary>
        public void Write(DateTime value)
        {
            long ticks = (value.Kind == DateTimeKind.Local ? value.ToUniversalTime() : value).Ticks - Epoch.Ticks;
            long seconds = ticks / TimeSpan.TicksPerSecond;
            long rest = ticks % TimeSpan.TicksPerSecond;
            if (rest < 0)
            {
                rest += TimeSpan.TicksPerSecond;
                seconds -= 1;
            }

            Tagged(0xc7, 1, 12);
            Byte(0xff);
            BigEndian((ulong)(rest * 100), 4);
            BigEndian((ulong)seconds, 8);
        }

        public void WriteListHeader(int items)
        {
            if (items < 16)
            {
                Byte(0x90 | items);
            }
            else
            {
                Sized(items, 0, 0xdc, 0xdd);
            }
        }

        /// <summary>Begins a map: for each entry the name follows, a text, and then its value.</summary>
        public void WriteMapHeader(int entries)
        {
            if (entries < 16)
            {
                Byte(0x80 | entries);
            }
            else
            {
                Sized(entries, 0, 0xde, 0xdf);
            }
        }

        /// <summary>Writes null, a bool, a number, a text, bytes, a DateTime, a list, or a map with texts or integers as
        /// keys.</summary>
        /// <exception cref="ArgumentException">The value has another type, or is nested too deeply.</exception>
        public void WriteValue(object value)
        {
            WriteValue(value, 0);
        }

        private void WriteValue(object value, int depth)
        {
            if (depth > DepthMax)
            {
                throw new ArgumentException("a value is nested too deeply");
            }

            if (value == null)
            {
                WriteNull();
            }
            else if (!WritePlain(value) && !WriteNumber(value))
            {
                WriteContainer(value, depth);
            }
        }

        private bool WritePlain(object value)
        {
            if (value is string)
            {
                Write((string)value);
            }
            else if (value is bool)
            {
                Write((bool)value);
            }
            else if (value is byte[])
            {
                Write((byte[])value);
            }
            else if (value is DateTime)
            {
                Write((DateTime)value);
            }
            else if (value is DateTimeOffset)
            {
                Write(((DateTimeOffset)value).UtcDateTime);
            }
            else
            {
                return false;
            }

            return true;
        }

        private bool WriteNumber(object value)
        {
            if (value is int)
            {
                Write((int)value);
            }
            else if (value is long)
            {
                Write((long)value);
            }
            else if (value is double)
            {
                Write((double)value);
            }
            else if (value is float)
            {
                Write((double)(float)value);
            }
            else if (value is uint)
            {
                Write((ulong)(uint)value);
            }
            else if (value is ulong)
            {
                Write((ulong)value);
            }
            else if (value is byte || value is sbyte || value is short || value is ushort)
            {
                Write(Convert.ToInt64(value, System.Globalization.CultureInfo.InvariantCulture));
            }
            else
            {
                return false;
            }

            return true;
        }

        private void WriteContainer(object value, int depth)
        {
            if (value is IReadOnlyDictionary<string, string>)
            {
                var texts = (IReadOnlyDictionary<string, string>)value;
                WriteMapHeader(texts.Count);
                foreach (KeyValuePair<string, string> entry in texts)
                {
                    Write(entry.Key);
                    Write(entry.Value);
                }
            }
            else if (value is IReadOnlyDictionary<string, double>)
            {
                var numbers = (IReadOnlyDictionary<string, double>)value;
                WriteMapHeader(numbers.Count);
                foreach (KeyValuePair<string, double> entry in numbers)
                {
                    Write(entry.Key);
                    Write(entry.Value);
                }
            }
            else if (value is IDictionary)
            {
                WriteMap((IDictionary)value, depth);
            }
            else if (value is ICollection)
            {
                var items = (ICollection)value;
                WriteListHeader(items.Count);
                foreach (object item in items)
                {
                    WriteValue(item, depth + 1);
                }
            }
            else
            {
                throw new ArgumentException("MessagePack cannot encode a " + value.GetType().Name);
            }
        }

        private void WriteMap(IDictionary map, int depth)
        {
            WriteMapHeader(map.Count);
            foreach (DictionaryEntry entry in map)
            {
                if (!(entry.Key is string || entry.Key is long || entry.Key is int))
                {
                    throw new ArgumentException("the keys of a map must be texts or integers");
                }

                WriteValue(entry.Key, depth + 1);
                WriteValue(entry.Value, depth + 1);
            }
        }

        private void Sized(int size, int one, int two, int four)
        {
            if (one != 0 && size <= byte.MaxValue)
            {
                Tagged(one, 1, (ulong)size);
            }
            else if (size <= ushort.MaxValue)
            {
                Tagged(two, 2, (ulong)size);
            }
            else
            {
                Tagged(four, 4, (ulong)size);
            }
        }

        private void Tagged(int tag, int octets, ulong value)
        {
            Byte(tag);
            BigEndian(value, octets);
        }

        private void BigEndian(ulong value, int octets)
        {
            Reserve(octets);
            for (int shift = 8 * (octets - 1); shift >= 0; shift -= 8)
            {
                data[count++] = (byte)(value >> shift);
            }
        }

        private void Byte(int value)
        {
            Reserve(1);
            data[count++] = (byte)value;
        }

        private void Reserve(int more)
        {
            if (count + more > data.Length)
            {
                Array.Resize(ref data, 2 * (count + more));
            }
        }
    }
}
