// The client of accounts: the saved texts, the renewal of tokens, repetitions and errors.

using System;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace Tickwire.Tests
{
    public static class AccountTests
    {
        private const string Url = "https://api.game.example";

        public static IEnumerable<Test> All()
        {
            yield return new Test("account: the device's credentials are saved before they are sent", DeviceFirst);
            yield return new Test("account: a saved login is restored", Restored);
            yield return new Test("account: a login of another API or version is not used", OtherApi);
            yield return new Test("account: the text of the Python client is read", PythonText);
            yield return new Test("account: a token is renewed a minute before its end", Renewal);
            yield return new Test("account: one renewal runs for all callers", OneRenewal);
            yield return new Test("account: a token is renewed after the computer has slept", Sleep);
            yield return new Test("account: programs with one storage renew the login in turns", SharedStorage);
            yield return new Test("account: a login that cannot be saved is used until it can", UnsavedLogin);
            yield return new Test("account: an ended login is reported and keeps the device", Ended);
            yield return new Test("account: an unavailable API is asked again with the same key", Unavailable);
            yield return new Test("account: a long Retry-After is left to the caller", LongDelay);
            yield return new Test("account: a refused access token is renewed once", RefusedToken);
            yield return new Test("account: a known client is sent with the next password", KnownClient);
            yield return new Test("account: a merge and a deletion end the saved logins", MergeAndDelete);
            yield return new Test("account: a response that is no login changes nothing", NoLogin);
            yield return new Test("account: a failure of the storage does not block later calls", BrokenStorage);
            yield return new Test("account: passwords are not sent in plaintext", Plaintext);
        }

        private static AccountClient Client(FakeApi api, ISessionStorage storage = null, Func<double> nowMs = null)
        {
            var options = new AccountOptions { Http = api, Storage = storage };
            options.NowMs = nowMs ?? options.NowMs;
            return new AccountClient(Url, options);
        }

        private static T Get<T>(Task<T> task)
        {
            return task.GetAwaiter().GetResult();
        }

        private static void Wait(Task task)
        {
            task.GetAwaiter().GetResult();
        }

        private static ApiException Refused(Task task)
        {
            try
            {
                Wait(task);
            }
            catch (ApiException error)
            {
                return error;
            }

            throw new CheckFailedException("the call was not refused");
        }

        private static string Field(string json, string name)
        {
            return JsonFields.Read(json).Text(name);
        }

        private static void DeviceFirst()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            api.Failures.Enqueue(FakeApi.Problem(403, "BANNED"));
            ApiException error = Refused(Client(api, storage).LoginDeviceAsync());
            Check.Equal("403 BANNED why", error.Status + " " + error.Code + " " + error.Detail, "the reason");
            string sent = FakeApi.BodyOf(api.Calls[0]);
            Check.Equal(1, storage.Saved.Count, "saved before the answer");
            Check.Equal(Field(sent, "device_id"), Field(storage.Saved[0], "device_id"), "the device");
            Check.Equal(Field(sent, "secret"), Field(storage.Saved[0], "device_secret"), "the secret");
            Check.That(Field(sent, "secret").Length == 43 && Field(sent, "device_id").Length == 24, "random texts");
            Check.That(Get(Client(api, storage).LoginDeviceAsync()), "the account is new");
            Check.Equal(sent, FakeApi.BodyOf(api.Calls[1]), "the next start uses the same credentials");
        }

        private static void Restored()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            Check.That(!Get(Client(api, storage).RestoreAsync()), "nothing is saved");
            Get(Client(api, storage).LoginDeviceAsync());
            AccountClient client = Client(api, storage);
            Check.That(Get(client.RestoreAsync()), "a login is saved");
            Check.Equal("p-1 ws://127.0.0.1:1", client.PlayerId + " " + client.PlayerUrl, "the login");
            Check.Equal("a2", Get(client.TokenAsync()), "the token");
            Check.Equal("device token", api.Names(), "the calls");
        }

        private static void OtherApi()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            Get(Client(api, storage).LoginDeviceAsync());
            string text = storage.Text;
            foreach (string other in new[]
            {
                text.Replace("api.game", "api.other"), text.Replace("\"version\":1", "\"version\":2"), "{", "[]", "", null,
            })
            {
                Check.That(!Get(Client(api, new MemoryStorage { Text = other }).RestoreAsync()), "not used: " + other);
            }

            Check.That(Get(Client(api, new MemoryStorage { Text = text }).RestoreAsync()), "the own text is used");
        }

        private static void PythonText()
        {
            var api = new FakeApi { Refresh = 5 };
            const string Text = "{\"api_url\":\"https://api.game.example\",\"player_id\":\"p-1\",\"refresh_token\":\"r5\","
                + "\"device_id\":\"d\",\"device_secret\":\"s\"}";
            AccountClient client = Client(api, new MemoryStorage { Text = Text });
            Check.That(Get(client.RestoreAsync()), "the login is used");
            Get(client.LoginDeviceAsync());
            Check.Equal("d", Field(FakeApi.BodyOf(api.Calls[1]), "device_id"), "the device");
        }

        private static void Renewal()
        {
            var api = new FakeApi();
            double now = 0;
            AccountClient client = Client(api, null, () => now);
            Get(client.LoginDeviceAsync());
            now = 839000;
            Check.Equal("a1", Get(client.TokenAsync()), "the token is valid for a minute");
            now = 841000;
            Check.Equal("a2", Get(client.TokenAsync()), "the token is renewed");
        }

        private static void OneRenewal()
        {
            var api = new FakeApi();
            double now = 0;
            AccountClient client = Client(api, null, () => now);
            Get(client.LoginDeviceAsync());
            now = 841000;
            api.Held = new TaskCompletionSource<bool>();
            var tokens = new List<Task<string>>();
            for (int caller = 0; caller < 5; caller++)
            {
                tokens.Add(client.TokenAsync());
            }

            Check.Equal("device token", api.Names(), "one renewal has begun");
            api.Held.SetResult(true);
            Check.Equal("a2 a2 a2 a2 a2", string.Join(" ", Get(Task.WhenAll(tokens))), "the tokens");
            Check.Equal("device token", api.Names(), "no other renewal followed");
        }

        private static void Sleep()
        {
            var api = new FakeApi();
            var start = new DateTime(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);
            DateTime now = start;
            var client = new AccountClient(Url, new AccountOptions { Http = api, NowMs = () => 0, UtcNow = () => now });
            Get(client.LoginDeviceAsync());
            now = start.AddSeconds(839);
            Check.Equal("a1", Get(client.TokenAsync()), "the token is valid for a minute");
            now = start.AddSeconds(841);
            Check.Equal("a2", Get(client.TokenAsync()), "the token is renewed");
            now = start.AddHours(-1);
            Check.Equal("a2", Get(client.TokenAsync()), "a clock that is set back does not matter");
        }

        private static void SharedStorage()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            double now = 0;
            AccountClient first = Client(api, storage, () => now);
            AccountClient second = Client(api, storage, () => now);
            Check.That(!Get(second.RestoreAsync()), "nothing is saved");
            Get(first.LoginDeviceAsync());
            Check.That(Get(second.RestoreAsync()), "the login of the other program");
            now = 850000;
            Check.Equal("a3 a4", Get(first.TokenAsync()) + " " + Get(second.TokenAsync()), "no token is used twice");
            Get(second.LoginDeviceAsync());
            Check.Equal(FakeApi.BodyOf(api.Calls[0]), FakeApi.BodyOf(api.Calls[4]), "the device is the same");

            now = 1700000;
            api.Held = new TaskCompletionSource<bool>();
            Task<string> token = first.TokenAsync();
            api.Refresh = 6;
            storage.Text = storage.Text.Replace("r5", "r6"); // the other program is faster
            api.Held.SetResult(true);
            Check.Equal("a7", Get(token), "the login is kept");
            Wait(second.LogoutAsync());
            Check.Equal("r7", Field(FakeApi.BodyOf(api.Calls[api.Calls.Count - 1]), "refresh_token"), "the newest token is ended");
        }

        private static void UnsavedLogin()
        {
            var api = new FakeApi();
            var storage = new FailingStorage { IsFailing = false };
            double now = 0;
            AccountClient client = Client(api, storage, () => now);
            Get(client.LoginDeviceAsync());
            storage.IsFailing = true;
            now = 850000;
            Check.Throws<InvalidOperationException>(() => Get(client.TokenAsync()), "the storage fails");
            Check.Equal("a2", Get(client.TokenAsync()), "the token is used");
            storage.IsFailing = false;
            now = 1700000;
            Check.Equal("a3", Get(client.TokenAsync()), "the older token in the storage is not used");
            Check.Equal("r3", Field(storage.Text, "refresh_token"), "the newest token is saved");
        }

        private static void Ended()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            AccountClient client = Client(api, storage, () => api.Refresh * 1e7);
            Get(client.LoginDeviceAsync());
            string device = Field(storage.Text, "device_id");
            api.Refresh = 7;
            Check.Throws<NotLoggedInException>(() => Get(client.TokenAsync()), "the server has ended the login");
            Check.Equal("", client.PlayerId, "the player");
            Check.Equal("", Field(storage.Text, "refresh_token"), "the used token is not kept");
            Check.Equal(device, Field(storage.Text, "device_id"), "the device is kept");
            Check.That(!Get(Client(api, storage).RestoreAsync()), "the next start knows");
        }

        private static void Unavailable()
        {
            var api = new FakeApi();
            api.Failures.Enqueue(FakeApi.Problem(503, "UNAVAILABLE", "2"));
            api.Failures.Enqueue(new HttpResult(502, "<html>"));
            api.Failures.Enqueue(FakeApi.Problem(429, "RATE_LIMITED"));
            Check.That(Get(Client(api).LoginDeviceAsync()), "the fourth attempt succeeds");
            string key = api.Calls[0].Headers["Idempotency-Key"];
            Check.Equal(22, key.Length, "the key");
            Check.That(api.Calls.TrueForAll(call => call.Headers["Idempotency-Key"] == key), "each attempt has the same key");
            Check.That(api.Delays.Count == 3 && api.Delays[0] >= 2000 && api.Delays[0] <= 2500, "the server's advice is followed");
            for (int attempt = 0; attempt < 4; attempt++)
            {
                api.Failures.Enqueue(FakeApi.Problem(503, "UNAVAILABLE"));
            }

            Check.Equal(503, Refused(Client(api).LoginDeviceAsync()).Status, "four attempts are made");
            Check.That(api.Calls[4].Headers["Idempotency-Key"] != key, "another call has another key");
        }

        private static void LongDelay()
        {
            var api = new FakeApi();
            api.Failures.Enqueue(FakeApi.Problem(429, "RATE_LIMITED", "3600"));
            ApiException error = Refused(Client(api).LoginEmailAsync("ann@x.example", "correct horse"));
            Check.That(error.RetryAfterMs == 3600000 && error.IsTemporary, "the advice");
            Check.Equal(1, api.Calls.Count, "the attempts");
        }

        private static void RefusedToken()
        {
            var api = new FakeApi();
            AccountClient client = Client(api);
            Get(client.LoginDeviceAsync());
            api.Failures.Enqueue(FakeApi.Problem(401, "UNAUTHORIZED"));
            Check.Equal("device", Get(client.GetAccountAsync()).Identities[0].Provider, "the account");
            Check.Equal("device account token account", api.Names(), "the calls");
            Check.Equal("Bearer a2", api.Calls[3].Headers["Authorization"], "the renewed token");
            Check.That(!api.Calls[3].Headers.ContainsKey("Idempotency-Key"), "a GET has no key");
        }

        private static void KnownClient()
        {
            var api = new FakeApi();
            AccountClient client = Client(api, new MemoryStorage());
            Get(client.LoginEmailAsync("ann@x.example", "correct \"horse\"", true));
            Wait(client.LogoutAsync());
            Get(client.LoginEmailAsync("ann@x.example", "correct \"horse\""));
            Check.Equal("correct \"horse\"", Field(FakeApi.BodyOf(api.Calls[0]), "password"), "the password");
            Check.That(!FakeApi.BodyOf(api.Calls[0]).Contains("known_client"), "the first login has none");
            Check.Equal("email logout email", api.Names(), "the calls");
            Check.Equal("k", Field(FakeApi.BodyOf(api.Calls[2]), "known_client"), "it survives the logout");
        }

        private static void MergeAndDelete()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            AccountClient client = Client(api, storage);
            AccountClient other = Client(api, new MemoryStorage());
            Get(client.LoginDeviceAsync());
            Get(other.LoginDeviceAsync());
            Wait(client.MergeAsync(other));
            Check.Equal("{\"refresh_token\":\"r2\"}", FakeApi.BodyOf(api.Calls[2]), "the proof");
            Check.Equal("p-1 ", client.PlayerId + " " + other.PlayerId, "the other one is logged out");
            Wait(client.DeleteAsync());
            Check.Equal("device device merge account", api.Names(), "the calls");
            Check.Equal("", storage.Text, "nothing is left");
        }

        private static void NoLogin()
        {
            var api = new FakeApi();
            var storage = new MemoryStorage();
            AccountClient client = Client(api, storage, () => api.Refresh * 1e7);
            Get(client.LoginDeviceAsync());
            string text = storage.Text;
            foreach (string body in new[] { "<html>", "", "[]", "{}", "{\"player_id\":1,\"access_token\":\"a\"}" })
            {
                api.Refresh = 2; // the clock is past the end of the token
                api.Failures.Enqueue(new HttpResult(200, body));
                Check.Equal("INTERNAL", Refused(client.TokenAsync()).Code, body);
            }

            Check.Equal(text, storage.Text, "the login is kept");
        }

        private static void BrokenStorage()
        {
            var api = new FakeApi();
            var storage = new FailingStorage();
            AccountClient client = Client(api, storage);
            Check.Throws<InvalidOperationException>(() => Get(client.LoginDeviceAsync()), "the storage fails");
            storage.IsFailing = false;
            Check.That(Get(client.LoginDeviceAsync()), "the next call succeeds");
        }

        private static void Plaintext()
        {
            foreach (string url in new[] { "http://api.game.example", "http://localhost.example", "ftp://localhost", "api", "" })
            {
                Check.Throws<ArgumentException>(() => new AccountClient(url), url);
            }

            foreach (string url in new[] { "http://localhost:1", "http://127.0.0.1:1/", "http://[::1]:1", "https://x.example" })
            {
                Check.Equal("", new AccountClient(url).PlayerId, url);
            }
        }

        private sealed class FailingStorage : ISessionStorage
        {
            public bool IsFailing = true;
            public string Text = "";

            public string Load()
            {
                return Text;
            }

            public void Save(string text)
            {
                if (IsFailing)
                {
                    throw new InvalidOperationException("the disk is full");
                }

                Text = text;
            }

            public void Clear()
            {
            }
        }
    }
}
