// Random texts and numbers from the cryptographic generator of the platform.

using System;
using System.Security.Cryptography;

namespace Tickwire
{
    internal static class RandomText
    {
        /// <summary>Returns letters, digits, - and _, with 8 bits of randomness for each byte.</summary>
        public static string Create(int bytes)
        {
            return Convert.ToBase64String(Bytes(bytes)).Replace('+', '-').Replace('/', '_').TrimEnd('=');
        }

        /// <summary>Returns a number from 0 to 1. Any thread may call it.</summary>
        public static double NextDouble()
        {
            return BitConverter.ToUInt32(Bytes(4), 0) / (uint.MaxValue + 1.0);
        }

        private static byte[] Bytes(int count)
        {
            var bytes = new byte[count];
            using (RandomNumberGenerator random = RandomNumberGenerator.Create())
            {
                random.GetBytes(bytes);
            }

            return bytes;
        }
    }
}
