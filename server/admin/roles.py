"""The roles of operators, and the check of the role that an endpoint declares.

    read      sees everything that the API shows
    support   read, and acts on single players and rooms: kick, ban, broadcast, record
    admin     support, and acts on the fleet and deletes: drain, tuning, log level

Each handler of the admin API declares the lowest role that may call it: `role="support"`.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from tickwire.server.errors import Forbidden, TickwireError, Unauthorized
from tickwire.server.operator_settings import Role

ROLES: tuple[Role, ...] = get_args(Role)
"""All roles; each has the rights of those before it."""
UNDECLARED: Role = "admin"
"""The role of a handler that declares none, such as those of Litestar for OPTIONS."""


class Operator(msgspec.Struct, frozen=True):
    """An authenticated operator.

    Args:
        name: from the settings or the token; in the log and the audit trail.
        role: the operator's rights.
    """

    name: str
    role: Role


def may(operator: Operator, role: Role) -> bool:
    """Return whether an operator has the rights of a role."""
    return ROLES.index(operator.role) >= ROLES.index(role)


def check_authenticated(connection: ASGIConnection[Any, Any, Any, Any]) -> Operator:
    """Return the operator of a request.

    Raises:
        TickwireError: there is none; the error has the reason.
    """
    operator = connection.scope.get("user")
    if isinstance(operator, Operator):
        return operator
    refusal = connection.scope.get("auth")
    raise refusal if isinstance(refusal, TickwireError) else Unauthorized("missing or invalid bearer token")


def check_role(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check that the operator of a request has the role that its handler declares: a guard of Litestar.

    Raises:
        TickwireError: the request has no operator.
        Forbidden: the operator's role does not suffice; the message names the role that does.
    """
    operator, role = check_authenticated(connection), handler.opt.get("role", UNDECLARED)
    if not may(operator, role):
        raise Forbidden(f"the role {role} is required; the role of {operator.name} is {operator.role}")
