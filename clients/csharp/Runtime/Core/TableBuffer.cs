// The contents of a table at one state. Only the first `Size` items of its arrays are valid.

using System;

namespace Tickwire
{
    /// <summary>A text or a blob of an entity, and its decoded form.</summary>
    internal sealed class TextValue
    {
        public static readonly TextValue Empty = new TextValue(new byte[0], "");
        public readonly byte[] Bytes;

        /// <summary>Null for a blob.</summary>
        public readonly string Text;

        public TextValue(byte[] bytes, string text)
        {
            Bytes = bytes;
            Text = text;
        }
    }

    /// <summary>The arrays are empty until the table has entities: most tables of most channels never have any.</summary>
    internal sealed class TableBuffer
    {
        public int Size;
        public uint[] Ids = Array.Empty<uint>();
        public readonly long[][] Columns;
        public readonly TextValue[][] Texts;

        public TableBuffer(TableLayout layout)
        {
            Columns = new long[layout.Columns.Length][];
            for (int index = 0; index < Columns.Length; index++)
            {
                Columns[index] = Array.Empty<long>();
            }

            Texts = new TextValue[layout.Texts.Length][];
            for (int index = 0; index < Texts.Length; index++)
            {
                Texts[index] = Array.Empty<TextValue>();
            }
        }

        /// <summary>Sets the size, and grows the arrays if needed. Old contents may be lost.</summary>
        public void Reserve(int size)
        {
            if (Ids.Length < size)
            {
                int capacity = 2 * size;
                Ids = new uint[capacity];
                for (int index = 0; index < Columns.Length; index++)
                {
                    Columns[index] = new long[capacity];
                }

                for (int index = 0; index < Texts.Length; index++)
                {
                    Texts[index] = new TextValue[capacity];
                }
            }

            Size = size;
        }

        /// <summary>Removes all entities, and releases their texts.</summary>
        public void Clear()
        {
            Size = 0;
            foreach (TextValue[] texts in Texts)
            {
                Array.Clear(texts, 0, texts.Length);
            }
        }
    }
}
