"""Removes secrets from log lines: values whose key names a secret, and text that looks like one.

Peers choose much of the text: a command that a game quotes in an exception, a name, a header. So the work is linear
in the length of the text, which is cut at TEXT_CHARACTERS_MAX, and values are at most DEPTH_MAX deep. For linear
time, each search continues at the end of the one before, and quantifiers are possessive (`++`): they never backtrack.
Pure.
"""

from __future__ import annotations

import re
from typing import Any

TEXT_CHARACTERS_MAX = 16 * 1024
"""A stack trace through all layers of a shard has about 8,000 characters."""
DEPTH_MAX = 8
ITEMS_MAX = 1000
REDACTED = "***"

_SECRET_KEYS = ("token", "ticket", "secret", "password", "authorization", "resume")
_DOTTED_WORD = re.compile(r"[\w.-]++")
_URL_AUTHORITY = re.compile(r"(?<=://)[^/\s]++")
_BEARER = re.compile(r"(?i:(?<=bearer )\S++)")


def redact_value(value: Any, *, depth: int = 0) -> Any:
    """Return a value of a log line without secrets: text, numbers, and lists and dictionaries of them."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact_text(value)
        case dict() | list() | tuple() if depth >= DEPTH_MAX:
            return "..."
        case dict():
            items = list(value.items())[:ITEMS_MAX]
            return {key: REDACTED if is_secret(key) else redact_value(inner, depth=depth + 1) for key, inner in items}
        case list() | tuple():
            return [redact_value(inner, depth=depth + 1) for inner in value[:ITEMS_MAX]]
        case _:
            return redact_text(str(value))


def is_secret(key: Any) -> bool:
    """Return whether a key names a secret."""
    return isinstance(key, str) and any(secret in key.lower() for secret in _SECRET_KEYS)


def redact_text(text: str) -> str:
    """Return text without JSON Web Tokens, users and passwords in URLs, and bearer tokens."""
    if len(text) > TEXT_CHARACTERS_MAX:
        text = f"{text[:TEXT_CHARACTERS_MAX]}... ({len(text)} characters)"
    if "eyJ" in text:
        text = _without_jwts(text)
    if "://" in text and "@" in text:
        text = _URL_AUTHORITY.sub(_without_user, text)
    if "earer " in text.lower():
        text = _BEARER.sub(REDACTED, text)
    return text


def _without_jwts(text: str) -> str:
    """Return text without words that begin with `eyJ`, a JSON object in base64, and have a dot in them."""
    kept, done, at = [], 0, text.find("eyJ")
    while at >= 0:
        word = _DOTTED_WORD.match(text, at)
        end = word.end() if word is not None else at + 3
        if at and (text[at - 1].isalnum() or text[at - 1] == "_"):
            end = at + 3  # within a word, such as keyJar
        elif "." in text[at:end]:
            kept += [text[done:at], REDACTED]
            done = end
        at = text.find("eyJ", end)
    return "".join((*kept, text[done:]))


def _without_user(authority: re.Match[str]) -> str:
    user, at, host = authority[0].rpartition("@")
    return f"{REDACTED}@{host}" if at and user else authority[0]
