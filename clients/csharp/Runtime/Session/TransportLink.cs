// Carries the events of one transport to the client's thread.

using System;
using System.Threading.Tasks;

namespace Tickwire
{
    internal enum LinkEventKind
    {
        Opened,
        Received,
        Failed,
        Closed,
        TokenReceived,
        TokenFailed,
    }

    /// <summary>An event for the machine, with the connection or the token request that it is about.</summary>
    internal struct LinkEvent
    {
        public LinkEventKind Kind;
        public object Source;
        public byte[] Buffer;
        public int Count;
        public int? Code;
        public string Text;
        public double RetryAfterMs;
    }

    /// <summary>The listener of one transport: queues its events.</summary>
    internal sealed class TransportLink : ITransportListener
    {
        private readonly TickwireClient client;
        private readonly BufferPool buffers;
        private readonly TaskCompletionSource<bool> ended =
            new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);

        public TransportLink(TickwireClient client, BufferPool buffers)
        {
            this.client = client;
            this.buffers = buffers;
        }

        public ITransport Transport { get; set; }

        /// <summary>Completes when the connection has ended.</summary>
        public Task Ended
        {
            get { return ended.Task; }
        }

        public void Opened()
        {
            client.Enqueue(new LinkEvent { Kind = LinkEventKind.Opened, Source = this });
        }

        public void Received(byte[] buffer, int offset, int count)
        {
            byte[] copy = buffers.Rent(count);
            Buffer.BlockCopy(buffer, offset, copy, 0, count);
            client.Enqueue(new LinkEvent { Kind = LinkEventKind.Received, Source = this, Buffer = copy, Count = count });
        }

        public void Failed(string reason, double retryAfterMs)
        {
            ended.TrySetResult(true);
            client.Enqueue(new LinkEvent
            {
                Kind = LinkEventKind.Failed,
                Source = this,
                Text = reason,
                RetryAfterMs = retryAfterMs,
            });
        }

        public void Closed(int? code, string reason)
        {
            ended.TrySetResult(true);
            client.Enqueue(new LinkEvent { Kind = LinkEventKind.Closed, Source = this, Code = code, Text = reason });
        }
    }
}
