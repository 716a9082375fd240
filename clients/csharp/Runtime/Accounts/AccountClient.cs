// Logs a player in over the player HTTP API, keeps and renews the tokens, and connects.
//
//     var account = new AccountClient(url, new AccountOptions { Storage = new FileSessionStorage("login.json") });
//     await account.LoginDeviceAsync();
//     TickwireClient client = await account.ConnectAsync();
//
// A player begins with the account of the device, and may link an e-mail address later (`LinkEmailAsync`): then the same account
// opens on another device with `LoginEmailAsync`. AccountClient.Account.cs changes the account.

using System;
using System.Threading.Tasks;

namespace Tickwire
{
    /// <summary>The account of one player.</summary>
    /// <remarks>Its calls throw <see cref="ApiException"/> if the API has refused them or does not answer, and all but logins
    /// <see cref="NotLoggedInException"/> without a login.</remarks>
    public sealed partial class AccountClient
    {
        private readonly ApiCalls calls;
        private readonly Login login;

        /// <param name="apiUrl">The URL of the player HTTP API, such as https://api.game.example.</param>
        /// <param name="options">The storage of the login, and further options.</param>
        /// <exception cref="ArgumentException">The URL is not https, or http on loopback.</exception>
        public AccountClient(string apiUrl, AccountOptions options = null)
        {
            options = options ?? new AccountOptions();
            calls = new ApiCalls(apiUrl, options.Http);
            login = new Login(calls, options.Storage, options.NowMs) { UtcNow = options.UtcNow };
        }

        /// <summary>The player who is logged in; empty without one.</summary>
        public string PlayerId
        {
            get { return login.Saved.PlayerId; }
        }

        /// <summary>The WebSocket address for players; empty if the server has not sent one.</summary>
        public string PlayerUrl
        {
            get { return login.Saved.PlayerUrl; }
        }

        /// <summary>Continues the saved login. Returns whether there is one.</summary>
        public Task<bool> RestoreAsync()
        {
            return login.RestoreAsync();
        }

        // -- logins: they return whether the account was created --------------------------------------------

        /// <summary>Logs in with the account of this device. The credentials of the device are saved before they are sent, so
        /// that a lost response loses no account.</summary>
        /// <param name="create">Whether to create an account if the device has none.</param>
        public async Task<bool> LoginDeviceAsync(bool create = true)
        {
            SavedLogin device = await login.PrepareDeviceAsync();
            return await login.LogInAsync("/v1/login/device", saved => Device(device).Add("create", create));
        }

        /// <summary>Logs in with an e-mail address.</summary>
        public Task<bool> LoginEmailAsync(string email, string password, bool create = false)
        {
            return login.LogInAsync("/v1/login/email", saved => Email(email, password)
                .Add("create", create)
                .AddPresent("known_client", saved.KnownClient));
        }

        /// <summary>Logs in with an ID token of an OpenID Connect issuer.</summary>
        /// <param name="issuer">The name of the issuer in the server's settings.</param>
        /// <param name="idToken">The token that the issuer has issued to the game.</param>
        /// <param name="nonce">The nonce that the game has sent to the issuer; empty without one.</param>
        /// <param name="create">Whether to create an account if no account has the identity.</param>
        public Task<bool> LoginOidcAsync(string issuer, string idToken, string nonce = "", bool create = true)
        {
            string path = "/v1/login/oidc/" + Uri.EscapeDataString(issuer);
            return login.LogInAsync(path, saved => Oidc(idToken, nonce).Add("create", create));
        }

        /// <summary>Logs in with a Steam session ticket, hexadecimal.</summary>
        public Task<bool> LoginSteamAsync(string ticket, bool create = true)
        {
            return login.LogInAsync("/v1/login/steam", saved => Steam(ticket).Add("create", create));
        }

        /// <summary>Logs in with an identity token of Sign in with Apple.</summary>
        public Task<bool> LoginAppleAsync(string identityToken, string nonce = "", bool create = true)
        {
            return login.LogInAsync("/v1/login/apple", saved => Apple(identityToken, nonce).Add("create", create));
        }

        /// <summary>Ends the login. The credentials of the device stay, so that `LoginDeviceAsync` opens the same
        /// account.</summary>
        /// <param name="everywhere">End the logins of all devices, and all sessions.</param>
        public Task LogoutAsync(bool everywhere = false)
        {
            return login.EndAsync(everywhere, false);
        }

        // -- tokens and sessions ----------------------------------------------------------------------------

        /// <summary>Returns a valid access token, and renews it before it ends. One renewal runs at a time.</summary>
        public Task<string> TokenAsync()
        {
            return login.TokenAsync();
        }

        /// <summary>Opens a session of the player; see <see cref="TickwireClient.ConnectAsync"/>.</summary>
        /// <param name="options">The options of the client; its token is that of the account.</param>
        /// <param name="url">The WebSocket address for players; by default the one that the server has sent.</param>
        /// <exception cref="DisconnectedException">The connection could not be opened.</exception>
        /// <exception cref="RefusedException">The server refused the session.</exception>
        public async Task<TickwireClient> ConnectAsync(ClientOptions options = null, string url = "")
        {
            await TokenAsync();
            string address = url.Length > 0 ? url : PlayerUrl;
            if (address.Length == 0)
            {
                throw new ClientException(
                    "the API has sent no address for players: pass url, or set api.player_url on the server");
            }

            return await TickwireClient.ConnectAsync(address, (options ?? new ClientOptions()).WithProvider(TokenAsync));
        }

        // -- requests ---------------------------------------------------------------------------------------

        private static JsonWriter Device(SavedLogin saved)
        {
            return new JsonWriter().Add("device_id", saved.DeviceId).Add("secret", saved.DeviceSecret);
        }

        private static JsonWriter Email(string email, string password)
        {
            return new JsonWriter().Add("email", email).Add("password", password);
        }

        private static JsonWriter Oidc(string idToken, string nonce)
        {
            return new JsonWriter().Add("id_token", idToken).AddPresent("nonce", nonce);
        }

        private static JsonWriter Steam(string ticket)
        {
            return new JsonWriter().Add("ticket", ticket);
        }

        private static JsonWriter Apple(string identityToken, string nonce)
        {
            return new JsonWriter().Add("identity_token", identityToken).AddPresent("nonce", nonce);
        }
    }
}
