// The browser's WebSocket, for Unity's WebGL players. See TickwireSocket.jslib.

#if UNITY_WEBGL && !UNITY_EDITOR
using System;
using System.Runtime.InteropServices;

namespace Tickwire
{
    /// <summary>A connection of a WebGL player. It reports only while `Poll` runs: a page has one thread.</summary>
    [Preserve]
    public sealed class WebGlTransport : IPolledTransport
    {
        private const int StateOpen = 1;
        private const int StateFailed = 2;
        private ITransportListener listener;
        private string url;
        private int id;
        private bool isOpen;
        private bool isEnded;
        private byte[] buffer = new byte[16 * 1024];

        public void Open(string address, string subprotocol, ITransportListener transportListener)
        {
            url = address;
            listener = transportListener;
            id = TickwireSocketOpen(address, subprotocol);
        }

        public void Send(ArraySegment<byte> data)
        {
            if (isOpen && !isEnded)
            {
                TickwireSocketSend(id, data.Array, data.Offset, data.Count);
            }
        }

        public void Close(int code, string reason)
        {
            if (!isEnded)
            {
                isEnded = true;
                TickwireSocketClose(id, code, reason);
            }
        }

        public void Poll()
        {
            if (isEnded)
            {
                return;
            }

            int state = TickwireSocketState(id);
            if (state == StateFailed)
            {
                Close(1000, "");
                listener.Failed("cannot connect to " + url + ": the browser's console has the reason", 0);
                return;
            }

            if (state >= StateOpen && !isOpen)
            {
                isOpen = true;
                listener.Opened();
            }

            for (int size = NextSize(); size >= 0; size = NextSize())
            {
                if (size > buffer.Length)
                {
                    buffer = new byte[Math.Max(size, 2 * buffer.Length)];
                }

                TickwireSocketRead(id, buffer);
                listener.Received(buffer, 0, size);
            }

            if (state > StateFailed && !isEnded)
            {
                int code = TickwireSocketCloseCode(id);
                Close(1000, "");
                const int Abnormal = 1006; // no close arrived
                const int NoCode = 1005;
                listener.Closed(code == Abnormal || code == NoCode ? (int?)null : code, "");
            }
        }

        private int NextSize()
        {
            return isEnded ? -1 : TickwireSocketNextSize(id);
        }

        [DllImport("__Internal")]
        private static extern int TickwireSocketOpen(string url, string protocol);

        [DllImport("__Internal")]
        private static extern int TickwireSocketState(int id);

        [DllImport("__Internal")]
        private static extern int TickwireSocketCloseCode(int id);

        [DllImport("__Internal")]
        private static extern int TickwireSocketNextSize(int id);

        [DllImport("__Internal")]
        private static extern void TickwireSocketRead(int id, byte[] buffer);

        [DllImport("__Internal")]
        private static extern void TickwireSocketSend(int id, byte[] buffer, int offset, int count);

        [DllImport("__Internal")]
        private static extern void TickwireSocketClose(int id, int code, string reason);
    }
}
#endif
