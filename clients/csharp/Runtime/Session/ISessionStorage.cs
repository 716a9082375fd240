// Where an app keeps its session, so that a player who starts it again continues.

namespace Tickwire
{
    /// <summary>Keeps one text, which contains the resume token. Called by one thread at a time; an exception is reported by
    /// `OnError`.</summary>
    public interface ISessionStorage
    {
        /// <summary>Returns the text that was saved; null or empty without one.</summary>
        string Load();

        void Save(string text);

        void Clear();
    }
}
