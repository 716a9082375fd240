// Runs the frame loop of the Unity package against the stand-ins: clients that end, are disposed, or fail while it polls them.

using System;
using System.Collections.Generic;
using System.Reflection;
using System.Threading.Tasks;
using Tickwire;

public static class UnityPump
{
    private const BindingFlags Hidden = BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance;

    public static int Main()
    {
        Task failed = TickwireClient.ConnectAsync("ws://home/", Options(null));
        Frame(); // the token
        Frame(); // the failure
        ((IAsyncResult)failed).AsyncWaitHandle.WaitOne(10000); // it continues on another thread
        Print("after a failed connection", failed.Exception.InnerException.GetType().Name + " " + Count());

        var clients = new List<TickwireClient>();
        for (int index = 0; index < 3; index++)
        {
            clients.Add(Open(new Transport()));
        }

        Frame();
        clients[2].OnClosed += error => clients.ForEach(client => client.Dispose());
        clients[2].Close();
        Print("after a listener has disposed of all", Frame() + " " + Count());

        var quiet = new Transport();
        Open(quiet);
        Open(new Transport { IsFailing = true }); // polled before the other one
        Frame();
        string raised = Frame();
        Print("beside a transport that fails", raised + " " + quiet.Polls + " " + Count());

        Task late = TickwirePump.DelayAsync(60000);
        Task soon = TickwirePump.DelayAsync(0);
        Frame();
        Print("delays", soon.IsCompleted + " " + late.IsCompleted);
        return 0;
    }

    private static ClientOptions Options(Transport transport)
    {
        return new ClientOptions { CreateTransport = () => transport ?? throw new InvalidOperationException("no sockets") };
    }

    private static TickwireClient Open(Transport transport)
    {
        TickwireClient client = TickwireClient.Create("ws://home/", Options(transport));
        client.OpenAsync();
        return client;
    }

    /// <summary>Runs one frame. Returns the exception that leaves it, which Unity would log.</summary>
    private static string Frame()
    {
        try
        {
            typeof(TickwirePump).GetMethod("Update", Hidden).Invoke(new TickwirePump(), null);
            return "no exception";
        }
        catch (TargetInvocationException error)
        {
            return error.InnerException.GetType().Name;
        }
    }

    /// <summary>Returns the number of clients that are polled.</summary>
    private static int Count()
    {
        return ((List<TickwireClient>)typeof(TickwirePump).GetField("Clients", Hidden).GetValue(null)).Count;
    }

    private static void Print(string when, string found)
    {
        Console.WriteLine(when + ": " + found);
    }

    private sealed class Transport : IPolledTransport
    {
        public bool IsFailing;
        public int Polls;

        public void Open(string url, string subprotocol, ITransportListener listener)
        {
        }

        public void Send(ArraySegment<byte> data)
        {
        }

        public void Close(int code, string reason)
        {
        }

        public void Poll()
        {
            Polls++;
            if (IsFailing)
            {
                throw new InvalidOperationException("the socket is broken");
            }
        }
    }
}
