"""Issues, renews and ends the tokens of players: access tokens and refresh tokens.

Every method may be repeated, by any process, after it has ended at any step:

    issue     the hash of the token, then the family; an answer that is lost leaves a login that is not used
    refresh   the hash of the successor, then one update that makes it current; a repetition returns the same one
    end       the family, then the revocation of its access tokens, then a note that this is done; each token of the
              family that is presented later completes it
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from tickwire.server.errors import InvalidToken, Unavailable
from tickwire.server.storage import Revocation, RevocationStore
from tickwire.server.tokens.access_tokens import AccessToken, sign_access_token
from tickwire.services.accounts.account_secrets import AccountSecrets
from tickwire.services.accounts.ports import IssuedTokens, TokenHolder
from tickwire.services.accounts.refresh_family_store import RefreshFamilyStore
from tickwire.services.accounts.refresh_tokens import (
    EndReason,
    RefreshDecision,
    RefreshFamily,
    create_family_id,
    create_refresh_token,
    decide,
    derive_successor,
    hash_refresh_token,
)
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.signing_keyset import Signer, SigningKeyset

log = structlog.get_logger(__name__)

CLOCKS_APART_S = 1.0
"""Tokens are revoked up to this time after now, because another process whose clock differs may issue one at this
moment. Tokens that are issued later count as issued at the end of this time."""
LEEWAY_S = 600.0
"""Revocations are kept for this time after the last token has expired: the largest leeway of a shard, and more."""
_ATTEMPTS = 3
_PURPOSE = "refresh tokens"

PlayerCheck = Callable[[str], Awaitable[None]]


class TokenStores(msgspec.Struct, frozen=True):
    """The stores of tokens.

    Args:
        keys: signs access tokens.
        families: the refresh tokens.
        revocations: the access tokens that are not valid any more.
        account_secrets: derives refresh tokens.
    """

    keys: SigningKeyset
    families: RefreshFamilyStore
    revocations: RevocationStore
    account_secrets: AccountSecrets


async def accept_player(player_id: str) -> None:
    """Accept every player."""


class TokenService:
    """Implements `tickwire.services.accounts.ports.TokenIssuer`.

    Args:
        stores: the stores of tokens.
        settings: the life of tokens, and the number of logins.
        now_s: the clock: UTC, seconds since 1970.
        check_player: raises an error if a player may not renew tokens at present, as when the player is banned.

    Attributes:
        results: the number of calls by result.
    """

    def __init__(
        self,
        stores: TokenStores,
        settings: AccountSettings,
        now_s: Callable[[], float],
        check_player: PlayerCheck = accept_player,
    ) -> None:
        self._keys = stores.keys
        self._families = stores.families
        self._revocations = stores.revocations
        self._secrets = stores.account_secrets
        self._settings = settings
        self._now_s = now_s
        self._check_player = check_player
        self.results: Counter[str] = Counter()

    async def issue(self, player_id: str, provider: str) -> IssuedTokens:
        """See `TokenIssuer.issue`."""
        issued_at_s = await self._issue_time_s(player_id)
        signer = await self._keys.get_signer()
        token, family_id = create_refresh_token(), create_family_id()
        token_hash = hash_refresh_token(token)
        await self._families.add_token(token_hash, family_id)
        family = await self._families.create(family_id, player_id, provider, token_hash)
        await self._end_surplus(player_id)
        self.results["issued"] += 1
        return self._issued(family, token, signer, issued_at_s)

    async def refresh(self, refresh_token: str) -> IssuedTokens:
        """See `TokenIssuer.refresh`."""
        token_hash = self._hash(refresh_token)
        family = await self._find(token_hash)
        for _ in range(_ATTEMPTS):
            decision = decide(family, token_hash)
            if decision not in (RefreshDecision.ROTATE, RefreshDecision.REPEAT):
                raise await self._refuse(family, decision)
            await self._check_player(family.player_id)
            # Before the rotation: a token that is issued after its family has ended is then a revoked one.
            issued_at_s = await self._issue_time_s(family.player_id)
            signer = await self._keys.get_signer()
            if decision is RefreshDecision.REPEAT:
                self.results["repeated"] += 1
                return self._issued(family, self._successor(family, refresh_token), signer, issued_at_s)
            successor = derive_successor(refresh_token, self._secrets.current_key(_PURPOSE))
            await self._families.add_token(hash_refresh_token(successor), family.family_id)
            rotated = await self._families.rotate(family, hash_refresh_token(successor), self._secrets.current_id)
            if rotated is not None:
                self.results["rotated"] += 1
                return self._issued(rotated, successor, signer, issued_at_s)
            family = await self._find(token_hash)
        raise Unavailable("the tokens are being renewed by another call; try again", retry_after_ms=1000)

    async def find_holder(self, refresh_token: str) -> TokenHolder:
        """See `TokenIssuer.find_holder`."""
        token_hash = self._hash(refresh_token)
        family = await self._find(token_hash)
        decision = decide(family, token_hash)
        if decision is RefreshDecision.REPEAT:
            raise self._invalid("used", "the refresh token was used; use its successor")
        if decision is not RefreshDecision.ROTATE:
            raise await self._refuse(family, decision)
        return TokenHolder(family.player_id, family.family_id)

    async def log_out(self, refresh_token: str, *, everywhere: bool = False) -> None:
        """End the family of a refresh token, or all families of its player.

        Args:
            refresh_token: a current one, or the one before it.
            everywhere: end all families of the player.

        Raises:
            Unauthorized: the token is unknown or expired, or was used before.
            Unavailable: a store does not answer; the call is safe to repeat.
        """
        token_hash = self._hash(refresh_token)
        family = await self._find(token_hash)
        decision = decide(family, token_hash)
        if decision is RefreshDecision.ENDED and family.end_reason == EndReason.LOGOUT:
            await self._complete_end(family)
            return
        if decision not in (RefreshDecision.ROTATE, RefreshDecision.REPEAT):
            raise await self._refuse(family, decision)
        if everywhere:
            # The family of the token ends last, so that the call can be repeated with it.
            await self.end_all(family.player_id, except_family=family.family_id)
            await self._revoke_player(family.player_id)
        await self.end_family(family.family_id)
        self.results["logged_out"] += 1

    async def end_family(self, family_id: str) -> None:
        """See `TokenIssuer.end_family`."""
        await self._end(family_id, EndReason.LOGOUT)

    async def end_all(self, player_id: str, *, except_family: str = "") -> None:
        """See `TokenIssuer.end_all`. The access tokens of ended families are revoked in both cases."""
        for _ in range(_ATTEMPTS):  # a login at the same time may add one
            families = await self._families.list_unrevoked(player_id)
            families = [family for family in families if family.family_id != except_family]
            for family in families:
                await self._end(family.family_id, EndReason.LOGOUT)
            if not families:
                break
        if not except_family:
            await self._revoke_player(player_id)

    async def list_families(self, player_id: str) -> list[RefreshFamily]:
        """Return the families of a player that have not ended, the last used first.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        families = await self._families.list_of(player_id)
        return [family for family in families if family.seen_at < family.expires_at]

    async def delete_of(self, player_id: str) -> int:
        """Revoke all tokens of a player, and delete what is stored of them; return the number of families.

        Raises:
            Unavailable: MongoDB does not answer; the call is safe to repeat.
        """
        await self.end_all(player_id)
        return await self._families.delete_of(player_id)

    # -- refresh tokens -------------------------------------------------------------------------------------

    def _hash(self, refresh_token: str) -> bytes:
        try:
            return hash_refresh_token(refresh_token)
        except InvalidToken:
            self.results["malformed"] += 1
            raise

    async def _find(self, token_hash: bytes) -> RefreshFamily:
        family = await self._families.find_by_token(token_hash)
        if family is None:
            raise self._invalid("unknown", "the refresh token is unknown, or has expired")
        return family

    def _successor(self, family: RefreshFamily, refresh_token: str) -> str:
        key = self._secrets.find_key(family.secret_id, _PURPOSE)
        successor = derive_successor(refresh_token, key) if key is not None else ""
        if key is None or hash_refresh_token(successor) != family.current:
            log.warning("refresh_not_repeatable", family_id=family.family_id, secret_id=family.secret_id)
            raise Unavailable("this server cannot repeat the renewal; try again", retry_after_ms=1000)
        return successor

    async def _refuse(self, family: RefreshFamily, decision: RefreshDecision) -> InvalidToken:
        """Return the error for a token that is not valid any more, after ending its family if it is a copy."""
        if decision is RefreshDecision.EXPIRED:
            return self._invalid("expired", "the refresh token has expired; log in again")
        if decision is RefreshDecision.REUSED:
            log.warning("refresh_token_reused", player_id=family.player_id, family_id=family.family_id)
            await self._end(family.family_id, EndReason.REUSED)
            return self._invalid("reused", "the refresh token was used before, so the login has ended; log in again")
        await self._complete_end(family)
        return self._invalid("ended", "the login has ended; log in again")

    def _invalid(self, reason: str, message: str) -> InvalidToken:
        self.results[reason] += 1
        return InvalidToken(message, reason=reason)

    # -- ends -----------------------------------------------------------------------------------------------

    async def _end(self, family_id: str, reason: EndReason) -> None:
        family = await self._families.end(family_id, reason)
        if family is not None:
            await self._complete_end(family)

    async def _complete_end(self, family: RefreshFamily) -> None:
        if family.is_revoked:
            return
        await self._revocations.save(self._revocation(family.player_id, family.family_id))
        await self._families.mark_revoked(family.family_id)

    async def _revoke_player(self, player_id: str) -> None:
        revocation = self._revocation(player_id, "")
        for earlier in await self._revocations.find(player_id):
            # Tokens that were issued since then count as issued at that time.
            later = max(revocation.tokens_before, earlier.tokens_before + datetime.timedelta(milliseconds=1))
            revocation = msgspec.structs.replace(revocation, tokens_before=later)
        await self._revocations.save(revocation)

    async def _end_surplus(self, player_id: str) -> None:
        families = await self._families.list_of(player_id)
        for family in families[self._settings.logins_max :]:
            await self._end(family.family_id, EndReason.TOO_MANY)

    def _revocation(self, player_id: str, family_id: str) -> Revocation:
        before_s = self._now_s() + CLOCKS_APART_S
        return Revocation(
            player_id,
            family_id,
            _to_datetime(before_s),
            _to_datetime(before_s + self._settings.access_token_s + LEEWAY_S),
        )

    # -- access tokens --------------------------------------------------------------------------------------

    async def _issue_time_s(self, player_id: str) -> float:
        """Return the time of issue of a token: now, but never before the player's tokens were revoked."""
        found = await self._revocations.find(player_id)
        return max([self._now_s(), *(each.tokens_before.timestamp() for each in found)])

    def _issued(self, family: RefreshFamily, refresh_token: str, signer: Signer, issued_at_s: float) -> IssuedTokens:
        now_s = self._now_s()
        expires_at_s = min(now_s + self._settings.access_token_s, signer.expires_at_s)
        content = AccessToken(family.player_id, family.family_id, issued_at_s, expires_at_s)
        return IssuedTokens(
            player_id=family.player_id,
            access_token=sign_access_token(content, self._settings.issuer, signer.key_id, signer.key),
            expires_in_s=int(expires_at_s - now_s),
            refresh_token=refresh_token,
            refresh_expires_in_s=int((family.expires_at - family.seen_at).total_seconds()),
        )


def _to_datetime(time_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time_s, datetime.UTC)
