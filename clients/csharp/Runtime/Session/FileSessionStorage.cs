// Keeps the session in a file, for plain .NET.

using System.IO;

namespace Tickwire
{
    /// <summary>Keeps the session in a file. It contains the resume token: choose a folder of the user.</summary>
    public sealed class FileSessionStorage : ISessionStorage
    {
        private readonly string path;

        public FileSessionStorage(string path)
        {
            this.path = path;
        }

        public string Load()
        {
            return File.Exists(path) ? File.ReadAllText(path) : "";
        }

        /// <summary>Replaces the file as a whole: a process that ends meanwhile leaves the old text or the new one.</summary>
        public void Save(string text)
        {
            string written = path + ".new";
            File.WriteAllText(written, text);
            if (File.Exists(path))
            {
                File.Replace(written, path, null);
            }
            else
            {
                File.Move(written, path);
            }
        }

        public void Clear()
        {
            File.Delete(path);
        }
    }
}
