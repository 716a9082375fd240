// Converts decoded values of MessagePack to the types of a game and back, for code that `tickwire codegen csharp`
// generates. There is no reflection: the generated code passes a function for each part.

using System;
using System.Collections.Generic;
using System.Globalization;

namespace Tickwire
{
    /// <summary>Reads the objects of one class, which a text tells apart from those of others.</summary>
    public readonly struct TaggedReader
    {
        public readonly string Tag;
        public readonly Func<object, object> Read;

        public TaggedReader(string tag, Func<object, object> read)
        {
            Tag = tag;
            Read = read;
        }
    }

    /// <summary>Reads and writes values. A value of another type is a <see cref="FormatException"/>: the types of the game
    /// are not those of the server.</summary>
    public static class WireValues
    {
        public static bool ToBoolean(object value)
        {
            return value is bool ? (bool)value : throw Unexpected("a boolean", value);
        }

        public static long ToInteger(object value)
        {
            if (value is long)
            {
                return (long)value;
            }

            return value is ulong && (ulong)value <= long.MaxValue ? (long)(ulong)value : throw Unexpected("an integer", value);
        }

        /// <summary>Reads a number. MessagePack encodes whole numbers as integers.</summary>
        public static double ToNumber(object value)
        {
            if (value is double)
            {
                return (double)value;
            }

            return value is ulong ? (double)(ulong)value : (double)ToInteger(value);
        }

        public static string ToText(object value)
        {
            return value as string ?? throw Unexpected("a text", value);
        }

        public static byte[] ToBytes(object value)
        {
            return value as byte[] ?? throw Unexpected("bytes", value);
        }

        /// <summary>Reads a time, in UTC.</summary>
        public static DateTime ToTime(object value)
        {
            return value is DateTime ? (DateTime)value : throw Unexpected("a time", value);
        }

        public static List<T> ToList<T>(object value, Func<object, T> read)
        {
            List<object> items = ToItems(value);
            var made = new List<T>(items.Count);
            foreach (object item in items)
            {
                made.Add(read(item));
            }

            return made;
        }

        public static Dictionary<string, T> ToMap<T>(object value, Func<object, T> read)
        {
            Dictionary<string, object> entries = ToFields(value);
            var made = new Dictionary<string, T>(entries.Count);
            foreach (KeyValuePair<string, object> entry in entries)
            {
                made[entry.Key] = read(entry.Value);
            }

            return made;
        }

        /// <summary>Reads a map whose keys are integers: decoded maps have texts as keys.</summary>
        public static Dictionary<long, T> ToNumberedMap<T>(object value, Func<object, T> read)
        {
            var made = new Dictionary<long, T>();
            foreach (KeyValuePair<string, object> entry in ToFields(value))
            {
                long key;
                if (!long.TryParse(entry.Key, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out key))
                {
                    throw Unexpected("a map with integers as keys", value);
                }

                made[key] = read(entry.Value);
            }

            return made;
        }

        /// <summary>Returns an item of a list with a fixed size.</summary>
        public static object Item(object value, int index, int size)
        {
            List<object> items = ToItems(value);
            return items.Count == size ? items[index] : throw Unexpected("a list of " + size, value);
        }

        public static T OrNull<T>(object value, Func<object, T> read)
        {
            return value == null ? default(T) : read(value);
        }

        /// <summary>Reads an object of one of several classes, which a text under one key tells apart. An object with another
        /// text is returned as its map: the server is newer.</summary>
        public static object ToTagged(object value, string key, params TaggedReader[] readers)
        {
            object tag;
            if (value == null || !ToFields(value).TryGetValue(key, out tag))
            {
                return value;
            }

            foreach (TaggedReader reader in readers)
            {
                if (reader.Tag == tag as string)
                {
                    return reader.Read(value);
                }
            }

            return value;
        }

        /// <summary>Returns the fields of an object.</summary>
        public static Dictionary<string, object> ToFields(object value)
        {
            return value as Dictionary<string, object> ?? throw Unexpected("a map", value);
        }

        public static T Field<T>(Dictionary<string, object> fields, string name, Func<object, T> read)
        {
            object value;
            if (!fields.TryGetValue(name, out value))
            {
                throw new FormatException("the value has no field " + name + ": generate the types of the game again");
            }

            return ReadField(name, value, read);
        }

        public static Optional<T> OptionalField<T>(Dictionary<string, object> fields, string name, Func<object, T> read)
        {
            object value;
            return fields.TryGetValue(name, out value) ? new Optional<T>(ReadField(name, value, read)) : default(Optional<T>);
        }

        /// <summary>Returns the index of an enumeration's value; -1 for a value of a newer server.</summary>
        public static long ToMember(object[] values, object value)
        {
            for (int index = 0; index < values.Length; index++)
            {
                if (values[index].Equals(value))
                {
                    return index;
                }
            }

            return -1;
        }

        public static object FromMember(object[] values, long index)
        {
            if (index < 0 || index >= values.Length)
            {
                throw new ArgumentOutOfRangeException(nameof(index), "the enumeration has no member with the value " + index);
            }

            return values[index];
        }

        public static object FromList<T>(List<T> items, Func<T, object> write)
        {
            if (items == null)
            {
                return null;
            }

            var made = new List<object>(items.Count);
            foreach (T item in items)
            {
                made.Add(write(item));
            }

            return made;
        }

        /// <summary>Returns a map whose keys are texts or integers.</summary>
        public static object FromMap<TKey, T>(Dictionary<TKey, T> entries, Func<T, object> write)
        {
            if (entries == null)
            {
                return null;
            }

            var made = new Dictionary<TKey, object>(entries.Count);
            foreach (KeyValuePair<TKey, T> entry in entries)
            {
                made[entry.Key] = write(entry.Value);
            }

            return made;
        }

        /// <summary>Returns the map of an object of the game; any other value as it is.</summary>
        public static object FromObject(object value)
        {
            var made = value as IWireObject;
            return made == null ? value : made.ToWire();
        }

        /// <summary>Returns the options of a join with the fields of objects of the game: those for the player, and those for a
        /// room that the join creates. They replace fields of the same name in the join's own `Options`.</summary>
        public static JoinOptions WithOptions(JoinOptions join, params object[] options)
        {
            var merged = new Dictionary<string, object>();
            var made = new JoinOptions { Options = merged };
            if (join != null)
            {
                AddFields(merged, join.Options);
                made.Name = join.Name;
                made.RoomId = join.RoomId;
                made.Code = join.Code;
                made.IsPrivate = join.IsPrivate;
                made.Labels = join.Labels;
                made.Party = join.Party;
                made.Ticket = join.Ticket;
            }

            foreach (object each in options)
            {
                AddFields(merged, each);
            }

            return made;
        }

        private static void AddFields(Dictionary<string, object> to, object value)
        {
            if (value == null)
            {
                return;
            }

            foreach (KeyValuePair<string, object> entry in ToFields(FromObject(value)))
            {
                to[entry.Key] = entry.Value;
            }
        }

        private static T ReadField<T>(string name, object value, Func<object, T> read)
        {
            try
            {
                return read(value);
            }
            catch (FormatException error)
            {
                throw new FormatException(name + ": " + error.Message);
            }
        }

        private static List<object> ToItems(object value)
        {
            return value as List<object> ?? throw Unexpected("a list", value);
        }

        private static FormatException Unexpected(string expected, object value)
        {
            return new FormatException("expected " + expected + ", not " + (value == null ? "null" : value.GetType().Name));
        }
    }
}
