// Quaternions (x, y, z, w) as a form and three numbers. See docs/protocol.md, "Quaternions".

using System;

namespace Tickwire
{
    /// <summary>Decodes and interpolates quaternions. All are arrays (x, y, z, w).</summary>
    public static class Quaternions
    {
        internal const int FormBits = 8;

        // The places of (dropped, a, b, c) in (x, y, z, w), by form / 8: the permutations of (w, x, y, z) in lexicographic
        // order, where 3 is w.
        private static readonly byte[] Orders =
        {
            3, 0, 1, 2, 3, 0, 2, 1, 3, 1, 0, 2, 3, 1, 2, 0, 3, 2, 0, 1, 3, 2, 1, 0,
            0, 3, 1, 2, 0, 3, 2, 1, 0, 1, 3, 2, 0, 1, 2, 3, 0, 2, 3, 1, 0, 2, 1, 3,
            1, 3, 0, 2, 1, 3, 2, 0, 1, 0, 3, 2, 1, 0, 2, 3, 1, 2, 3, 0, 1, 2, 0, 3,
            2, 3, 0, 1, 2, 3, 1, 0, 2, 0, 3, 1, 2, 0, 1, 3, 2, 1, 3, 0, 2, 1, 0, 3,
        };

        /// <summary>Writes the unit quaternion of a form and its numbers into an array. Any input is a rotation.</summary>
        public static void Unpack(int form, double a, double b, double c, double[] into)
        {
            int order = 4 * (form >> 3);
            if (order < 0 || order >= Orders.Length)
            {
                order = 0;
            }

            double squares = a * a + b * b + c * c;
            double factor = 1 / Math.Max(1, Math.Sqrt(squares));
            into[Orders[order]] = Math.Sqrt(Math.Max(0, 1 - squares));
            into[Orders[order + 1]] = ((form & 1) != 0 ? -a : a) * factor;
            into[Orders[order + 2]] = ((form & 2) != 0 ? -b : b) * factor;
            into[Orders[order + 3]] = ((form & 4) != 0 ? -c : c) * factor;
        }

        /// <summary>Writes the rotation between two unit quaternions into an array, by the shorter way and at a constant
        /// angular speed.</summary>
        public static void Slerp(double[] here, double[] there, double fraction, double[] into)
        {
            double cosine = here[0] * there[0] + here[1] * there[1] + here[2] * there[2] + here[3] * there[3];
            double angle = Math.Acos(Math.Min(1, Math.Abs(cosine)));
            double first = 1 - fraction; // the weights of a line, to which those of a small angle are equal
            double second = fraction;
            if (angle >= 1e-4)
            {
                first = Math.Sin((1 - fraction) * angle) / Math.Sin(angle);
                second = Math.Sin(fraction * angle) / Math.Sin(angle);
            }

            if (cosine < 0)
            {
                second = -second;
            }

            double squares = 0;
            for (int index = 0; index < 4; index++)
            {
                into[index] = first * here[index] + second * there[index];
                squares += into[index] * into[index];
            }

            double length = Math.Sqrt(squares);
            for (int index = 0; index < 4; index++)
            {
                into[index] /= length;
            }
        }
    }
}
