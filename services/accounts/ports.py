"""The ports between the accounts and the tokens of players.

The accounts decide who a player is. The implementation of these ports issues, renews and revokes the player's tokens.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class IssuedTokens(msgspec.Struct, frozen=True):
    """The tokens of one login, or of one renewal of it.

    Args:
        player_id: the player.
        access_token: a JWT, for the player API and for sessions.
        expires_in_s: how long the access token is valid.
        refresh_token: opaque; valid for one renewal.
        refresh_expires_in_s: how long the refresh token is valid.
    """

    player_id: str
    access_token: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int

    def __repr__(self) -> str:
        return f"IssuedTokens(player_id={self.player_id!r})"


class TokenHolder(msgspec.Struct, frozen=True):
    """The player and the family of a verified token.

    Args:
        player_id: the player.
        family_id: the refresh family; all tokens of one login share it.
    """

    player_id: str
    family_id: str


class TokenIssuer(Protocol):
    """Issues, renews and ends the tokens of players. All methods are safe to repeat."""

    async def issue(self, player_id: str, provider: str) -> IssuedTokens:
        """Begin a new refresh family and return its first tokens.

        Args:
            player_id: the player who has logged in.
            provider: the provider of the identity: "device", "email", "oidc-NAME", "steam" or "apple".

        Raises:
            Unavailable: a store does not answer.
        """

    async def refresh(self, refresh_token: str) -> IssuedTokens:
        """Renew the tokens of a family. A repetition within a minute returns the same refresh token.

        Raises:
            Unauthorized: the token is unknown, expired or ended, or was used before; the family has ended.
            Unavailable: a store does not answer.
        """

    async def find_holder(self, refresh_token: str) -> TokenHolder:
        """Return the holder of a refresh token, without a renewal.

        Raises:
            Unauthorized: the token is unknown, used, expired or ended.
            Unavailable: a store does not answer.
        """

    async def end_family(self, family_id: str) -> None:
        """End one family: its refresh tokens and its access tokens are refused from now on.

        Raises:
            Unavailable: a store does not answer; the call is safe to repeat.
        """

    async def end_all(self, player_id: str, *, except_family: str = "") -> None:
        """End the families of a player, and revoke their access tokens: shards end the sessions that have one.

        Without an exception, all access tokens of the player that were issued before are revoked.

        Args:
            player_id: the player.
            except_family: the family to keep; empty to end all.

        Raises:
            Unavailable: a store does not answer; the call is safe to repeat.
        """

    async def delete_of(self, player_id: str) -> int:
        """End all families of a player as `end_all` does, and delete them; return their number.

        Raises:
            Unavailable: a store does not answer; the call is safe to repeat.
        """


class PlayerTokens(TokenIssuer, Protocol):
    """The tokens, with the logout that a refresh token permits."""

    async def log_out(self, refresh_token: str, *, everywhere: bool = False) -> None:
        """End the family of a refresh token, or all families of its player.

        Raises:
            Unauthorized: the token is unknown or expired, or was used before.
            Unavailable: a store does not answer; the call is safe to repeat.
        """


class AccessTokenVerifier(Protocol):
    """Verifies access tokens, and whether they were revoked."""

    async def verify(self, access_token: str) -> TokenHolder:
        """Return the holder of a valid access token.

        Raises:
            Unauthorized: the token is invalid, expired or revoked.
            Unavailable: a store does not answer.
        """
