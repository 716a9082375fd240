// The exceptions of the player HTTP API.
//
//     ClientException
//     ├── ApiException                 the API has refused a request; Code has the reason
//     │   └── ApiUnreachableException      the API does not answer
//     └── NotLoggedInException         no player is logged in, or the server has ended the login

using System;
using System.Globalization;

namespace Tickwire
{
    /// <summary>The player HTTP API has refused a request (RFC 9457).</summary>
    public class ApiException : ClientException
    {
        public ApiException(int status, string code, string detail, double retryAfterMs = 0)
            : base(detail.Length > 0 ? code + ": " + detail : code)
        {
            Status = status;
            Code = code;
            Detail = detail;
            RetryAfterMs = retryAfterMs;
        }

        /// <summary>The HTTP status.</summary>
        public int Status { get; }

        /// <summary>Decides how a program handles the error, such as "UNAUTHORIZED", "IDENTITY_TAKEN" or
        /// "RATE_LIMITED".</summary>
        public string Code { get; }

        /// <summary>For a developer.</summary>
        public string Detail { get; }

        /// <summary>When a retry makes sense; 0 if that is unknown.</summary>
        public double RetryAfterMs { get; }

        /// <summary>Whether the same request may succeed later.</summary>
        public bool IsTemporary
        {
            get
            {
                return Status == 429 || Status == 502 || Status == 503 || Status == 504 || Code == "REQUEST_IN_PROGRESS";
            }
        }

        /// <summary>Returns the error that a response describes.</summary>
        internal static ApiException FromResult(HttpResult result)
        {
            JsonFields problem = JsonFields.Read(result.Body);
            double afterMs = problem.Number("retry_after_ms");
            int seconds;
            if (!(afterMs > 0) && int.TryParse(result.RetryAfter, NumberStyles.None, CultureInfo.InvariantCulture, out seconds))
            {
                afterMs = seconds * 1000.0;
            }

            string code = problem.Text("code");
            return new ApiException(
                result.Status, code.Length > 0 ? code : "INTERNAL", problem.Text("detail"), Math.Max(0, afterMs));
        }
    }

    /// <summary>The player HTTP API does not answer; whether it has run the request is unknown.</summary>
    public sealed class ApiUnreachableException : ApiException
    {
        public ApiUnreachableException(string detail)
            : base(503, "UNAVAILABLE", detail)
        {
        }
    }

    /// <summary>The player is not logged in, or the server has ended the login: log in again.</summary>
    public sealed class NotLoggedInException : ClientException
    {
        public NotLoggedInException(string message)
            : base(message)
        {
        }
    }
}
