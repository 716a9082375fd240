// A player HTTP API in memory, which accepts each refresh token once and records the requests, and a storage of a login.

using System.Collections.Generic;
using System.Text;
using System.Threading.Tasks;

namespace Tickwire.Tests
{
    public sealed class FakeApi : IHttpTransport
    {
        public readonly List<HttpCall> Calls = new List<HttpCall>();
        public readonly List<double> Delays = new List<double>();
        public readonly Queue<HttpResult> Failures = new Queue<HttpResult>();

        /// <summary>The number of the refresh token that the API accepts.</summary>
        public int Refresh;

        /// <summary>Responses wait for it, if it is set.</summary>
        public TaskCompletionSource<bool> Held;

        public static HttpResult Problem(int status, string code, string retryAfter = "")
        {
            return new HttpResult(status, "{\"title\":\"x\",\"code\":\"" + code + "\",\"detail\":\"why\"}", retryAfter);
        }

        /// <summary>Returns the last part of a URL.</summary>
        public static string NameOf(HttpCall call)
        {
            return call.Url.Substring(call.Url.LastIndexOf('/') + 1);
        }

        public static string BodyOf(HttpCall call)
        {
            return call.Body == null ? "" : Encoding.UTF8.GetString(call.Body);
        }

        public string Names()
        {
            return string.Join(" ", Calls.ConvertAll(call => NameOf(call)));
        }

        public async Task<HttpResult> SendAsync(HttpCall call)
        {
            Calls.Add(call);
            if (Held != null)
            {
                await Held.Task;
            }

            if (Failures.Count > 0)
            {
                return Failures.Dequeue();
            }

            string name = NameOf(call);
            if (name == "token" && !BodyOf(call).Contains("\"r" + Refresh + "\""))
            {
                return Problem(401, "UNAUTHORIZED");
            }

            if (name == "token" || call.Url.Contains("/v1/login/"))
            {
                return LoginResult(name);
            }

            return new HttpResult(200, "{\"player_id\":\"p-1\",\"identities\":[{\"provider\":\"device\",\"subject\":\"d\"}]}");
        }

        public Task DelayAsync(double ms)
        {
            Delays.Add(ms);
            return Task.FromResult(true);
        }

        private HttpResult LoginResult(string name)
        {
            Refresh++;
            return new HttpResult(
                200,
                "{\"player_id\":\"p-1\",\"is_new\":" + (name == "token" ? "false" : "true") + ",\"access_token\":\"a" + Refresh
                + "\",\"expires_in_s\":900,\"refresh_token\":\"r" + Refresh + "\",\"player_url\":\"ws://127.0.0.1:1\""
                + (name == "email" ? ",\"known_client\":\"k\"}" : "}"));
        }
    }

    public sealed class MemoryStorage : ISessionStorage
    {
        public readonly List<string> Saved = new List<string>();
        public string Text = "";

        public string Load()
        {
            return Text;
        }

        public void Save(string text)
        {
            Text = text;
            Saved.Add(text);
        }

        public void Clear()
        {
            Text = "";
        }
    }
}
