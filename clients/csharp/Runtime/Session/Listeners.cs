// The listeners of one event.

using System;
using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>Calls listeners in the order in which they were added. An exception of one of them is passed on to `report`, and
    /// the others are called. Allocates nothing per call.</summary>
    internal sealed class Listeners<T>
    {
        private readonly Action<Exception> report;
        private readonly List<Action<T>> listeners = new List<Action<T>>();

        public Listeners(Action<Exception> report)
        {
            this.report = report;
        }

        public int Count
        {
            get { return listeners.Count; }
        }

        public void Add(Action<T> listener)
        {
            listeners.Add(listener);
        }

        public void Remove(Action<T> listener)
        {
            listeners.Remove(listener);
        }

        public void Invoke(T value)
        {
            for (int index = 0; index < listeners.Count; index++)
            {
                Action<T> listener = listeners[index];
                try
                {
                    listener(value);
                }
                catch (Exception error)
                {
                    report(error);
                }

                if (index < listeners.Count && listeners[index] != listener)
                {
                    index--; // the listener removed itself
                }
            }
        }
    }
}
