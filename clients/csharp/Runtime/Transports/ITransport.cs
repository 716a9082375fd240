// The socket of a client, so that the client runs on platforms with other WebSockets.

using System;

namespace Tickwire
{
    /// <summary>One WebSocket connection. It is used once.</summary>
    public interface ITransport
    {
        /// <summary>Begins to open the connection. Returns at once.</summary>
        /// <param name="url">The address, ws:// or wss://.</param>
        /// <param name="subprotocol">The WebSocket subprotocol, which is required.</param>
        /// <param name="listener">Receives what happens, from any thread.</param>
        void Open(string url, string subprotocol, ITransportListener listener);

        /// <summary>Sends one binary message. The transport copies the bytes; it drops them if the connection is not
        /// open.</summary>
        void Send(ArraySegment<byte> data);

        /// <summary>Closes the connection after all messages. The listener need not be called any more. Idempotent.</summary>
        /// <param name="code">The close code.</param>
        /// <param name="reason">For the server's log; at most 40 characters.</param>
        void Close(int code, string reason);
    }

    /// <summary>A transport without threads: it reports only while `Poll` runs.</summary>
    public interface IPolledTransport : ITransport
    {
        void Poll();
    }

    /// <summary>Receives the events of one transport.</summary>
    public interface ITransportListener
    {
        /// <summary>The connection is open.</summary>
        void Opened();

        /// <summary>A binary message arrived. The listener copies the bytes.</summary>
        void Received(byte[] buffer, int offset, int count);

        /// <summary>The connection could not be opened.</summary>
        /// <param name="reason">For a developer.</param>
        /// <param name="retryAfterMs">The delay that the server advised; 0 without advice.</param>
        void Failed(string reason, double retryAfterMs);

        /// <summary>The open connection has ended.</summary>
        /// <param name="code">The close code; null if the connection broke without a close.</param>
        /// <param name="reason">Why this side closed; empty if the server or the network did.</param>
        void Closed(int? code, string reason);
    }
}
