// The login of a player: saves it, and renews its tokens. One call of the API that changes it runs at a time, to its end: a
// renewal whose response is discarded would leave a used token, which ends the login when it is used again.

using System;
using System.Threading.Tasks;

namespace Tickwire
{
    /// <summary>The login of a player on one API.</summary>
    internal sealed class Login
    {
        /// <summary>An access token with less time left is renewed before it is used.</summary>
        private const double RenewMs = 60000;
        private readonly object gate = new object();
        private readonly ApiCalls calls;
        private readonly ISessionStorage storage;
        private readonly Func<double> nowMs;
        private Task last = Task.FromResult(true);
        private bool isLoaded;
        private volatile SavedLogin saved;
        private volatile string accessToken = "";
        private double expiresAtMs;

        public Login(ApiCalls calls, ISessionStorage storage, Func<double> nowMs)
        {
            this.calls = calls;
            this.storage = storage;
            this.nowMs = nowMs;
            saved = new SavedLogin(calls.Url);
        }

        /// <summary>The login as it was saved last.</summary>
        public SavedLogin Saved
        {
            get { return saved; }
        }

        /// <summary>Renews the saved login. Returns whether there is one that the server still accepts.</summary>
        public Task<bool> RestoreAsync()
        {
            return RunAsync(async () =>
            {
                try
                {
                    if (saved.RefreshToken.Length > 0)
                    {
                        await RenewAsync();
                    }
                }
                catch (NotLoggedInException)
                {
                    return false;
                }

                return saved.RefreshToken.Length > 0;
            });
        }

        /// <summary>Logs in. Returns whether the account was created.</summary>
        /// <param name="path">The operation of the API.</param>
        /// <param name="createBody">Returns its request for the saved login.</param>
        public Task<bool> LogInAsync(string path, Func<SavedLogin, JsonWriter> createBody)
        {
            return RunAsync(async () =>
            {
                JsonFields result = JsonFields.Read(await calls.CallAsync("POST", path, createBody(saved)));
                Accept(result);
                return result.Flag("is_new");
            });
        }

        /// <summary>Returns the login with credentials of the device, which are saved before they are first sent.</summary>
        public Task<SavedLogin> PrepareDeviceAsync()
        {
            return RunAsync(() =>
            {
                Save(saved.WithDevice());
                return Task.FromResult(saved);
            });
        }

        public Task<string> TokenAsync()
        {
            return RunAsync(async () =>
            {
                if (accessToken.Length == 0 || nowMs() > expiresAtMs - RenewMs)
                {
                    await RenewAsync();
                }

                return accessToken;
            });
        }

        /// <summary>Renews an access token that the server has refused, when it is next needed.</summary>
        public Task DiscardAsync(string token)
        {
            return RunAsync(() =>
            {
                accessToken = accessToken == token ? "" : accessToken;
                return Task.FromResult(true);
            });
        }

        /// <summary>Logs out, here and on the server.</summary>
        /// <param name="everywhere">End the logins of all devices.</param>
        /// <param name="isEnded">Whether the server has ended the login already.</param>
        public Task EndAsync(bool everywhere, bool isEnded)
        {
            return RunAsync(async () =>
            {
                if (saved.RefreshToken.Length > 0 && !isEnded)
                {
                    await LogOutAsync(everywhere);
                }

                Forget();
                return true;
            });
        }

        /// <summary>Deletes everything that was saved, after the account was deleted.</summary>
        public Task DeleteAsync()
        {
            return RunAsync(() =>
            {
                accessToken = "";
                saved = new SavedLogin(calls.Url);
                if (storage != null)
                {
                    storage.Clear();
                }

                return Task.FromResult(true);
            });
        }

        /// <summary>Runs work after all work before it, whether that has failed or not.</summary>
        private async Task<T> RunAsync<T>(Func<Task<T>> work)
        {
            // A semaphore would wake its waiters on the thread pool, which a player in a browser lacks.
            var ended = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            Task before;
            lock (gate)
            {
                before = last;
                last = ended.Task;
            }

            await before;
            try
            {
                if (!isLoaded)
                {
                    saved = SavedLogin.FromText(storage == null ? "" : storage.Load(), calls.Url);
                    isLoaded = true;
                }

                return await work();
            }
            finally
            {
                ended.SetResult(true);
            }
        }

        private async Task RenewAsync()
        {
            if (saved.RefreshToken.Length == 0)
            {
                throw new NotLoggedInException("log in first");
            }

            string response;
            try
            {
                response = await calls.CallAsync("POST", "/v1/token", new JsonWriter().Add("refresh_token", saved.RefreshToken));
            }
            catch (ApiException error)
            {
                if (error.Status != 401)
                {
                    throw;
                }

                Forget();
                throw new NotLoggedInException("the server has ended the login: log in again");
            }

            Accept(JsonFields.Read(response));
        }

        private async Task LogOutAsync(bool everywhere)
        {
            var body = new JsonWriter().Add("refresh_token", saved.RefreshToken).Add("everywhere", everywhere);
            try
            {
                await calls.CallAsync("POST", "/v1/logout", body);
            }
            catch (ApiException error)
            {
                if (error.Status != 401) // 401: the server has ended the login already
                {
                    throw;
                }
            }
        }

        private void Accept(in JsonFields result)
        {
            string token = result.Text("access_token");
            if (token.Length == 0 || result.Text("refresh_token").Length == 0 || result.Text("player_id").Length == 0)
            {
                throw new ApiException(502, "INTERNAL", "the response is not a login");
            }

            Save(saved.With(result));
            accessToken = token;
            expiresAtMs = nowMs() + result.Number("expires_in_s") * 1000;
        }

        private void Forget()
        {
            accessToken = "";
            Save(saved.LoggedOut());
        }

        private void Save(SavedLogin changed)
        {
            string text = changed.ToText();
            bool isChanged = text != saved.ToText();
            saved = changed;
            if (isChanged && storage != null)
            {
                storage.Save(text);
            }
        }
    }
}
