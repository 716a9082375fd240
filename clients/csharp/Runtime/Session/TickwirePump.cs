// Polls the clients once a frame, on Unity's main thread.

#if UNITY_5_3_OR_NEWER
using System;
using System.Collections.Generic;
using System.Threading.Tasks;
using UnityEngine;

namespace Tickwire
{
    /// <summary>Calls Poll of each client before the scripts of a frame run. It exists from the first client on.</summary>
    [Preserve]
    [DefaultExecutionOrder(-1000)]
    internal sealed class TickwirePump : MonoBehaviour
    {
        private static readonly List<TickwireClient> Clients = new List<TickwireClient>();
        private static readonly List<Delay> Delays = new List<Delay>();
        private static TickwirePump pump;

        private struct Delay
        {
            public double AtMs;
            public TaskCompletionSource<bool> Ended;
        }

        public static void Add(TickwireClient client)
        {
            Start();
            Clients.Add(client);
        }

        public static void Remove(TickwireClient client)
        {
            Clients.Remove(client);
        }

        /// <summary>Completes in a frame after a time.</summary>
        public static Task DelayAsync(double ms)
        {
            Start();
            var ended = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            Delays.Add(new Delay { AtMs = TickwireClient.NowMs + ms, Ended = ended });
            return ended.Task;
        }

        private static void Start()
        {
            if (pump == null)
            {
                // HideAndDontSave would keep the object in the editor after each play mode.
                var owner = new GameObject("Tickwire") { hideFlags = HideFlags.HideInHierarchy };
                DontDestroyOnLoad(owner);
                pump = owner.AddComponent<TickwirePump>();
            }
        }

        private void Update()
        {
            ForEach(client => client.PollAndReport());
            Clients.RemoveAll(client => client.IsOver);
            Delays.RemoveAll(delay => TickwireClient.NowMs >= delay.AtMs && delay.Ended.TrySetResult(true));
        }

        /// <summary>The app is visible again: its timers were late, and the network may have changed.</summary>
        private void OnApplicationPause(bool isPaused)
        {
            if (!isPaused)
            {
                ForEach(client => client.NetworkChanged());
            }
        }

        /// <summary>Closes the sockets: the editor keeps the process after play mode. A stored session can be resumed.</summary>
        private void OnApplicationQuit()
        {
            ForEach(client => client.Dispose());
        }

        /// <summary>Visits all clients. Listeners may add and dispose of clients meanwhile.</summary>
        private static void ForEach(Action<TickwireClient> visit)
        {
            for (int index = Clients.Count - 1; index >= 0; index--)
            {
                if (index < Clients.Count)
                {
                    visit(Clients[index]);
                }
            }
        }
    }
}
#endif
