// An account, as the API describes it.

using System.Collections.Generic;

namespace Tickwire
{
    /// <summary>An account with its identities.</summary>
    public sealed class AccountDetails
    {
        internal AccountDetails(in JsonFields fields)
        {
            PlayerId = fields.Text("player_id");
            CreatedAt = fields.Text("created_at");
            var identities = new List<AccountIdentity>();
            foreach (JsonFields identity in fields.Objects("identities"))
            {
                identities.Add(new AccountIdentity(identity));
            }

            Identities = identities;
        }

        public string PlayerId { get; }

        /// <summary>RFC 3339.</summary>
        public string CreatedAt { get; }

        /// <summary>The identities that open the account.</summary>
        public IReadOnlyList<AccountIdentity> Identities { get; }
    }

    /// <summary>An identity, such as an e-mail address.</summary>
    public sealed class AccountIdentity
    {
        internal AccountIdentity(in JsonFields fields)
        {
            Provider = fields.Text("provider");
            Subject = fields.Text("subject");
            LinkedAt = fields.Text("linked_at");
        }

        public string Provider { get; }

        public string Subject { get; }

        /// <summary>RFC 3339.</summary>
        public string LinkedAt { get; }
    }
}
