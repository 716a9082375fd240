// A program that calls an account: tests/csharp/test_account_client.py runs it with a player HTTP API.
//
//     Tests.exe ROOT account URL FILE CALL...     prints a line for each call: its result, or its error

using System;
using System.Threading.Tasks;

namespace Tickwire.Tests
{
    public static class AccountProgram
    {
        public static int Run(string url, string file, string[] lines)
        {
            RunAsync(url, file, lines).Wait();
            return ProgramEnd.Succeed();
        }

        private static async Task RunAsync(string url, string file, string[] lines)
        {
            AccountClient account = Open(url, file);
            foreach (string line in lines)
            {
                string[] words = line.Split(' ');
                try
                {
                    Console.WriteLine(await CallAsync(account, words, url));
                }
                catch (ApiException error)
                {
                    Console.WriteLine(error.GetType().Name + " " + error.Status + " " + error.Code + " " + error.RetryAfterMs);
                }
                catch (ClientException error)
                {
                    Console.WriteLine(error.GetType().Name);
                }
            }
        }

        private static AccountClient Open(string url, string file)
        {
            return new AccountClient(url, new AccountOptions { Storage = new FileSessionStorage(file) });
        }

        private static async Task<string> CallAsync(AccountClient account, string[] words, string url)
        {
            switch (words[0])
            {
                case "restore":
                    return await account.RestoreAsync() + " " + account.PlayerId;
                case "device":
                    return await account.LoginDeviceAsync() + " " + account.PlayerId;
                case "email":
                    return await account.LoginEmailAsync(words[1], words[2]) + " " + account.PlayerId;
                case "token":
                    return await account.TokenAsync();
                case "get":
                    AccountDetails details = await account.GetAccountAsync();
                    return details.PlayerId + " " + details.Identities.Count;
                case "export":
                    return (await account.ExportAsync()).Replace('\n', ' ');
                case "connect":
                    TickwireClient client = await account.ConnectAsync();
                    Room room = await client.JoinAsync(words[1]);
                    await client.CloseAsync();
                    return room.RoomId.Length > 0 ? "joined" : "no room";
                default:
                    await ChangeAsync(account, words, url);
                    return words[0];
            }
        }

        private static Task ChangeAsync(AccountClient account, string[] words, string url)
        {
            switch (words[0])
            {
                case "link-device":
                    return account.LinkDeviceAsync();
                case "link-email":
                    return account.LinkEmailAsync(words[1], words[2]);
                case "unlink":
                    return account.UnlinkAsync(words[1], words[2]);
                case "password":
                    return account.ChangePasswordAsync(words[1], words[2]);
                case "merge":
                    return account.MergeAsync(Open(url, words[1]));
                case "logout":
                    return account.LogoutAsync(words.Length > 1);
                case "delete":
                    return account.DeleteAsync();
                default:
                    throw new ArgumentException("no call " + words[0]);
            }
        }
    }
}
