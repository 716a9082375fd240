// Reads JSON vectors: null, bool, long, double, string, List of object, and Dictionary from string to object.

using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Tickwire.Tests
{
    public sealed class Json
    {
        private readonly string text;
        private int at;

        private Json(string text)
        {
            this.text = text;
        }

        public static object Parse(string text)
        {
            var json = new Json(text);
            object value = json.Value();
            json.Space();
            if (json.at != text.Length)
            {
                throw new FormatException("text is left over after a JSON value");
            }

            return value;
        }

        public static Dictionary<string, object> Map(object value)
        {
            return (Dictionary<string, object>)value;
        }

        public static List<object> List(object value)
        {
            return (List<object>)value;
        }

        public static double Number(object value)
        {
            return value is long ? (long)value : (double)value;
        }

        public static byte[] Hex(object value)
        {
            var hex = (string)value;
            var bytes = new byte[hex.Length / 2];
            for (int index = 0; index < bytes.Length; index++)
            {
                bytes[index] = byte.Parse(hex.Substring(2 * index, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            }

            return bytes;
        }

        public static string ToHex(byte[] bytes, int offset, int count)
        {
            var hex = new StringBuilder();
            for (int index = 0; index < count; index++)
            {
                hex.Append(bytes[offset + index].ToString("x2", CultureInfo.InvariantCulture));
            }

            return hex.ToString();
        }

        public static string ToHex(byte[] bytes)
        {
            return ToHex(bytes, 0, bytes.Length);
        }

        private object Value()
        {
            Space();
            switch (text[at])
            {
                case '{':
                    return Object();
                case '[':
                    return Array();
                case '"':
                    return Text();
                case 't':
                    at += 4;
                    return true;
                case 'f':
                    at += 5;
                    return false;
                case 'n':
                    at += 4;
                    return null;
                default:
                    return Numeric();
            }
        }

        private Dictionary<string, object> Object()
        {
            var map = new Dictionary<string, object>();
            at++;
            Space();
            while (text[at] != '}')
            {
                Space();
                string key = Text();
                Space();
                at++; // the colon
                map[key] = Value();
                Separator();
            }

            at++;
            return map;
        }

        private List<object> Array()
        {
            var list = new List<object>();
            at++;
            Space();
            while (text[at] != ']')
            {
                list.Add(Value());
                Separator();
            }

            at++;
            return list;
        }

        private void Separator()
        {
            Space();
            if (text[at] == ',')
            {
                at++;
                Space();
            }
        }

        private string Text()
        {
            var found = new StringBuilder();
            for (at++; text[at] != '"'; at++)
            {
                if (text[at] != '\\')
                {
                    found.Append(text[at]);
                    continue;
                }

                at++;
                int escape = "nrtbf".IndexOf(text[at]);
                if (text[at] == 'u')
                {
                    found.Append((char)ushort.Parse(text.Substring(at + 1, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture));
                    at += 4;
                }
                else
                {
                    found.Append(escape < 0 ? text[at] : "\n\r\t\b\f"[escape]);
                }
            }

            at++;
            return found.ToString();
        }

        private object Numeric()
        {
            int start = at;
            while (at < text.Length && "+-.0123456789eE".IndexOf(text[at]) >= 0)
            {
                at++;
            }

            string number = text.Substring(start, at - start);
            long whole;
            return long.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out whole)
                ? (object)whole
                : double.Parse(number, NumberStyles.Float, CultureInfo.InvariantCulture);
        }

        private void Space()
        {
            while (at < text.Length && char.IsWhiteSpace(text[at]))
            {
                at++;
            }
        }
    }
}
