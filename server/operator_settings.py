"""The settings of operators: who may use the admin API, with which role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import Claim, HttpUrl, Secret
from tickwire.server.tokens.fetch import is_secure

Role = Literal["read", "support", "admin"]
SHARED_NAME = "operator"
"""The name of all operators that use `operations.token`."""
NAME_CHARACTERS_MAX = 64
Problem = tuple[tuple[str, ...], str]
"""The keys of settings that contradict each other, the one to change first, and the rule."""


class OperatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operator.

    Args:
        token: the operator's bearer token, at least 32 characters.
        role: read, support or admin: server/admin/roles.py.
    """

    token: Secret = ""
    role: Role = "read"

    def __repr__(self) -> str:
        return f"OperatorSettings(token={'***' if self.token else ''!r}, role={self.role!r})"


OperatorTable = Annotated[
    dict[str, OperatorSettings], Meta(max_length=100, description="a table of operators, each with token and role")
]


class OperatorOidc(msgspec.Struct, frozen=True):
    """How tokens of an OpenID Connect issuer name an operator.

    Args:
        issuer: the issuer's URL; empty for none.
        audience: the required value of `aud`.
        role_claim: the claim with the role, or a list of roles of which the highest counts.
        name_claim: the claim with the name.
    """

    issuer: HttpUrl
    audience: str
    role_claim: Claim
    name_claim: Claim


def find_problems(
    shared_token: str, operators: Mapping[str, OperatorSettings], oidc: OperatorOidc
) -> Iterator[Problem]:
    """Yield the settings of operators that are valid by themselves but contradict each other."""
    owners = {shared_token: "operations.token"} if shared_token else {}
    for name, operator in operators.items():
        key = f"operations.operators.{name}"
        if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable() or name == SHARED_NAME:
            rule = f"must be a printable name of at most {NAME_CHARACTERS_MAX} characters, and not {SHARED_NAME}"
            yield ("operations.operators",), rule
        elif not operator.token:
            yield (f"{key}.token",), "must be set"
        elif operator.token in owners:
            yield (f"{key}.token",), f"must not be the token of {owners[operator.token]}"
        owners.setdefault(operator.token, key)
    if oidc.issuer and not is_secure(oidc.issuer):
        yield ("operations.oidc_issuer",), "must start with https://; http:// is allowed for loopback addresses only"
    if oidc.issuer and not oidc.audience:
        rule = "must be set, because operations.oidc_issuer is: tokens for other applications must be refused"
        yield ("operations.oidc_audience", "operations.oidc_issuer"), rule
