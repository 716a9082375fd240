// Who calls Poll: Unity's main thread, or a thread of the client.

using System;
#if !UNITY_5_3_OR_NEWER
using System.Threading;
#endif

namespace Tickwire
{
    public sealed partial class TickwireClient
    {
        /// <summary>Whether the session has ended: nothing happens any more.</summary>
        internal bool IsOver
        {
            get { return State == ConnectionState.Closed && queue.Count == 0 && calls.Count == 0; }
        }

        /// <summary>Polls. An exception would end the whole program on the client's thread, and in Unity the frame of other
        /// clients.</summary>
        internal void PollAndReport()
        {
            try
            {
                Poll();
            }
            catch (Exception error)
            {
                ReportError(error);
            }
        }

#if UNITY_5_3_OR_NEWER
        private void StartPump()
        {
            TickwirePump.Add(this);
        }

        private void StopPump()
        {
            TickwirePump.Remove(this);
        }
#else
        private const int WaitMsMax = 60000;

        private void StartPump()
        {
            var thread = new Thread(RunPump) { IsBackground = true, Name = "tickwire client" };
            thread.Start();
        }

        private void StopPump()
        {
            Monitor.PulseAll(gate); // the thread ends by itself
        }

        private void RunPump()
        {
            lock (gate)
            {
                while (!isDisposed && !IsOver)
                {
                    PollAndReport();
                    double waitMs = timerMs - NowMs;
                    if (queue.Count == 0 && waitMs > 0 && !isDisposed)
                    {
                        Monitor.Wait(gate, (int)Math.Ceiling(Math.Min(waitMs, WaitMsMax)));
                    }
                }
            }
        }
#endif
    }
}
