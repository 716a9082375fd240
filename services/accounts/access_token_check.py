"""Verifies access tokens in the player API: the signature, the claims, and whether they were revoked."""

from __future__ import annotations

from collections import Counter

from tickwire.server.errors import InvalidToken
from tickwire.server.storage import RevocationStore
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.services.accounts.ports import TokenHolder


class AccessTokenCheck:
    """Implements `tickwire.services.accounts.ports.AccessTokenVerifier`.

    Args:
        decoder: verifies the signature and the claims.
        revocations: the revoked tokens. They are read for each check, so that a logout takes effect at once.

    Attributes:
        refusals: the number of refused tokens, by reason.
    """

    def __init__(self, decoder: AccessTokenDecoder, revocations: RevocationStore) -> None:
        self._decoder = decoder
        self._revocations = revocations
        self.refusals: Counter[str] = Counter()

    async def verify(self, access_token: str) -> TokenHolder:
        """See `AccessTokenVerifier.verify`."""
        try:
            token = await self._decoder.decode(access_token)
            found = await self._revocations.find(token.player_id, token.family_id)
            if any(each.covers(token.family_id, token.issued_at_s) for each in found):
                raise InvalidToken("the token was revoked; log in again", reason="revoked")
        except InvalidToken as error:
            self.refusals[error.reason] += 1
            raise
        return TokenHolder(token.player_id, token.family_id)
