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
        private string storedText = ""; // of the storage, as it was read or written last
        private volatile SavedLogin saved;
        private volatile string accessToken = "";
        private double renewAtMs;
        private DateTime renewAt;

        public Login(ApiCalls calls, ISessionStorage storage, Func<double> nowMs)
        {
            this.calls = calls;
            this.storage = storage;
            this.nowMs = nowMs;
            saved = new SavedLogin(calls.Url);
        }

        /// <summary>The clock of the computer. The monotonic clock may stop while the computer sleeps.</summary>
        public Func<DateTime> UtcNow { get; set; } = () => DateTime.UtcNow;

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
                    await RenewAsync();
                    return true;
                }
                catch (NotLoggedInException)
                {
                    return false;
                }
            });
        }

        /// <summary>Logs in. Returns whether the account was created.</summary>
        /// <param name="path">The operation of the API.</param>
        /// <param name="createBody">Returns its request for the saved login.</param>
        public Task<bool> LogInAsync(string path, Func<SavedLogin, JsonWriter> createBody)
        {
            return RunAsync(async () =>
            {
                Load();
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
                Load();
                Save(saved.WithDevice());
                return Task.FromResult(saved);
            });
        }

        public Task<string> TokenAsync()
        {
            return RunAsync(async () =>
            {
                if (accessToken.Length == 0 || nowMs() > renewAtMs || UtcNow() > renewAt)
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
                Load();
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
                storedText = "";
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
                return await work();
            }
            finally
            {
                ended.SetResult(true);
            }
        }

        /// <summary>Adopts the login that another program has saved in the storage: it may have used the token of this one.
        /// The login of another player is adopted by a client without a login only.</summary>
        private void Load()
        {
            string text = (storage == null ? "" : storage.Load()) ?? "";
            if (text == storedText) // so that a text which could not be saved is not lost
            {
                return;
            }

            storedText = text;
            SavedLogin stored = SavedLogin.FromText(text, calls.Url);
            if (text.Length > 0 && (saved.PlayerId.Length == 0 || saved.PlayerId == stored.PlayerId))
            {
                saved = stored;
            }
        }

        private async Task RenewAsync()
        {
            Load();
            string token = saved.RefreshToken;
            if (token.Length == 0)
            {
                throw new NotLoggedInException("log in first");
            }

            string response;
            try
            {
                response = await calls.CallAsync("POST", "/v1/token", new JsonWriter().Add("refresh_token", token));
            }
            catch (ApiException error)
            {
                if (error.Status != 401)
                {
                    throw;
                }

                Load();
                if (saved.RefreshToken.Length > 0 && saved.RefreshToken != token)
                {
                    await RenewAsync(); // another program has renewed the login during the call
                    return;
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

            accessToken = token;
            double forMs = result.Number("expires_in_s") * 1000 - RenewMs;
            renewAtMs = nowMs() + forMs;
            renewAt = UtcNow().AddMilliseconds(forMs);
            Save(saved.With(result));
        }

        private void Forget()
        {
            accessToken = "";
            if (saved.PlayerId.Length > 0)
            {
                Save(saved.LoggedOut());
            }
        }

        private void Save(SavedLogin changed)
        {
            string text = changed.ToText();
            saved = changed;
            if (storage != null && text != storedText)
            {
                storage.Save(text);
                storedText = text;
            }
        }
    }
}
