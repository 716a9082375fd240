// One table of one channel: ids, integers and texts after the last state, and the integers of the state before.
//
// A section of a frame is read into a spare buffer; `Commit` makes it current, and until then nothing changes. The four
// buffers change their roles, so that nothing is allocated once they are large enough. Layout: docs/protocol.md, "Packed".

using System;

namespace Tickwire
{
    internal sealed class TableState
    {
        public const int HasLeft = 1;
        public const int HasEntered = 2;
        public const int HasTexts = 4;
        private const int EntitiesMax = 1 << 16;
        private readonly SectionScratch scratch;
        private TableBuffer now;
        private TableBuffer before;
        private TableBuffer spare;
        private TableBuffer origin; // the previous values of the entities in `spare`, if entities entered or left
        private bool hasHistory;
        private bool isStaged;
        private bool isMoved;

        public TableState(TableLayout layout, SectionScratch scratch)
        {
            Layout = layout;
            this.scratch = scratch;
            now = new TableBuffer(layout);
            before = new TableBuffer(layout);
            spare = new TableBuffer(layout);
            origin = new TableBuffer(layout);
        }

        public TableLayout Layout { get; }

        public TableBuffer Now
        {
            get { return now; }
        }

        /// <summary>Removes all entities: the baseline of a keyframe.</summary>
        public void Clear()
        {
            now.Clear();
            before.Clear();
            spare.Clear();
            origin.Clear();
            hasHistory = false;
        }

        /// <summary>Sets the previous values to the current ones: nothing moved since.</summary>
        public void ClearHistory()
        {
            hasHistory = false;
        }

        /// <summary>Begins a part. Without a section the table stays unchanged.</summary>
        public void Stage()
        {
            isStaged = false;
        }

        /// <summary>Makes the section that was read current.</summary>
        public void Commit()
        {
            hasHistory = isStaged;
            if (!isStaged)
            {
                return;
            }

            isStaged = false;
            TableBuffer oldNow = now;
            TableBuffer oldBefore = before;
            now = spare;
            before = isMoved ? origin : oldNow;
            spare = isMoved ? oldNow : oldBefore;
            origin = isMoved ? oldBefore : origin;
        }

        /// <summary>Adds the staged contents to a checksum.</summary>
        public void AddTo(ref Crc32 crc)
        {
            TableBuffer buffer = isStaged ? spare : now;
            for (int row = 0; row < buffer.Size; row++)
            {
                crc.Add(buffer.Ids[row]);
            }

            foreach (long[] column in buffer.Columns)
            {
                crc.Add(column, buffer.Size);
            }

            foreach (TextValue[] texts in buffer.Texts)
            {
                for (int row = 0; row < buffer.Size; row++)
                {
                    crc.Add((uint)texts[row].Bytes.Length);
                    crc.Add(texts[row].Bytes);
                }
            }
        }

        // -- reading a section ------------------------------------------------------------------------------

        /// <summary>Reads a section into the spare buffer.</summary>
        /// <exception cref="MalformedMessageException">The section does not fit the current contents, or a value is out of its
        /// field's range.</exception>
        public void Read(BitReader bits, int flags)
        {
            isStaged = true;
            isMoved = (flags & (HasLeft | HasEntered)) != 0;
            if (isMoved)
            {
                ReadMoved(bits, flags);
            }
            else
            {
                ReadSame(bits);
            }

            if ((flags & HasTexts) != 0)
            {
                ReadTexts(bits);
            }
        }

        private void ReadSame(BitReader bits)
        {
            int size = now.Size;
            spare.Reserve(size);
            Array.Copy(now.Ids, spare.Ids, size);
            bits.ToBits();
            if (size > 0)
            {
                long[][] older = (hasHistory ? before : now).Columns;
                for (int column = 0; column < now.Columns.Length; column++)
                {
                    scratch.Columns.ReadStayed(
                        bits, Layout.Columns[column], size, now.Columns[column], older[column], spare.Columns[column]);
                }
            }

            bits.ToBytes();
            for (int index = 0; index < now.Texts.Length; index++)
            {
                Array.Copy(now.Texts[index], spare.Texts[index], size);
            }
        }

