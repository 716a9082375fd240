"""Translates MongoDB's errors into text: for operators with the reason, for players without it. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WTimeoutError,
)

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
REASON_CHARACTERS_MAX = 300
_REFUSED_COMMAND = re.compile(r"not authorized on (\S+) to execute command \{ (\w+)")


def hosts_from_url(url: str) -> str:
    """Return the hosts of a URL, without user name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def to_player_message(error: BaseException) -> str:
    """Return a description of an error without addresses and reasons."""
    match error:
        case WTimeoutError():
            return "a majority of its members did not acknowledge the write in time"
        case TimeoutError() | ExecutionTimeout():
            return "it takes too long"
        case ConnectionFailure():
            return "no primary can be reached"
        case OperationFailure(code=code):
            return f"it failed with code {code}"
        case _:
            return type(error).__name__


def to_operator_detail(error: BaseException, call_s_max: float) -> str:
    """Return the reason of an error.

    The driver and the server name neither users nor passwords. Documents, which the server quotes, are left out.
    """
    match error:
        case OperationFailure(code=code) if code == AUTHENTICATION_FAILED:
            return "the user name or password is wrong"
        case OperationFailure(code=code) if code == UNAUTHORIZED:
            refused = _REFUSED_COMMAND.search(str(error))
            if refused is None:
                return "a user name and a password are required"
            role = "dbAdmin" if refused[2] == "collMod" else "readWrite"
            return f"the user lacks the right to {refused[2]} on database {refused[1]}: grant it the role {role}"
        case WTimeoutError():
            return to_player_message(error)
        case OperationFailure(code=code, details=details) if not isinstance(error, ExecutionTimeout):
            return f"code {code} {(details or {}).get('codeName', '')}".strip()
        case TimeoutError() | ExecutionTimeout() | NetworkTimeout():
            return f"no answer within {call_s_max:g} s"
        case ServerSelectionTimeoutError() | ConnectionFailure():
            reason, _, _ = str(error).partition(", Timeout: ")  # the driver's notes come after this
            reason, _, _ = reason.partition(" (configured timeouts: ")
            return " ".join(reason.split())[:REASON_CHARACTERS_MAX] or type(error).__name__
        case _:
            return type(error).__name__
