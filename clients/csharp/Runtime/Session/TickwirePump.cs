// Polls the clients once a frame, on Unity's main thread.

#if UNITY_5_3_OR_NEWER
using System.Collections.Generic;
using UnityEngine;

namespace Tickwire
{
    /// <summary>Calls Poll of each client before the scripts of a frame run. It exists from the first client on.</summary>
    [Preserve]
    [DefaultExecutionOrder(-1000)]
    internal sealed class TickwirePump : MonoBehaviour
    {
        private static readonly List<TickwireClient> Clients = new List<TickwireClient>();
        private static TickwirePump pump;

        public static void Add(TickwireClient client)
        {
            if (pump == null)
            {
                var owner = new GameObject("Tickwire") { hideFlags = HideFlags.HideAndDontSave };
                DontDestroyOnLoad(owner);
                pump = owner.AddComponent<TickwirePump>();
            }

            Clients.Add(client);
        }

        public static void Remove(TickwireClient client)
        {
            Clients.Remove(client);
        }

        private void Update()
        {
            for (int index = Clients.Count - 1; index >= 0; index--)
            {
                Clients[index].Poll();
            }
        }

        /// <summary>The app is visible again: its timers were late, and the network may have changed.</summary>
        private void OnApplicationPause(bool isPaused)
        {
            for (int index = Clients.Count - 1; index >= 0 && !isPaused; index--)
            {
                Clients[index].NetworkChanged();
            }
        }

        /// <summary>Closes the sockets: the editor keeps the process after play mode. A stored session can be resumed.</summary>
        private void OnApplicationQuit()
        {
            for (int index = Clients.Count - 1; index >= 0; index--)
            {
                Clients[index].Dispose();
            }
        }
    }
}
#endif
