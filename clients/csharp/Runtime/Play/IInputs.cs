// The inputs of a room as a struct, in code that `tickwire codegen csharp` generates.

namespace Tickwire
{
    /// <summary>The fields of an input. As a struct it is sent and predicted without an allocation.</summary>
    public interface IInputs
    {
        /// <summary>The names of the fields: always the same array.</summary>
        string[] Names { get; }

        /// <summary>Returns the value of a field, by its index in <see cref="Names"/>, in the game's units.</summary>
        double ValueAt(int index);

        /// <summary>Sets the value of a field.</summary>
        void SetValueAt(int index, double value);
    }
}
