// The parts of Unity's UnityWebRequest that this package uses, without any behaviour.

using System;

namespace UnityEngine
{
    public class AsyncOperation
    {
        public event Action<AsyncOperation> completed;

        protected void Complete()
        {
            if (completed != null)
            {
                completed(this);
            }
        }
    }
}

namespace UnityEngine.Networking
{
    public sealed class UnityWebRequestAsyncOperation : AsyncOperation
    {
    }

    public abstract class UploadHandler
    {
    }

    public sealed class UploadHandlerRaw : UploadHandler
    {
        public UploadHandlerRaw(byte[] data)
        {
        }
    }

    public abstract class DownloadHandler
    {
        public string text { get; }
    }

    public sealed class DownloadHandlerBuffer : DownloadHandler
    {
    }

    public sealed class UnityWebRequest : IDisposable
    {
        public UnityWebRequest(string url, string method)
        {
        }

        public enum Result
        {
            InProgress,
            Success,
            ConnectionError,
            ProtocolError,
            DataProcessingError,
        }

        public UploadHandler uploadHandler { get; set; }

        public DownloadHandler downloadHandler { get; set; }

        public int timeout { get; set; }

        public int redirectLimit { get; set; }

        public long responseCode { get; }

        public ulong downloadedBytes { get; }

        public Result result { get; }

        public string error { get; }

        public void SetRequestHeader(string name, string value)
        {
        }

        public string GetResponseHeader(string name)
        {
            return null;
        }

        public UnityWebRequestAsyncOperation SendWebRequest()
        {
            return new UnityWebRequestAsyncOperation();
        }

        public void Dispose()
        {
        }
    }
}
