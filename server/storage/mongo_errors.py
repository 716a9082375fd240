"""What an error of MongoDB means: for operators with the address and the reason, for players without either. Pure."""

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


def address_of(url: str) -> str:
    """Return the hosts in a URL, without user name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def for_players(error: BaseException) -> str:
    """Return what happened, without addresses and reasons."""
    match error:
        case WTimeoutError():
            return "no majority of its members has acknowledged the write in time"
        case TimeoutError() | ExecutionTimeout():
            return "it takes too long"
        case ConnectionFailure():
            return "there is no primary that can be reached"
        case OperationFailure(code=code):
            return f"it failed with code {code}"
        case _:
            return type(error).__name__


def for_operators(error: BaseException, call_s_max: float) -> str:
    """Return why MongoDB cannot be used. The driver and the server name neither users nor passwords; documents, which
    the server quotes, are left out."""
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
            return for_players(error)
        case OperationFailure(code=code, details=details) if not isinstance(error, ExecutionTimeout):
            return f"code {code} {(details or {}).get('codeName', '')}".strip()
        case TimeoutError() | ExecutionTimeout() | NetworkTimeout():
            return f"no answer within {call_s_max:g} s"
        case ServerSelectionTimeoutError() | ConnectionFailure():
            words, _, _ = str(error).partition(", Timeout: ")  # the driver's notes follow
            words, _, _ = words.partition(" (configured timeouts: ")
            return " ".join(words.split())[:REASON_CHARACTERS_MAX] or type(error).__name__
        case _:
            return type(error).__name__
