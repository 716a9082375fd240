// Writes JSON objects of texts, flags and numbers.

using System.Globalization;
using System.Text;

namespace Tickwire
{
    /// <summary>One object. The fields have the order in which they were added.</summary>
    internal sealed class JsonWriter
    {
        private readonly StringBuilder text = new StringBuilder("{");

        public JsonWriter Add(string name, string value)
        {
            Name(name);
            text.Append('"');
            foreach (char character in value)
            {
                if (character == '"' || character == '\\' || character < ' ')
                {
                    text.Append("\\u").Append(((int)character).ToString("x4", CultureInfo.InvariantCulture));
                }
                else
                {
                    text.Append(character);
                }
            }

            text.Append('"');
            return this;
        }

        public JsonWriter Add(string name, bool value)
        {
            Name(name);
            text.Append(value ? "true" : "false");
            return this;
        }

        public JsonWriter Add(string name, ulong value)
        {
            Name(name);
            text.Append(value.ToString(CultureInfo.InvariantCulture));
            return this;
        }

        /// <summary>Adds a text, unless it is empty.</summary>
        public JsonWriter AddPresent(string name, string value)
        {
            return string.IsNullOrEmpty(value) ? this : Add(name, value);
        }

        public override string ToString()
        {
            return text + "}";
        }

        private void Name(string name)
        {
            text.Append(text.Length > 1 ? ",\"" : "\"").Append(name).Append("\":");
        }
    }
}
