// Reads the fields of a JSON object that may lack them.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>The fields of an object. A field that is missing or of another type has a default value.</summary>
    internal struct JsonFields
    {
        private readonly Dictionary<string, object> fields;

        private JsonFields(object value)
        {
            fields = value as Dictionary<string, object>;
        }

        /// <summary>Whether the text was an object.</summary>
        public bool IsObject
        {
            get { return fields != null; }
        }

        /// <summary>Decodes a text. Any other text than that of an object, such as the page of a proxy, has no fields.</summary>
        public static JsonFields Read(string text)
        {
            object value;
            return new JsonFields(JsonReader.TryRead(text, out value) ? value : null);
        }

        public string Text(string name)
        {
            return ValueOf(name) as string ?? "";
        }

        public double Number(string name, double missing = 0)
        {
            object value = ValueOf(name);
            return value is double ? (double)value : missing;
        }

        public bool Flag(string name)
        {
            object value = ValueOf(name);
            return value is bool && (bool)value;
        }

        /// <summary>Returns the objects of a list.</summary>
        public List<JsonFields> Objects(string name)
        {
            var found = new List<JsonFields>();
            foreach (object item in ValueOf(name) as List<object> ?? new List<object>())
            {
                found.Add(new JsonFields(item));
            }

            return found;
        }

        private object ValueOf(string name)
        {
            object value;
            return fields != null && fields.TryGetValue(name, out value) ? value : null;
        }
    }
}
