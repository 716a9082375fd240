"""The port of providers: a credential that a client has got from a provider becomes an identity."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Credential(msgspec.Struct, frozen=True):
    """The credential that a client presents. `repr` shows none of it.

    Args:
        token: the ID token or ticket of the provider.
        nonce: the value that the client has sent with its request to the provider; empty if it has sent none.
    """

    token: str
    nonce: str = ""

    def __repr__(self) -> str:
        return "Credential(***)"


class ProviderIdentity(msgspec.Struct, frozen=True):
    """A player, as a provider knows them.

    Args:
        provider: "oidc-NAME", "apple" or "steam".
        subject: identifies the player at the provider; it never changes.
    """

    provider: str
    subject: str


class IdentityProvider(Protocol):
    """Verifies the credentials of one provider."""

    async def verify(self, credential: Credential) -> ProviderIdentity:
        """Return the identity of a credential.

        Raises:
            InvalidToken: the credential is not valid. The message never contains it.
            Unavailable: the provider does not answer.
        """
        ...
