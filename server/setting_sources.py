"""Reads settings from a TOML file and from the environment, and builds the structs that declare them.

    file, then environment, then command line    each overrides the one before
    one line for each problem                    KEY: must be EXPECTED; got ACTUAL

One pass finds all problems: an invalid value is replaced by its default. No problem shows a secret.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from tickwire.server.errors import ConfigError
from tickwire.server.setting_types import TEXT_CHARACTERS_MAX, base_type, describe

ENVIRONMENT_PREFIX = "TICKWIRE__"
FILE_BYTES_MAX = 1024 * 1024
SHOWN_CHARACTERS_MAX = 60
_SECRETS = (
    "tickets",
    "auth.secret",
    "operations.token",
    "operations.operators",
    "accounts.secret",
    "accounts.previous_secrets",
    "accounts.providers.steam_key",
)
"""Keys whose values, and the values below them, are never shown."""


class _EnvironmentText(str):
    """A value of the environment, which has no types: it may be a number, or a list separated by commas."""

    __slots__ = ()


def read_file(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file in UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: must be at most {FILE_BYTES_MAX} bytes long")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is not TOML: it is nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and numbers that Python refuses
        raise ConfigError(f"{path}: is not TOML: {shown_text(str(error))}") from error


def add_environment(values: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Add the variables that begin with TICKWIRE__ to the values of the file; return the problems."""
    problems: list[str] = []
    for name, text in sorted(environ.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _put(values, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), _EnvironmentText(text))
        elif name.startswith(ENVIRONMENT_PREFIX[:-1]) and "__" in name:
            problems.append(f"{shown_text(name)}: the name of a setting begins with {ENVIRONMENT_PREFIX}, with two _")
    return problems


def add_overrides(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Add the values of the command line, by key, to those of the file and the environment."""
    for key, value in overrides.items():
        _put(values, key.split("."), value)


def build(section: type[Any], values: Mapping[str, Any], where: str = "") -> tuple[Any, list[str]]:
    """Build one section of the settings and its inner sections.

    Args:
        section: the struct that declares the settings.
        values: the values from all sources.
        where: the key of the section with a dot; empty for the root.

    Returns:
        The section, with defaults in place of invalid values, and the problems.
    """
    kinds = {
        name: kind
        for name, kind in get_type_hints(section, include_extras=True).items()
        if name in section.__struct_fields__
    }
    known: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in values.items():
        path = f"{where}{key}"
        kind = kinds.get(key)
        if kind is None:
            near = difflib.get_close_matches(key[:100], kinds, 1)
            hint = f"; did you mean {where}{near[0]}?" if near else ""
            problems.append(f"{shown_text(path)}: unknown key{hint}")
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if isinstance(value, Mapping):
                known[key], inner = build(kind, value, f"{path}.")
                problems += inner
            else:
                problems.append(f"{path}: must be a table; got {_shown(path, value)}")
        else:
            problems += _convert(known, key, value, kind, path)
    return section(**known), problems


def shown_text(text: str) -> str:
    """Return a text shortened and on one line, safe for a terminal."""
    short = text if len(text) <= SHOWN_CHARACTERS_MAX * 2 else f"{text[: SHOWN_CHARACTERS_MAX * 2]}..."
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in short)


def redacted(url: str) -> str:
    """Return a connection string without user and password, also without a password among its options."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if "@" in rest:
        rest = f"***@{rest.rpartition('@')[2]}"
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", f"{scheme}{separator}{rest}")


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a key in nested tables. A parent that is not a table is kept; `build` reports it."""
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        values = inner
    values[keys[-1]] = value


def _convert(known: dict[str, Any], key: str, value: Any, kind: Any, path: str) -> Iterator[str]:
    """Add a value of the declared type to `known`, or yield the problem."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, Mapping):
        known[key], problems = build(kind, value, f"{path}.")
        yield from problems
        return
    if get_origin(base_type(kind)) is dict and isinstance(value, Mapping):
        entries = known[key] = {}
        for name, text in value.items():
            yield from _convert(entries, name, text, get_args(base_type(kind))[1], f"{path}.{shown_text(name)}")
        return
    expected = f"{path}: must be {describe(kind)}"
    is_text = isinstance(value, _EnvironmentText)
    if is_text:
        is_list = get_origin(base_type(kind)) is list
        value = [part.strip() for part in value.split(",") if part.strip()] if is_list else str(value)
    try:
        converted = msgspec.convert(value, kind, strict=not is_text)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        yield f"{expected}; got {_shown(path, value)}"
        return
    problem = next((problem for text in _texts(converted) for problem in _text_problems(text)), "")
    if problem:
        yield f"{path}: must not {problem}; got {_shown(path, value)}"
    else:
        known[key] = converted


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _text_problems(text: str) -> Iterator[str]:
    if len(text) > TEXT_CHARACTERS_MAX:
        yield f"have more than {TEXT_CHARACTERS_MAX} characters"
    if not text.isprintable():  # for example a line break at the end of a secret from a file
        yield "contain characters that cannot be printed, such as a line break at its end"
    if text != text.strip():
        yield "begin or end with a blank"


def _shown(path: str, value: Any) -> str:
    """Return a value for a problem: shortened, on one line, and never a secret."""
    if isinstance(value, Mapping):
        return "a table"
    if _is_secret(path):
        return "a value that is not shown"
    try:
        text = redacted(str(value))
    except (ValueError, RecursionError):  # Python refuses to write numbers of more than 4,300 digits
        return "a value that is too large to show"
    text = text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}..."
    return repr(text) if isinstance(value, str) else shown_text(text)


def _is_secret(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in _SECRETS)
