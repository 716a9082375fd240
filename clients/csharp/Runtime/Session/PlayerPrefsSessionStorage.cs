// Keeps the session in Unity's PlayerPrefs.

#if UNITY_5_3_OR_NEWER
using UnityEngine;

namespace Tickwire
{
    /// <summary>Keeps the session in PlayerPrefs. Use it on the main thread: a client in Unity does so.</summary>
    public sealed class PlayerPrefsSessionStorage : ISessionStorage
    {
        private readonly string key;

        public PlayerPrefsSessionStorage(string key = "tickwire.session")
        {
            this.key = key;
        }

        public string Load()
        {
            return PlayerPrefs.GetString(key, "");
        }

        public void Save(string text)
        {
            PlayerPrefs.SetString(key, text);
            PlayerPrefs.Save();
        }

        public void Clear()
        {
            PlayerPrefs.DeleteKey(key);
            PlayerPrefs.Save();
        }
    }
}
#endif
