// The calls that show and change the account of the player who is logged in.

using System;
using System.Threading.Tasks;

namespace Tickwire
{
    public sealed partial class AccountClient
    {
        /// <summary>Returns the account with its identities.</summary>
        public async Task<AccountDetails> GetAccountAsync()
        {
            return new AccountDetails(JsonFields.Read(await AuthorizedAsync("GET", "")));
        }

        /// <summary>Links this device to the account.</summary>
        /// <exception cref="ApiException">With code IDENTITY_TAKEN if the device opens another account.</exception>
        public async Task LinkDeviceAsync()
        {
            await LinkAsync("device", Device(await login.PrepareDeviceAsync()));
        }

        /// <summary>Links an e-mail address with a password: the account then opens on other devices.</summary>
        public Task LinkEmailAsync(string email, string password)
        {
            return LinkAsync("email", Email(email, password));
        }

        /// <summary>Links an identity of an OpenID Connect issuer.</summary>
        public Task LinkOidcAsync(string issuer, string idToken, string nonce = "")
        {
            return LinkAsync("oidc/" + Uri.EscapeDataString(issuer), Oidc(idToken, nonce));
        }

        /// <summary>Links a Steam account.</summary>
        public Task LinkSteamAsync(string ticket)
        {
            return LinkAsync("steam", Steam(ticket));
        }

        /// <summary>Links an Apple account.</summary>
        public Task LinkAppleAsync(string identityToken, string nonce = "")
        {
            return LinkAsync("apple", Apple(identityToken, nonce));
        }

        /// <summary>Unlinks an identity. The last one cannot be unlinked.</summary>
        public Task UnlinkAsync(string provider, string subject)
        {
            string path = "/identities/" + Uri.EscapeDataString(provider) + "/" + Uri.EscapeDataString(subject);
            return AuthorizedAsync("DELETE", path);
        }

        /// <summary>Changes the password. The logins of all other devices end.</summary>
        public Task ChangePasswordAsync(string old, string changed)
        {
            return AuthorizedAsync("POST", "/password", new JsonWriter().Add("old", old).Add("new", changed));
        }

        /// <summary>Merges another account into this one: its holdings and identities move here, and it ends.</summary>
        /// <param name="other">A client that is logged in to the other account; it is logged out afterwards.</param>
        public async Task MergeAsync(AccountClient other)
        {
            await other.TokenAsync();
            await AuthorizedAsync("POST", "/merge", new JsonWriter().Add("refresh_token", other.login.Saved.RefreshToken));
            await other.login.EndAsync(false, true);
        }

        /// <summary>Returns all data that the server stores about the player: a JSON document in each line.</summary>
        public Task<string> ExportAsync()
        {
            return AuthorizedAsync("GET", "/export");
        }

        /// <summary>Deletes the account and all data of the player permanently, and the login and the device's credentials
        /// here.</summary>
        public async Task DeleteAsync()
        {
            await AuthorizedAsync("DELETE", "");
            await login.DeleteAsync();
        }

        private Task LinkAsync(string provider, JsonWriter body)
        {
            return AuthorizedAsync("POST", "/identities/" + provider, body);
        }

        /// <summary>Calls with the access token, which is renewed once if the server refuses it, as after a
        /// revocation.</summary>
        private async Task<string> AuthorizedAsync(string method, string path, JsonWriter body = null)
        {
            string token = await TokenAsync();
            try
            {
                return await calls.CallAsync(method, "/v1/account" + path, body, token);
            }
            catch (ApiException error)
            {
                if (error.Status != 401 || error.Code != "UNAUTHORIZED")
                {
                    throw;
                }
            }

            await login.DiscardAsync(token);
            return await calls.CallAsync(method, "/v1/account" + path, body, await TokenAsync());
        }
    }
}
