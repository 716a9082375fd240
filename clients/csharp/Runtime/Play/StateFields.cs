// The numbers of a predicted state that are smoothed, as functions: there is no reflection.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>Applies an input to a state for one tick, as the room does, and returns the new state.</summary>
    public delegate TState PredictionStep<TState, TInput>(in TState state, in TInput input);

    public delegate double GetNumber<TState>(in TState state);

    public delegate void SetNumber<TState>(ref TState state, double value);

    /// <summary>Copies the fields that the server does not send from a predicted state to one of the server.</summary>
    public delegate void CopyLocal<TState>(in TState from, ref TState to);

    /// <summary>Reads the own entity's state in the client's world. Returns false if the entity does not exist.</summary>
    public delegate bool TryReadState<TState>(out TState state);

    /// <summary>The fields of a state: the position, whose errors have one distance, and the angles, in radians, which turn by
    /// the shorter way.</summary>
    public sealed class StateFields<TState>
    {
        private readonly List<GetNumber<TState>> getters = new List<GetNumber<TState>>();
        private readonly List<SetNumber<TState>> setters = new List<SetNumber<TState>>();
        private readonly List<bool> areAngles = new List<bool>();

        internal int Count
        {
            get { return getters.Count; }
        }

        /// <summary>Adds a field of the position. Returns this object.</summary>
        public StateFields<TState> Field(GetNumber<TState> get, SetNumber<TState> set)
        {
            return Add(get, set, false);
        }

        /// <summary>Adds an angle. Returns this object.</summary>
        public StateFields<TState> Angle(GetNumber<TState> get, SetNumber<TState> set)
        {
            return Add(get, set, true);
        }

        internal bool IsAngle(int index)
        {
            return areAngles[index];
        }

        internal double Get(int index, in TState state)
        {
            return getters[index](state);
        }

        internal void Set(int index, ref TState state, double value)
        {
            setters[index](ref state, value);
        }

        /// <summary>Returns the difference of two numbers; of angles by the shorter way.</summary>
        internal double Difference(int index, double from, double to)
        {
            return areAngles[index] ? Angles.ShortWay(from - to) : from - to;
        }

        private StateFields<TState> Add(GetNumber<TState> get, SetNumber<TState> set, bool isAngle)
        {
            getters.Add(get);
            setters.Add(set);
            areAngles.Add(isAngle);
            return this;
        }
    }
}
