// A transport without a network, and a client on it that the test polls.

using System;
using System.Collections.Generic;
using System.IO;

namespace Tickwire.Tests
{
    /// <summary>Records what the client does; the test plays the server.</summary>
    public class FakeTransport : ITransport
    {
        public readonly List<byte[]> Sent = new List<byte[]>();
        public ITransportListener Listener;
        public string Url;
        public int CloseCode;
        public string CloseReason;
        public int SentCount;
        public bool IsRecording = true;

        public void Open(string url, string subprotocol, ITransportListener listener)
        {
            Url = url;
            Listener = listener;
        }

        public void Send(ArraySegment<byte> data)
        {
            SentCount++;
            if (IsRecording)
            {
                var copy = new byte[data.Count];
                Buffer.BlockCopy(data.Array, data.Offset, copy, 0, data.Count);
                Sent.Add(copy);
            }
        }

        public void Close(int code, string reason)
        {
            CloseCode = code;
            CloseReason = reason;
        }

        public void Receive(byte[] message)
        {
            Listener.Received(message, 0, message.Length);
        }
    }

    /// <summary>A transport that has no threads, as in a browser.</summary>
    public sealed class PolledTransport : FakeTransport, IPolledTransport
    {
        public void Poll()
        {
        }
    }

    /// <summary>A client whose server is the test. The messages are those of a scenario vector.</summary>
    public sealed class FakeServer
    {
        public readonly List<FakeTransport> Transports = new List<FakeTransport>();
        public readonly ClientOptions Options;
        public readonly List<string> Errors = new List<string>();
        private readonly List<byte[]> messages = new List<byte[]>();

        public FakeServer(string scenario)
        {
            Options = new ClientOptions { IsPolled = true, CreateTransport = CreateTransport };
            string path = Path.Combine(Runner.Root, "schemas", "scenarios", scenario + ".json");
            foreach (object item in Json.List(Json.Map(Json.Parse(File.ReadAllText(path)))["steps"]))
            {
                var happened = Json.Map(Json.Map(item)["event"]);
                if ((string)happened["type"] == "message_received")
                {
                    messages.Add(Json.Hex(happened["hex"]));
                }
            }
        }

        public TickwireClient Client { get; private set; }

        public FakeTransport Transport
        {
            get { return Transports[Transports.Count - 1]; }
        }

        /// <summary>Opens the client, and answers with Welcome, the first message.</summary>
        public void Open()
        {
            Client = TickwireClient.Create("ws://home/", Options);
            Client.OnError += error => Errors.Add(error.Message);
            var opened = Client.OpenAsync();
            Client.Poll();
            Transport.Listener.Opened();
            Client.Poll();
            Receive(0);
            Check.That(opened.Wait(5000), "the client is open");
        }

        /// <summary>Lets the client receive a message of the vector.</summary>
        public void Receive(int index)
        {
            Receive(messages[index]);
        }

        public void Receive(byte[] message)
        {
            Transport.Receive(message);
            Client.Poll();
        }

        private ITransport CreateTransport()
        {
            Transports.Add(new FakeTransport());
            return Transport;
        }
    }
}
