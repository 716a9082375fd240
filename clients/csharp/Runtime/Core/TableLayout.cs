// The fields of a table, shared by all channels.

using System.Collections.Generic;

namespace Tickwire
{
    internal sealed class TableLayout
    {
        /// <exception cref="MalformedMessageException">The description is invalid.</exception>
        public TableLayout(TableDescription description)
        {
            Name = description.Name;
            Fields = Field.FromDescriptions(description.Fields);
            var columns = new List<Field>();
            var texts = new List<Field>();
            foreach (Field field in Fields)
            {
                (field.IsText ? texts : columns).Add(field);
            }

            Columns = columns.ToArray();
            Texts = texts.ToArray();
            Groups = new Group[description.Groups.Count];
            for (int index = 0; index < Groups.Length; index++)
            {
                Groups[index] = new Group(description.Groups[index], Fields);
            }
        }

        public string Name { get; }

        public Field[] Fields { get; }

        /// <summary>The fields that are integers.</summary>
        public Field[] Columns { get; }

        /// <summary>The fields that are bytes.</summary>
        public Field[] Texts { get; }

        public Group[] Groups { get; }
    }
}
