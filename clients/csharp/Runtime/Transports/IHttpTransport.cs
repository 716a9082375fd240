// The port to HTTP, for the player HTTP API.

using System.Collections.Generic;
using System.Threading.Tasks;

namespace Tickwire
{
    /// <summary>Makes single HTTP requests. The implementation of the platform is used unless the app has its own.</summary>
    public interface IHttpTransport
    {
        /// <summary>Sends a request, without following redirects, and returns the response with any status.</summary>
        /// <exception cref="ApiUnreachableException">No response arrived in time, or it is too large.</exception>
        Task<HttpResult> SendAsync(HttpCall call);

        /// <summary>Completes after a time: a player in a browser has no timers of .NET.</summary>
        Task DelayAsync(double ms);
    }

    /// <summary>A request.</summary>
    public sealed class HttpCall
    {
        /// <summary>A request without a response after this time has failed.</summary>
        public const double DeadlineMs = 10000;

        /// <summary>The largest response; the export of a player is the largest one.</summary>
        public const int BytesMax = 8 << 20;

        public HttpCall(string method, string url, byte[] body)
        {
            Method = method;
            Url = url;
            Body = body;
        }

        public string Method { get; }

        public string Url { get; }

        /// <summary>JSON; null sends none.</summary>
        public byte[] Body { get; }

        /// <summary>The headers, except for the type of the body.</summary>
        public Dictionary<string, string> Headers { get; } = new Dictionary<string, string>();
    }

    /// <summary>A response.</summary>
    public sealed class HttpResult
    {
        public HttpResult(int status, string body, string retryAfter = "")
        {
            Status = status;
            Body = body;
            RetryAfter = retryAfter;
        }

        public int Status { get; }

        public string Body { get; }

        /// <summary>The header Retry-After; empty without it.</summary>
        public string RetryAfter { get; }
    }
}
