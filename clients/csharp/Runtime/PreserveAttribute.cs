using System;

namespace Tickwire
{
    /// <summary>Keeps a type or a member that only native code calls from being stripped.</summary>
    /// <remarks>Unity's linker recognises the attribute by its name alone, so that plain .NET can compile it as well.</remarks>
    [AttributeUsage(AttributeTargets.All, Inherited = false)]
    internal sealed class PreserveAttribute : Attribute
    {
    }
}
