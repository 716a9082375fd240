"""One call of a game's hook, as an error report describes it: the player, and the arguments as short text.

Arguments may be large, hold what a peer has sent, or be objects of the game whose `repr` raises an exception. The
text is therefore bounded, has no secrets (server/observability/redaction.py), and never raises. Pure.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from tickwire.server.observability.redaction import REDACTED, is_secret, redact_text
from tickwire.server.rooms.player import Player

ARGUMENT_CHARACTERS_MAX = 200
ITEMS_MAX = 10
LEVELS_MAX = 4
VALUES_MAX = 100
"""The values that one description visits: a client may send messages of which each makes a hook fail."""


class HookCall(NamedTuple):
    """A call of a hook.

    Args:
        hook: the name of the hook, or of the method that a timer calls.
        arguments: the arguments without the room.
    """

    hook: str
    arguments: tuple[Any, ...] = ()

    @property
    def player_id(self) -> str:
        """The id of the first player among the arguments; empty without one."""
        return next((argument.id for argument in self.arguments if isinstance(argument, Player)), "")

    def describe_arguments(self) -> list[str]:
        """Return the arguments as text, at most ARGUMENT_CHARACTERS_MAX characters each."""
        return [describe_value(argument) for argument in self.arguments[:ITEMS_MAX]]


def describe_value(value: Any) -> str:
    """Return a value as text: bounded, without secrets, whatever its `repr` does."""
    try:
        text = redact_text(_Description().repr(value))
    except BaseException as error:  # noqa: BLE001 the game's `__repr__`; reprlib contains only an Exception
        return _unprintable(value, error)
    return text if len(text) <= ARGUMENT_CHARACTERS_MAX else f"{text[: ARGUMENT_CHARACTERS_MAX - 3]}..."


def _unprintable(value: Any, error: BaseException) -> str:
    return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _fields_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of a record of any kind that options and arguments may have; None for another value."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=False))
    return None


class _Description(reprlib.Repr):
    """Returns bounded text of nested values, without the values whose key or field names a secret."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = LEVELS_MAX
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = ITEMS_MAX
        self.maxstring = self.maxother = ARGUMENT_CHARACTERS_MAX
        self.maxlong = 40
        self._left = VALUES_MAX

    def repr1(self, value: Any, level: int) -> str:
        """Return the text of one value; called by reprlib."""
        self._left -= 1
        if self._left < 0:
            return "..."
        if isinstance(value, Player):
            return f"<Player {super().repr1(value.id, level)}>"
        if (fields := _fields_of(value)) is not None:
            return f"{type(value).__name__}{self._pairs(fields, level, '{}={}', '()')}"
        if isinstance(value, Mapping):
            return self._pairs(value, level, "{}: {}", "{}")
        if isinstance(value, set | frozenset) and len(value) > ITEMS_MAX:  # reprlib would sort all of it
            return f"{{{super().repr1(list(islice(value, ITEMS_MAX)), level)[1:-1]}, ...}}"
        return super().repr1(value, level)

    def _pairs(self, items: Mapping[Any, Any], level: int, pair: str, brackets: str) -> str:
        if level <= 0 and items:
            return f"{brackets[0]}...{brackets[1]}"
        shown = []
        for key, inner in islice(items.items(), ITEMS_MAX):
            name = super().repr1(key, 1) if brackets == "{}" else key
            shown.append(pair.format(name, REDACTED if is_secret(key) else self.repr1(inner, level - 1)))
        return f"{brackets[0]}{', '.join(shown)}{', ...' if len(items) > ITEMS_MAX else ''}{brackets[1]}"
