// The WebSocket of .NET: for plain .NET, the Unity editor and Unity's players other than WebGL.

using System;
using System.Collections.Generic;
using System.Net.WebSockets;
using System.Threading;
using System.Threading.Tasks;

namespace Tickwire
{
    /// <summary>A connection with System.Net.WebSockets. Its own buffers are used again; .NET allocates per message.</summary>
    public sealed class ClientWebSocketTransport : ITransport
    {
        private const int BufferBytes = 16 * 1024;
        private const int CloseMsMax = 2000;
        private const int Normal = 1000;
        private static readonly TimeSpan NoKeepAlive = TimeSpan.Zero; // the client sends its own heartbeat
        private readonly ClientWebSocket socket = new ClientWebSocket();
        private readonly CancellationTokenSource ended = new CancellationTokenSource();
        private readonly Queue<Outgoing> outgoing = new Queue<Outgoing>();
        private readonly BufferPool buffers = new BufferPool();
        private ITransportListener listener;
        private bool isSending;
        private bool isClosing;

        private struct Outgoing
        {
            public byte[] Buffer;
            public int Count;
            public int CloseCode; // 0: a message
            public string CloseReason;
        }

        public void Open(string url, string subprotocol, ITransportListener transportListener)
        {
            listener = transportListener;
            socket.Options.AddSubProtocol(subprotocol);
            socket.Options.KeepAliveInterval = NoKeepAlive;
            Task.Run(() => RunAsync(url));
        }

        public void Send(ArraySegment<byte> data)
        {
            lock (outgoing)
            {
                if (isClosing)
                {
                    return;
                }

                byte[] buffer = buffers.Rent(data.Count);
                Buffer.BlockCopy(data.Array, data.Offset, buffer, 0, data.Count);
                Enqueue(new Outgoing { Buffer = buffer, Count = data.Count });
            }
        }

        public void Close(int code, string reason)
        {
            lock (outgoing)
            {
                if (isClosing)
                {
                    return;
                }

                isClosing = true;
                ended.CancelAfter(CloseMsMax);
                Enqueue(new Outgoing { CloseCode = code, CloseReason = reason });
            }
        }

        private void Enqueue(in Outgoing item)
        {
            outgoing.Enqueue(item);
            if (!isSending && socket.State == WebSocketState.Open)
            {
                isSending = true;
                Task.Run(SendAsync);
            }
            else if (isClosing && socket.State != WebSocketState.Open)
            {
                ended.Cancel();
            }
        }

        private async Task RunAsync(string url)
        {
            try
            {
                await socket.ConnectAsync(new Uri(url), ended.Token).ConfigureAwait(false);
            }
            catch (Exception error) // of various types, by platform
            {
                socket.Dispose();
                listener.Failed("cannot connect to " + url + ": " + Reason(error), 0);
                return;
            }

            listener.Opened();
            StartSending();
            int? code = null;
            try
            {
                code = await ReceiveAsync().ConfigureAwait(false);
            }
            catch (Exception)
            {
                code = null; // the connection broke
            }

            lock (outgoing)
            {
                isClosing = true;
            }

            ended.Cancel();
            socket.Dispose();
            listener.Closed(code, ""); // last: the program may end now, and mono aborts if sockets are disposed meanwhile
        }

        private void StartSending()
        {
            lock (outgoing)
            {
                if (!isSending && outgoing.Count > 0)
                {
                    isSending = true;
                    Task.Run(SendAsync);
                }
            }
        }

        /// <summary>Receives until the end. Returns the server's close code.</summary>
        private async Task<int?> ReceiveAsync()
        {
            var buffer = new byte[BufferBytes];
            int count = 0;
            while (true)
            {
                var free = new ArraySegment<byte>(buffer, count, buffer.Length - count);
                WebSocketReceiveResult result = await socket.ReceiveAsync(free, ended.Token).ConfigureAwait(false);
                if (result.MessageType == WebSocketMessageType.Close)
                {
                    await AnswerCloseAsync().ConfigureAwait(false);
                    return result.CloseStatus == null ? (int?)null : (int)result.CloseStatus.Value;
                }

                count += result.Count;
                if (result.EndOfMessage)
                {
                    listener.Received(buffer, 0, count);
                    count = 0;
                }
                else if (count == buffer.Length)
                {
                    if (count > ClientCore.MessageBytesMax)
                    {
                        Close(1009, "the message is too large");
                        return 1009;
                    }

                    Array.Resize(ref buffer, 2 * buffer.Length);
                }
            }
        }

        private async Task AnswerCloseAsync()
        {
            lock (outgoing)
            {
                isClosing = true;
            }

            try
            {
                if (socket.State == WebSocketState.CloseReceived)
                {
                    await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, "", ended.Token).ConfigureAwait(false);
                }
            }
            catch (Exception)
            {
                return; // the server does not wait for the answer
            }
        }

        private async Task SendAsync()
        {
            try
            {
                Outgoing item;
                while (TryDequeue(out item))
                {
                    if (item.CloseCode != 0)
                    {
                        var code = (WebSocketCloseStatus)item.CloseCode;
                        await socket.CloseOutputAsync(code, item.CloseReason, ended.Token).ConfigureAwait(false);
                        if (item.CloseCode != Normal)
                        {
                            ended.Cancel(); // the path may be dead: nothing waits for the server's close
                        }

                        continue;
                    }

                    var data = new ArraySegment<byte>(item.Buffer, 0, item.Count);
                    await socket.SendAsync(data, WebSocketMessageType.Binary, true, ended.Token).ConfigureAwait(false);
                    buffers.Return(item.Buffer);
                }
            }
            catch (Exception)
            {
                ended.Cancel(); // the receiver reports the end
            }
        }

        private bool TryDequeue(out Outgoing item)
        {
            lock (outgoing)
            {
                isSending = outgoing.Count > 0;
                item = isSending ? outgoing.Dequeue() : default(Outgoing);
                return isSending;
            }
        }

        private static string Reason(Exception error)
        {
            return error.InnerException == null ? error.Message : error.Message + ": " + error.InnerException.Message;
        }
    }
}
