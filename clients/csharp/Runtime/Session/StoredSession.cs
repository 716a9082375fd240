// The text from which a client resumes its session after a restart of the program, and whose session it is.
//
// `Attempt` and `CommandId` must increase over the life of a session, but the text is not saved with each of them. The text
// therefore has numbers that are reached later.

using System;
using System.Collections.Generic;
using System.Text;

namespace Tickwire
{
    /// <summary>A session that can be resumed.</summary>
    internal sealed class StoredSession
    {
        public const uint AttemptsAhead = 16;
        public const ulong CommandsAhead = 1024;
        private const double NumberMax = 1L << 53;
        private const int Version = 1;

        /// <summary>The address of the session's shard, and the one that the client connected to first.</summary>
        public string Url = "";
        public string InitialUrl = "";

        /// <summary>The player's id, from the token; empty for a guest.</summary>
        public string Player = "";
        public string ResumeToken = "";
        public uint LastEvent;

        /// <summary>At least the number of the last Hello, and the id of the last command.</summary>
        public uint Attempt;
        public ulong CommandId;

        /// <summary>Decodes a saved text; null if it is invalid, or of a client with another initial address.</summary>
        public static StoredSession FromText(string text, string initialUrl)
        {
            object value;
            var fields = JsonReader.TryRead(text, out value) ? value as Dictionary<string, object> : null;
            if (fields == null)
            {
                return null;
            }

            double lastEvent;
            double attempt;
            double commandId;
            double version;
            bool hasNumbers = TryNumber(fields, "version", Version, out version)
                & TryNumber(fields, "last_event", uint.MaxValue, out lastEvent)
                & TryNumber(fields, "attempt", uint.MaxValue, out attempt)
                & TryNumber(fields, "command_id", NumberMax, out commandId);
            var stored = new StoredSession
            {
                Url = TextOf(fields, "url"),
                InitialUrl = TextOf(fields, "initial_url"),
                Player = TextOf(fields, "player"),
                ResumeToken = TextOf(fields, "resume_token"),
                LastEvent = (uint)lastEvent,
                Attempt = (uint)attempt,
                CommandId = (ulong)commandId,
            };
            bool hasTexts = stored.Url != null && stored.Player != null && !string.IsNullOrEmpty(stored.ResumeToken);
            if (!hasNumbers || version != Version || !hasTexts || stored.InitialUrl != initialUrl)
            {
                return null;
            }

            return IsDowngrade(initialUrl, stored.Url) ? null : stored;
        }

        /// <summary>Returns whether an address would carry the token over a plain connection.</summary>
        public static bool IsDowngrade(string initialUrl, string url)
        {
            return initialUrl.StartsWith("wss:", StringComparison.Ordinal) && !url.StartsWith("wss:", StringComparison.Ordinal);
        }

        /// <summary>Returns the claim `sub` of a JSON Web Token, without verification; empty without one.</summary>
        /// <remarks>It only prevents that a player continues the session of another one on the same device. The server
        /// verifies.</remarks>
        public static string PlayerOf(string token)
        {
            string[] parts = token.Split('.');
            if (parts.Length != 3)
            {
                return "";
            }

            try
            {
                string padded = parts[1].Replace('-', '+').Replace('_', '/');
                padded += new string('=', (4 - padded.Length % 4) % 4);
                object value;
                string json = new UTF8Encoding(false, true).GetString(Convert.FromBase64String(padded));
                var claims = JsonReader.TryRead(json, out value) ? value as Dictionary<string, object> : null;
                return claims == null ? "" : TextOf(claims, "sub") ?? "";
            }
            catch (FormatException)
            {
                return "";
            }
            catch (ArgumentException)
            {
                return "";
            }
        }

        /// <summary>Returns the text to save.</summary>
        public string ToText()
        {
            return new JsonWriter()
                .Add("version", Version)
                .Add("url", Url)
                .Add("initial_url", InitialUrl)
                .Add("player", Player)
                .Add("resume_token", ResumeToken)
                .Add("last_event", LastEvent)
                .Add("attempt", Attempt)
                .Add("command_id", CommandId)
                .ToString();
        }

        private static string TextOf(Dictionary<string, object> fields, string name)
        {
            object value;
            return fields.TryGetValue(name, out value) ? value as string : null;
        }

        private static bool TryNumber(Dictionary<string, object> fields, string name, double greatest, out double number)
        {
            object value;
            bool isNumber = fields.TryGetValue(name, out value) && value is double;
            number = isNumber ? (double)value : 0;
            bool isValid = number >= 0 && number <= greatest && number == Math.Floor(number);
            number = isValid ? number : 0;
            return isNumber && isValid;
        }
    }
}
