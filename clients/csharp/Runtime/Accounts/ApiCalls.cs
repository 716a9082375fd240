// Calls of the player HTTP API: with a deadline, and repeated while the API is not available.
//
// Each call is safe to repeat: logins and renewals by themselves, all other changes by their Idempotency-Key.

using System;
using System.Text;
using System.Threading.Tasks;

namespace Tickwire
{
    /// <summary>Makes calls to one API.</summary>
    internal sealed class ApiCalls
    {
        private const int AttemptsMax = 4;

        /// <summary>A longer delay that the server advised is the caller's decision.</summary>
        private const double RetryMsMax = 15000;
        private readonly IHttpTransport http;

        /// <exception cref="ArgumentException">The URL is not https, or http on loopback: passwords and tokens are sent to
        /// it.</exception>
        public ApiCalls(string url, IHttpTransport http)
        {
            Uri parsed;
            bool isUrl = Uri.TryCreate(url, UriKind.Absolute, out parsed);
            bool isLocal = isUrl && (parsed.Host == "localhost" || parsed.Host == "127.0.0.1" || parsed.Host == "[::1]");
            if (!isUrl || !(parsed.Scheme == "https" || (parsed.Scheme == "http" && isLocal)))
            {
                throw new ArgumentException(
                    "the URL of the API must start with https://; http:// is allowed for loopback addresses", "url");
            }

            Url = url.TrimEnd('/');
            this.http = http ?? CreateTransport(isLocal);
        }

        public string Url { get; }

        /// <summary>Makes one call, with repetitions while the API is not available. Returns the body of the response.</summary>
        /// <param name="method">The HTTP method.</param>
        /// <param name="path">The path below the URL.</param>
        /// <param name="body">The JSON to send; null sends none.</param>
        /// <param name="token">The access token; empty sends none.</param>
        /// <exception cref="ApiException">The API has refused the call, or does not answer.</exception>
        public async Task<string> CallAsync(string method, string path, JsonWriter body = null, string token = "")
        {
            var call = new HttpCall(method, Url + path, body == null ? null : Encoding.UTF8.GetBytes(body.ToString()));
            if (token.Length > 0)
            {
                call.Headers["Authorization"] = "Bearer " + token;
            }

            if (method != "GET")
            {
                call.Headers["Idempotency-Key"] = RandomText.Create(16);
            }

            var backoff = new Backoff(RandomText.NextDouble);
            for (int attempt = 1; ; attempt++)
            {
                double delayMs;
                try
                {
                    HttpResult result = await http.SendAsync(call);
                    if (result.Status >= 200 && result.Status < 300)
                    {
                        return result.Body;
                    }

                    throw ApiException.FromResult(result);
                }
                catch (ApiException error)
                {
                    delayMs = backoff.NextMs(error.RetryAfterMs);
                    if (!error.IsTemporary || attempt == AttemptsMax || delayMs > RetryMsMax)
                    {
                        throw;
                    }
                }

                await http.DelayAsync(delayMs);
            }
        }

        private static IHttpTransport CreateTransport(bool isLocal)
        {
#if UNITY_WEBGL && !UNITY_EDITOR
            return new WebRequestTransport();
#else
            return new HttpClientTransport(!isLocal); // a proxy would not reach this machine
#endif
        }
    }
}
