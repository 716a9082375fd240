"""Authenticates operators: by a token of the settings, or by a token of an OpenID Connect issuer.

    operations.token       shared by all operators; the role admin
    operations.operators   one token for each operator, with a role
    operations.oidc_*      a signed token of an issuer: server/admin/operator_tokens.py

The admin API is disabled while no operator is configured. All tokens are compared in constant time, each with all.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from tickwire.server.admin.operator_tokens import OperatorTokens
from tickwire.server.admin.roles import Operator
from tickwire.server.errors import Forbidden, Unauthorized
from tickwire.server.operator_settings import SHARED_NAME, OperatorSettings

_SCHEME = b"Bearer "


class Operators:
    """The operators of a fleet.

    Args:
        token: the shared token, whose bearers have the role admin; empty for none.
        operators: the operators with a token of their own, by name.
        tokens: verifies the tokens of an issuer; None without one.
    """

    def __init__(
        self,
        token: str,
        operators: Mapping[str, OperatorSettings] | None = None,
        tokens: OperatorTokens | None = None,
    ) -> None:
        self._by_token = [
            (one.token.encode(), Operator(name, one.role)) for name, one in (operators or {}).items() if one.token
        ]
        if token:
            self._by_token.append((token.encode(), Operator(SHARED_NAME, "admin")))
        self._tokens = tokens

    async def authenticate(self, authorization: bytes) -> Operator:
        """Return the operator of a request.

        Args:
            authorization: the value of the header, as it was sent.

        Raises:
            Forbidden: no operator is configured, or the operator has no role.
            Unauthorized: the token is missing or invalid.
            Unavailable: the keys of the issuer cannot be read.
        """
        if not self._by_token and self._tokens is None:
            raise Forbidden("the admin API is disabled: neither operations.token nor another operator is set")
        presented = authorization.removeprefix(_SCHEME) if authorization.startswith(_SCHEME) else b""
        found = None
        for token, operator in self._by_token:
            if hmac.compare_digest(presented, token):
                found = operator  # the comparisons continue, so that their time does not depend on the token
        if found is not None:
            return found
        if presented and self._tokens is not None:
            return await self._tokens.verify(presented.decode("latin-1"))
        raise Unauthorized("missing or invalid bearer token")
