// Reads JSON: the stored session and login, the claims of a token, responses of the player HTTP API. netstandard2.1 has no reader.

using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Tickwire
{
    /// <summary>Decodes JSON to null, bool, double, string, List of object, or Dictionary from string to object.</summary>
    internal sealed class JsonReader
    {
        private const int LevelsMax = 64;
        private readonly string text;
        private int at;

        private JsonReader(string text)
        {
            this.text = text;
        }

        /// <summary>Decodes a text. Returns false if it is not JSON.</summary>
        public static bool TryRead(string text, out object value)
        {
            var reader = new JsonReader(text);
            bool isValid = reader.TryValue(0, out value);
            reader.SkipSpace();
            return isValid && reader.at == text.Length;
        }

        private bool TryValue(int level, out object value)
        {
            value = null;
            SkipSpace();
            if (at >= text.Length || level > LevelsMax)
            {
                return false;
            }

            switch (text[at])
            {
                case '{':
                    return TryMap(level, out value);
                case '[':
                    return TryList(level, out value);
                case '"':
                    string found;
                    bool isText = TryText(out found);
                    value = found;
                    return isText;
                case 't':
                    value = true;
                    return TryWord("true");
                case 'f':
                    value = false;
                    return TryWord("false");
                case 'n':
                    return TryWord("null");
                default:
                    return TryNumber(out value);
            }
        }

        private bool TryMap(int level, out object value)
        {
            var entries = new Dictionary<string, object>();
            value = entries;
            at++;
            SkipSpace();
            if (TryCharacter('}'))
            {
                return true;
            }

            do
            {
                string key;
                object item;
                SkipSpace();
                if (!TryText(out key))
                {
                    return false;
                }

                SkipSpace();
                if (!TryCharacter(':') || !TryValue(level + 1, out item))
                {
                    return false;
                }

                entries[key] = item;
                SkipSpace();
            }
            while (TryCharacter(','));
            return TryCharacter('}');
        }

        private bool TryList(int level, out object value)
        {
            var items = new List<object>();
            value = items;
            at++;
            SkipSpace();
            if (TryCharacter(']'))
            {
                return true;
            }

            do
            {
                object item;
                if (!TryValue(level + 1, out item))
                {
                    return false;
                }

                items.Add(item);
                SkipSpace();
            }
            while (TryCharacter(','));
            return TryCharacter(']');
        }

        private bool TryText(out string value)
        {
            value = null;
            if (!TryCharacter('"'))
            {
                return false;
            }

            var made = new StringBuilder();
            while (at < text.Length && text[at] != '"')
            {
                if (text[at] != '\\')
                {
                    made.Append(text[at++]);
                }
                else if (!TryEscape(made))
                {
                    return false;
                }
            }

            value = made.ToString();
            return TryCharacter('"');
        }

        private bool TryEscape(StringBuilder into)
        {
            at++;
            if (at >= text.Length)
            {
                return false;
            }

            int simple = "\"\\/bfnrt".IndexOf(text[at]);
            if (simple >= 0)
            {
                into.Append("\"\\/\b\f\n\r\t"[simple]);
                at++;
                return true;
            }

            int code = 0;
            bool isCode = text[at] == 'u' && at + 5 <= text.Length && int.TryParse(
                text.Substring(at + 1, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out code);
            if (!isCode)
            {
                return false;
            }

            into.Append((char)code);
            at += 5;
            return true;
        }

        private bool TryNumber(out object value)
        {
            int start = at;
            while (at < text.Length && "+-.0123456789eE".IndexOf(text[at]) >= 0)
            {
                at++;
            }

            double number;
            bool isNumber = double.TryParse(
                text.Substring(start, at - start), NumberStyles.Float, CultureInfo.InvariantCulture, out number);
            value = number;
            return isNumber;
        }

        private bool TryWord(string word)
        {
            bool isFound = string.CompareOrdinal(text, at, word, 0, word.Length) == 0;
            at += isFound ? word.Length : 0;
            return isFound;
        }

        private bool TryCharacter(char character)
        {
            bool isFound = at < text.Length && text[at] == character;
            at += isFound ? 1 : 0;
            return isFound;
        }

        private void SkipSpace()
        {
            while (at < text.Length && " \t\r\n".IndexOf(text[at]) >= 0)
            {
                at++;
            }
        }
    }
}
