"""The rules for changes of accounts. Pure.

Each check passes silently or raises the reason. The store writes with a filter of the same meaning; when the filter
matches nothing, it reads the account again and lets the check name the reason.
"""

from __future__ import annotations

from tickwire.server.errors import Conflict, IdentityTaken, InvalidArgument, Unauthorized
from tickwire.services.accounts.account import LinkedIdentity, PlayerAccount

IDENTITIES_MAX = 20
"""The most identities that an account can have by linking."""
MERGED_IDENTITIES_MAX = 40
"""The most identities that an account can have after a merge; the validator of the collection has the same bound."""
MERGED_FROM_MAX = 100
"""The most accounts that can be merged into one."""
WRONG_CREDENTIALS = "the account does not exist, or the credentials are wrong"
"""One text for both, so that it does not reveal which accounts exist."""


class PendingOperation(Exception):
    """A merge or a deletion of one of the accounts must be finished first; then the change is to be repeated."""


def require_account(account: PlayerAccount | None) -> PlayerAccount:
    """Return an account that exists and is neither merged nor deleted.

    Raises:
        Unauthorized: the account does not exist any more.
        PendingOperation: it is being merged or deleted.
    """
    if account is None or account.merged_into:
        raise Unauthorized("the account does not exist any more")
    if account.is_pending:
        raise PendingOperation
    return account


def check_link(account: PlayerAccount, identity: LinkedIdentity) -> None:
    """Check that an account can have one more identity.

    Raises:
        Conflict: it has too many.
    """
    if account.find_identity(identity.key) is None and len(account.identities) >= IDENTITIES_MAX:
        raise Conflict(f"an account can have at most {IDENTITIES_MAX} identities")


def check_same_identity(linked: LinkedIdentity, identity: LinkedIdentity) -> None:
    """Check that a repeated link has the credentials of the first one.

    Raises:
        IdentityTaken: it has others.
    """
    if linked.secret != identity.secret or bool(linked.password) != bool(identity.password):
        raise IdentityTaken("the identity is linked already, with other credentials")


def check_unlink(account: PlayerAccount, key: str) -> None:
    """Check that an account can lose an identity.

    Raises:
        Conflict: it is the last one.
    """
    if account.find_identity(key) is not None and len(account.identities) == 1:
        raise Conflict("the last identity of an account cannot be unlinked")


def check_merge(source: PlayerAccount | None, target: PlayerAccount | None) -> bool:
    """Check that an account can be merged into another one; return whether the merge has begun already.

    Raises:
        InvalidArgument: both are the same account.
        Unauthorized: the source does not exist any more.
        Conflict: one of them is being merged into another account or deleted, or they have too many identities.
        PendingOperation: another merge must be finished first.
    """
    if source is None or target is None:
        raise Unauthorized("the account does not exist any more")
    if source.player_id == target.player_id:
        raise InvalidArgument("refresh_token: must be of another account")
    if target.player_id in (source.merging_into, source.merged_into):
        return True
    if not source.is_active or not target.is_active:
        raise Conflict("the account is being merged or deleted")
    if source.absorbing or target.absorbing:
        raise PendingOperation
    if len(source.identities) + len(target.identities) > MERGED_IDENTITIES_MAX:
        raise Conflict(f"both accounts together can have at most {MERGED_IDENTITIES_MAX} identities")
    if len(source.merged_from) + len(target.merged_from) >= MERGED_FROM_MAX:
        raise Conflict(f"at most {MERGED_FROM_MAX} accounts can be merged into one")
    return False
