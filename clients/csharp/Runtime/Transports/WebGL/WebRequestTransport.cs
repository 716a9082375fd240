// The HTTP client of the browser, for Unity's WebGL players.

#if UNITY_WEBGL && !UNITY_EDITOR
using System;
using System.Collections.Generic;
using System.Threading.Tasks;
using UnityEngine.Networking;

namespace Tickwire
{
    /// <summary>Requests with UnityWebRequest. The server must accept the page's origin (`api.origins`).</summary>
    [Preserve]
    public sealed class WebRequestTransport : IHttpTransport
    {
        public Task<HttpResult> SendAsync(HttpCall call)
        {
            var done = new TaskCompletionSource<HttpResult>(TaskCreationOptions.RunContinuationsAsynchronously);
            var request = new UnityWebRequest(call.Url, call.Method)
            {
                downloadHandler = new DownloadHandlerBuffer(),
                timeout = (int)Math.Ceiling(HttpCall.DeadlineMs / 1000),
                redirectLimit = 0,
            };
            foreach (KeyValuePair<string, string> header in call.Headers)
            {
                request.SetRequestHeader(header.Key, header.Value);
            }

            if (call.Body != null)
            {
                request.uploadHandler = new UploadHandlerRaw(call.Body);
                request.SetRequestHeader("Content-Type", "application/json");
            }

            request.SendWebRequest().completed += operation => Complete(request, done);
            return done.Task;
        }

        public Task DelayAsync(double ms)
        {
            return TickwirePump.DelayAsync(ms);
        }

        private static void Complete(UnityWebRequest request, TaskCompletionSource<HttpResult> done)
        {
            using (request)
            {
                bool isAnswered = request.responseCode != 0 && request.result != UnityWebRequest.Result.ConnectionError;
                if (!isAnswered || request.downloadedBytes > HttpCall.BytesMax)
                {
                    done.TrySetException(new ApiUnreachableException("the API does not answer: " + request.error));
                    return;
                }

                string retryAfter = request.GetResponseHeader("Retry-After") ?? "";
                string body = request.downloadHandler.text ?? "";
                done.TrySetResult(new HttpResult((int)request.responseCode, body, retryAfter));
            }
        }
    }
}
#endif
