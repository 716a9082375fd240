"""The HTTP operation that publishes the keys of access tokens, for services that verify them by themselves."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from tickwire.services.accounts.public_keys import KEYS_REFRESH_S
from tickwire.services.accounts.signing_keys import to_jwk
from tickwire.services.accounts.signing_keyset import SigningKeyset

Keys = NamedDependency[SkipValidation[SigningKeyset]]


class KeyController(Controller):
    """Publishes the public keys."""

    tags = ("login",)

    @get("/.well-known/jwks.json", summary="List the keys of access tokens")
    async def list_keys(self, signing_keys: Keys) -> Response[dict[str, Any]]:
        """Return a JSON Web Key Set (RFC 7517): the keys whose tokens are valid, and the next one."""
        keys = [to_jwk(key) for key in await signing_keys.get_public_keys()]
        return Response({"keys": keys}, headers={"Cache-Control": f"public, max-age={int(KEYS_REFRESH_S)}"})
