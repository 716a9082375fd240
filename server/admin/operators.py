"""Authenticates operators by their bearer tokens.

The admin API is disabled while no token is configured. Tokens are compared in constant time.
"""

from __future__ import annotations

import hmac

from tickwire.server.admin.roles import Operator
from tickwire.server.errors import Forbidden, Unauthorized

SHARED_NAME = "operator"
"""The name of all operators that use `operations.token`."""
_SCHEME = b"Bearer "


class Operators:
    """The operators of a fleet.

    Args:
        token: the shared token, whose bearers have the role admin; empty for none.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def authenticate(self, authorization: bytes) -> Operator:
        """Return the operator of a request.

        Args:
            authorization: the value of the header, as it was sent.

        Raises:
            Forbidden: no token is configured.
            Unauthorized: the token is missing or invalid.
        """
        if not self._token:
            raise Forbidden("the admin API is disabled: operations.token is not set")
        given = authorization.removeprefix(_SCHEME) if authorization.startswith(_SCHEME) else b""
        if hmac.compare_digest(given, self._token):
            return Operator(SHARED_NAME, "admin")
        raise Unauthorized("missing or invalid bearer token")