        private void ReadMoved(BitReader bits, int flags)
        {
            int left = (flags & HasLeft) != 0 ? bits.Ascending(now.Size, ref scratch.Left) : 0;
            int entered = (flags & HasEntered) != 0 ? bits.Ascending(1L << 32, ref scratch.Entered) : 0;
            int stayed = now.Size - left;
            if (entered > 0 && scratch.Entered[0] == 0)
            {
                throw new MalformedMessageException("an entity has the id 0, which is reserved");
            }

            if (stayed + entered > EntitiesMax)
            {
                throw new MalformedMessageException("too many entities in one channel");
            }

            scratch.Merge(now, left, entered);
            spare.Reserve(stayed + entered);
            origin.Reserve(stayed + entered);
            bits.ToBits();
            scratch.ReadEntered(bits, Layout.Columns, entered);
            for (int column = 0; column < Layout.Columns.Length; column++)
            {
                ReadMovedColumn(bits, column, stayed, entered);
            }

            bits.ToBytes();
            for (int row = 0; row < spare.Size; row++)
            {
                int source = scratch.Order[row];
                spare.Ids[row] = source < 0 ? scratch.Entered[-1 - source] : now.Ids[scratch.Kept[source]];
            }

            for (int index = 0; index < now.Texts.Length; index++)
            {
                MoveTexts(now.Texts[index], spare.Texts[index]);
            }
        }

        private void ReadMovedColumn(BitReader bits, int column, int stayed, int entered)
        {
            long[] values = now.Columns[column];
            long[] older = (hasHistory ? before : now).Columns[column];
            for (int row = 0; row < stayed; row++)
            {
                int from = scratch.Kept[row];
                scratch.Last[row] = values[from];
                scratch.Before[row] = older[from];
            }

            if (stayed > 0)
            {
                scratch.Columns.ReadStayed(
                    bits, Layout.Columns[column], stayed, scratch.Last, scratch.Before, scratch.Result);
            }

            long[] newValues = spare.Columns[column];
            long[] newOlder = origin.Columns[column];
            int valuesAt = column * entered;
            int changesAt = (Layout.Columns.Length + column) * entered;
            for (int row = 0; row < spare.Size; row++)
            {
                int source = scratch.Order[row];
                if (source < 0)
                {
                    long value = scratch.Fresh[valuesAt - 1 - source];
                    newValues[row] = value;
                    newOlder[row] = value - scratch.Fresh[changesAt - 1 - source];
                }
                else
                {
                    newValues[row] = scratch.Result[source];
                    newOlder[row] = scratch.Last[source];
                }
            }
        }

        private void MoveTexts(TextValue[] from, TextValue[] into)
        {
            for (int row = 0; row < spare.Size; row++)
            {
                int source = scratch.Order[row];
                into[row] = source < 0 ? TextValue.Empty : from[scratch.Kept[source]];
            }
        }

        private void ReadTexts(BitReader bits)
        {
            Field[] fields = Layout.Texts;
            long count = bits.Varint();
            long index = 0;
            for (long number = 0; number < count; number++)
            {
                long step = bits.Varint();
                if (number > 0 && step == 0)
                {
                    throw new MalformedMessageException("a list contains a text twice");
                }

                index += step;
                if (index >= (long)spare.Size * fields.Length)
                {
                    throw new MalformedMessageException("the text " + index + " is out of range");
                }

                int at = (int)(index % fields.Length);
                spare.Texts[at][index / fields.Length] = ReadText(bits, fields[at]);
            }
        }

        private static TextValue ReadText(BitReader bits, Field field)
        {
            long length = bits.Varint();
            if (length > field.BytesMax)
            {
                throw new MalformedMessageException(
                    "the field " + field.Name + " has " + length + " bytes; at most " + field.BytesMax + " are allowed");
            }

            byte[] bytes = bits.Bytes((int)length);
            return new TextValue(bytes, field.Kind == FieldKind.Text ? FlatReader.DecodeText(bytes, 0, bytes.Length) : null);
        }
    }
}
