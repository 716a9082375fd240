// A login as the application's storage keeps it between runs. The names are those of the Python client.

namespace Tickwire
{
    /// <summary>The login of a player, and the credentials of the device.</summary>
    internal sealed class SavedLogin
    {
        private const int Version = 1;

        public SavedLogin(string apiUrl)
        {
            ApiUrl = apiUrl;
        }

        /// <summary>The API that the login belongs to; a login of another API is not used.</summary>
        public string ApiUrl { get; }

        /// <summary>The player; empty when logged out, as are the next two.</summary>
        public string PlayerId { get; private set; } = "";

        public string RefreshToken { get; private set; } = "";

        /// <summary>The WebSocket address for players.</summary>
        public string PlayerUrl { get; private set; } = "";

        /// <summary>The credentials of the device's account; they survive a logout.</summary>
        public string DeviceId { get; private set; } = "";

        public string DeviceSecret { get; private set; } = "";

        /// <summary>Proves an earlier login with a password; it survives a logout.</summary>
        public string KnownClient { get; private set; } = "";

        /// <summary>Decodes a saved text; an empty login if it is invalid, or of another API or a later version.</summary>
        public static SavedLogin FromText(string text, string apiUrl)
        {
            JsonFields fields = JsonFields.Read(text ?? "");
            if (fields.Text("api_url") != apiUrl || fields.Number("version", Version) != Version)
            {
                return new SavedLogin(apiUrl);
            }

            return new SavedLogin(apiUrl)
            {
                PlayerId = fields.Text("player_id"),
                RefreshToken = fields.Text("refresh_token"),
                PlayerUrl = fields.Text("player_url"),
                DeviceId = fields.Text("device_id"),
                DeviceSecret = fields.Text("device_secret"),
                KnownClient = fields.Text("known_client"),
            };
        }

        /// <summary>Returns the login with credentials of the device, which are created if they are missing.</summary>
        public SavedLogin WithDevice()
        {
            SavedLogin made = LoggedOut();
            made.PlayerId = PlayerId;
            made.RefreshToken = RefreshToken;
            made.PlayerUrl = PlayerUrl;
            if (DeviceId.Length == 0)
            {
                made.DeviceId = RandomText.Create(18);
                made.DeviceSecret = RandomText.Create(32);
            }

            return made;
        }

        /// <summary>Returns the login after a response to a login or a renewal.</summary>
        public SavedLogin With(in JsonFields result)
        {
            SavedLogin made = LoggedOut();
            made.PlayerId = result.Text("player_id");
            made.RefreshToken = result.Text("refresh_token");
            made.PlayerUrl = result.Text("player_url");
            string knownClient = result.Text("known_client");
            made.KnownClient = knownClient.Length > 0 ? knownClient : KnownClient;
            return made;
        }

        /// <summary>Returns what remains after a logout.</summary>
        public SavedLogin LoggedOut()
        {
            return new SavedLogin(ApiUrl) { DeviceId = DeviceId, DeviceSecret = DeviceSecret, KnownClient = KnownClient };
        }

        /// <summary>Returns the text to save.</summary>
        public string ToText()
        {
            return new JsonWriter()
                .Add("version", Version)
                .Add("api_url", ApiUrl)
                .AddPresent("player_id", PlayerId)
                .AddPresent("refresh_token", RefreshToken)
                .AddPresent("player_url", PlayerUrl)
                .AddPresent("device_id", DeviceId)
                .AddPresent("device_secret", DeviceSecret)
                .AddPresent("known_client", KnownClient)
                .ToString();
        }
    }
}
