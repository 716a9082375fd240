// Where an app keeps its session or its login, so that a player who starts it again continues.

namespace Tickwire
{
    /// <summary>Keeps one text, which contains the resume token, or the login of an account: keep it as secret as a password.
    /// Called by one thread at a time. An exception is reported by `OnError`; the one of a login is that of the call.</summary>
    public interface ISessionStorage
    {
        /// <summary>Returns the text that was saved; null or empty without one.</summary>
        string Load();

        void Save(string text);

        void Clear();
    }
}
