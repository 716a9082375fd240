// Arguments and fields that may be left out, in code that `tickwire codegen csharp` generates.

using System;

namespace Tickwire
{
    /// <summary>A value that may be left out: the receiver then uses its default. null is a value as well.</summary>
    public readonly struct Optional<T>
    {
        private readonly T value;

        public Optional(T value)
        {
            this.value = value;
            HasValue = true;
        }

        public bool HasValue { get; }

        /// <exception cref="InvalidOperationException">The value was left out.</exception>
        public T Value
        {
            get
            {
                if (!HasValue)
                {
                    throw new InvalidOperationException("the value was left out: check HasValue");
                }

                return value;
            }
        }

        public static implicit operator Optional<T>(T value)
        {
            return new Optional<T>(value);
        }

        /// <summary>Returns the value, or another one if it was left out.</summary>
        public T ValueOr(T other)
        {
            return HasValue ? value : other;
        }
    }
}
