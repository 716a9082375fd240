// Reads the columns of a section: the values of entities that stayed or entered. See docs/protocol.md, "Packed".

namespace Tickwire
{
    /// <summary>Reads columns. Its arrays are reused for all frames of a world.</summary>
    internal sealed class ColumnReader
    {
        private const int Linear = 1;
        private const int Changed = 2;
        private const int Rice = 3;
        private const int Escape = 24;
        private const int RawBits = 60;
        private byte[] quotients = new byte[64];

        /// <summary>Reads one column of the entities that stayed.</summary>
        /// <param name="bits">The packed part, in bits.</param>
        /// <param name="field">The field of the column.</param>
        /// <param name="count">The number of entities that stayed.</param>
        /// <param name="last">Their values.</param>
        /// <param name="before">Their values one state earlier.</param>
        /// <param name="into">Their new values. Another array than `last`.</param>
        public void ReadStayed(BitReader bits, Field field, int count, long[] last, long[] before, long[] into)
        {
            bits.Need(1);
            if (bits.Number(1) == 0)
            {
                System.Array.Copy(last, into, count);
                return;
            }

            bits.Need(8);
            int predictor = (int)bits.Number(2);
            int parameter = (int)bits.Number(6);
            if (predictor == Rice)
            {
                ReadRice(bits, parameter, count, into);
            }
            else if (predictor == Changed)
            {
                ReadChanged(bits, parameter, count, into);
            }
            else
            {
                bits.Need((long)count * parameter);
                bits.Zigzag(parameter, into, count);
            }

            Predict(predictor == Rice || predictor == Linear, count, last, before, into);
            if (field.Modulus != 0)
            {
                Wrap(field.Modulus - 1, count, into);
            }

            CheckRange(field, count, into);
        }

        /// <summary>Reads one column of the entities that entered: its values, or their changes since the tick before.</summary>
        public void ReadEntered(BitReader bits, int count, long[] into)
        {
            bits.Need(6);
            int width = (int)bits.Number(6);
            bits.Need((long)count * width);
            bits.Zigzag(width, into, count);
        }

        public static void CheckRange(Field field, int count, long[] values)
        {
            long least = field.Least;
            long greatest = field.Greatest;
            for (int row = 0; row < count; row++)
            {
                if (values[row] < least || values[row] > greatest)
                {
                    throw new MalformedMessageException("a value of " + field.Name + " is out of its range");
                }
            }
        }

        private void ReadRice(BitReader bits, int k, int count, long[] into)
        {
            Arrays.Reserve(ref quotients, count);
            int escapes = 0;
            for (int row = 0; row < count; row++)
            {
                int quotient = bits.Unary(Escape);
                quotients[row] = (byte)quotient;
                escapes += quotient == Escape ? 1 : 0;
            }

            bits.Need((long)escapes * RawBits + (long)(count - escapes) * k);
            for (int row = 0; row < count; row++)
            {
                ulong quotient = quotients[row];
                ulong code = quotient == Escape ? bits.Number(RawBits) : (quotient << k) | bits.Number(k);
                into[row] = Unzigzag(code);
            }
        }

        private void ReadChanged(BitReader bits, int width, int count, long[] into)
        {
            Arrays.Reserve(ref quotients, count);
            bits.Need(count);
            int changed = 0;
            for (int row = 0; row < count; row++)
            {
                byte isSet = (byte)bits.Number(1);
                quotients[row] = isSet;
                changed += isSet;
            }

            bits.Need((long)changed * width);
            for (int row = 0; row < count; row++)
            {
                into[row] = quotients[row] == 0 ? 0 : Unzigzag(bits.Number(width));
            }
        }

        private static void Predict(bool isLinear, int count, long[] last, long[] before, long[] into)
        {
            if (!isLinear)
            {
                for (int row = 0; row < count; row++)
                {
                    into[row] += last[row];
                }

                return;
            }

            for (int row = 0; row < count; row++)
            {
                into[row] += 2 * last[row] - before[row];
            }
        }

        private static void Wrap(long mask, int count, long[] values)
        {
            for (int row = 0; row < count; row++)
            {
                values[row] &= mask;
            }
        }

        private static long Unzigzag(ulong code)
        {
            return (long)(code >> 1) ^ -(long)(code & 1);
        }
    }
}
