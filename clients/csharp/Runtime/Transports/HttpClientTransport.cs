// The HTTP client of .NET: for plain .NET, the Unity editor and Unity's players other than WebGL.

#if !UNITY_WEBGL || UNITY_EDITOR
using System;
using System.Collections.Generic;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Threading.Tasks;

namespace Tickwire
{
    /// <summary>Requests with System.Net.Http. One per API: its connections are used again.</summary>
    public sealed class HttpClientTransport : IHttpTransport
    {
        private readonly HttpClient client;

        /// <param name="hasProxy">Whether the proxy of the system is used.</param>
        public HttpClientTransport(bool hasProxy = true)
        {
            var handler = new HttpClientHandler { AllowAutoRedirect = false, UseCookies = false, UseProxy = hasProxy };
            client = new HttpClient(handler)
            {
                Timeout = TimeSpan.FromMilliseconds(HttpCall.DeadlineMs),
                MaxResponseContentBufferSize = HttpCall.BytesMax,
            };
        }

        public async Task<HttpResult> SendAsync(HttpCall call)
        {
            try
            {
                using (HttpRequestMessage request = Convert(call))
                using (HttpResponseMessage response = await client.SendAsync(request))
                {
                    byte[] body = response.Content == null ? new byte[0] : await response.Content.ReadAsByteArrayAsync();
                    IEnumerable<string> values;
                    string retryAfter = response.Headers.TryGetValues("Retry-After", out values) ? string.Join(",", values) : "";
                    return new HttpResult((int)response.StatusCode, Encoding.UTF8.GetString(body), retryAfter);
                }
            }
            catch (Exception error) // of various types, by platform
            {
                throw new ApiUnreachableException("the API does not answer: " + Reason(error));
            }
        }

        public Task DelayAsync(double ms)
        {
            return Task.Delay(TimeSpan.FromMilliseconds(ms));
        }

        private static HttpRequestMessage Convert(HttpCall call)
        {
            var request = new HttpRequestMessage(new HttpMethod(call.Method), call.Url);
            foreach (KeyValuePair<string, string> header in call.Headers)
            {
                request.Headers.TryAddWithoutValidation(header.Key, header.Value);
            }

            if (call.Body != null)
            {
                request.Content = new ByteArrayContent(call.Body);
                request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            }

            return request;
        }

        private static string Reason(Exception error)
        {
            return error.InnerException == null ? error.Message : error.Message + ": " + error.InnerException.Message;
        }
    }
}
#endif
