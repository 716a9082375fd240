// Classes of a game that are sent as maps, in code that `tickwire codegen csharp` generates.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>An object that is sent as a map.</summary>
    public interface IWireObject
    {
        /// <summary>Returns the map that is sent.</summary>
        Dictionary<string, object> ToWire();
    }
}
