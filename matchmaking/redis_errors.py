"""Classifies the errors of Redis, and describes them for operators."""

from __future__ import annotations

import re
import ssl

from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)
"""The errors that a call to Redis raises. The errors of a cluster client are not RedisErrors."""

_TEMPORARY = re.compile(
    r"\b(READONLY|LOADING|MISCONF|OOM|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|BUSY|TRYAGAIN)\b"
    r"|read only replica|used memory"
)
"""Replies of a Redis that cannot write for now; Redis 6 wraps them in an error of the script."""
_PERMISSION = re.compile(r"\bNOPERM\b|permission|can't run this command|can't access at least one of the keys", re.I)
_DATABASE = re.compile(r"DB index is out of range|invalid DB index", re.I)
_CREDENTIALS = re.compile(r"\b(WRONGPASS|NOAUTH)\b|invalid password|without any password configured", re.I)
REASON_CHARACTERS_MAX = 300


def is_script_fault(error: Exception) -> bool:
    """Return whether a script failed because of a mistake in it, and not because of the state or setup of Redis."""
    return isinstance(error, ResponseError) and not any(
        pattern.search(str(error)) for pattern in (_TEMPORARY, _PERMISSION, _DATABASE, _CREDENTIALS)
    )


def describe_error(error: BaseException, deadline_s: float) -> str:
    """Return the reason why Redis cannot be used, for an operator. Redis never quotes a password."""
    # A description of the sentinel client follows " : <".
    text = " ".join(str(error).split()).partition(" : <")[0][:REASON_CHARACTERS_MAX]
    cause = _tls_error(error)
    if cause is not None:
        return f"TLS failed: {cause.reason or cause}"
    if isinstance(error, NoPermissionError) or _PERMISSION.search(text):
        return f"the user lacks a permission: {text}"
    if _DATABASE.search(text):
        return f"the database does not exist: {text}"
    if isinstance(error, AuthenticationError) or _CREDENTIALS.search(text):
        return f"the user name or password is wrong: {text}"
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return f"no answer within {deadline_s:g} s"
    return text or type(error).__name__


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen
