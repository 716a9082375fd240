// Who calls Poll: Unity's main thread, or a thread of the client.

using System;
using System.Threading;

namespace Tickwire
{
    public sealed partial class TickwireClient
    {
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

        /// <summary>An exception on this thread would end the whole program.</summary>
        private void PollAndReport()
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

        /// <summary>Whether the session has ended: nothing happens any more.</summary>
        private bool IsOver
        {
            get { return State == ConnectionState.Closed && queue.Count == 0 && calls.Count == 0; }
        }
#endif
    }
}
