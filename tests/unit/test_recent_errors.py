"""Error reports of the games' code: bounded, without secrets, with the game's lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from tickwire.server.rooms.hook_call import (
    ARGUMENT_CHARACTERS_MAX,
    ITEMS_MAX,
    VALUES_MAX,
    HookCall,
    describe_value,
)
from tickwire.server.rooms.recent_errors import (
    ERRORS_MAX,
    FRAMES_MAX,
    LOG_INTERVAL_S,
    LOGGED_MAX,
    ROOMS_MAX,
    SHARD_LOGGED_MAX,
    ErrorPlace,
    RecentErrors,
    RoomError,
)


class LoginOptions(msgspec.Struct):
    name: str
    password: str


@dataclasses.dataclass
class TicketOptions:
    name: str
    ticket: str


class Credentials(NamedTuple):
    user: str
    token: str


class Indescribable:
    """A value of a game whose text cannot be made."""

    def __repr__(self) -> str:
        raise SystemExit("planned failure")


def raised(work: Callable[[], Any]) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("it did not raise")


ZERO = raised(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"item": "sword", "count": 2}, "{'item': 'sword', 'count': 2}"),
        ({"access_token": "abc", "inner": {"Password": "abc"}}, "{'access_token': ***, 'inner': {'Password': ***}}"),
        (LoginOptions("ann", "abc"), "LoginOptions(name='ann', password=***)"),
        ([LoginOptions("ann", "abc")], "[LoginOptions(name='ann', password=***)]"),
        (TicketOptions("ann", "abc"), "TicketOptions(name='ann', ticket=***)"),
        ({"with": [Credentials("ann", "abc")]}, "{'with': [Credentials(user='ann', token=***)]}"),
        ("Bearer abc", "'Bearer ***"),
        ({1: {2: {3: {4: {5: 6}}}}}, "{1: {2: {3: {4: {...}}}}}"),
        (Indescribable(), "<Indescribable, whose repr raises SystemExit>"),
        (list(range(30)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"),
    ],
)
def test_arguments_are_described_without_secrets(value: Any, text: str) -> None:
    assert describe_value(value) == text


@pytest.mark.parametrize("value", ["x" * 10**6, {str(n): "y" * 1000 for n in range(1000)}, [["z" * 500] * 50] * 50])
def test_descriptions_of_large_arguments_are_bounded(value: Any) -> None:
    assert len(describe_value(value)) <= ARGUMENT_CHARACTERS_MAX
    assert len(HookCall("on_command", (value,) * 100).describe_arguments()) == ITEMS_MAX


class Counted:
    """A value that counts how often its text is made, or it is compared."""

    calls = 0

    def __repr__(self) -> str:
        Counted.calls += 1
        return "c"

    def __lt__(self, other: object) -> bool:
        Counted.calls += 1
        return False


@pytest.mark.parametrize(
    "value",
    [
        {Counted(): 0 for _ in range(5000)},
        {Counted() for _ in range(5000)},
        [[[[Counted()] * 10] * 10] * 10] * 10,
        {a: {b: {c: Counted() for c in range(10)} for b in range(10)} for a in range(10)},
    ],
)
def test_the_work_of_a_description_is_bounded(value: Any) -> None:
    """A client may send such values with each message to a hook that raises."""
    Counted.calls = 0
    assert len(describe_value(value)) <= ARGUMENT_CHARACTERS_MAX
    assert Counted.calls <= VALUES_MAX


def test_a_large_set_is_described_as_a_set() -> None:
    assert describe_value(set(range(30))) == "{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...}"


def test_errors_are_bounded_by_room_and_by_kind_and_the_newest_stay() -> None:
    errors = RecentErrors(lambda: 0.0)
    for room in range(ROOMS_MAX + 5):
        errors.add(ErrorPlace("arena", f"r{room}", 1), HookCall("on_tick"), ZERO)
    for hook in range(ERRORS_MAX + 5):
        errors.add(ErrorPlace("arena", "last", 1), HookCall(f"timer_{hook}"), ZERO)
    assert len({error.room_id for error in errors.list_errors()}) == ROOMS_MAX
    assert errors.list_errors("r0") == []
    assert [error.hook for error in errors.list_errors("last")] == [f"timer_{n}" for n in range(5, ERRORS_MAX + 5)]


def test_an_error_that_repeats_is_kept_once_counted_and_logged_seldom() -> None:
    now_s = [100.0]
    errors, seen = RecentErrors(lambda: now_s[0]), list[RoomError]()
    errors.on_error = seen.append
    due = []
    for tick in range(100):
        error = errors.add(ErrorPlace("arena", "r", tick), HookCall("on_tick", (tick,)), ZERO)
        due.append(errors.is_due(error))
    assert sum(due) == LOGGED_MAX == len(seen)
    (kept,) = errors.list_errors("r")
    assert (kept.count, kept.tick, kept.arguments) == (100, 99, ["99"])
    now_s[0] += LOG_INTERVAL_S
    assert errors.age_s(kept) == LOG_INTERVAL_S
    error = errors.add(ErrorPlace("arena", "r", 100), HookCall("on_tick"), ZERO)
    assert error.unlogged == 100 - LOGGED_MAX + 1
    assert errors.is_due(error)


def test_errors_of_more_rooms_than_are_kept_do_not_flood_the_log() -> None:
    now_s = [100.0]
    errors, seen = RecentErrors(lambda: now_s[0]), list[RoomError]()
    errors.on_error = seen.append
    for tick in range(20):
        for room in range(ROOMS_MAX + 50):
            errors.is_due(errors.add(ErrorPlace("arena", f"r{room}", tick), HookCall("on_tick"), ZERO))
    assert len(seen) == SHARD_LOGGED_MAX
    now_s[0] += LOG_INTERVAL_S
    assert errors.is_due(errors.add(ErrorPlace("arena", "r0", 20), HookCall("on_tick"), ZERO))


def test_frames_of_an_endless_recursion_are_bounded() -> None:
    def fall(depth: int) -> int:
        return fall(depth + 1) + 1

    errors = RecentErrors(lambda: 0.0)
    error = errors.add(ErrorPlace("arena", "r", 1), HookCall("on_tick"), raised(lambda: fall(0)))
    assert len(error.frames) == FRAMES_MAX
    assert "in fall: return fall(depth + 1) + 1" in error.frames[-1]


def test_the_text_of_an_error_is_bounded_and_has_no_secrets() -> None:
    def fail() -> None:
        raise ValueError("mongodb://root:abc@host/ " + "x" * 10_000)

    error = RecentErrors(lambda: 0.0).add(ErrorPlace("arena", "r", 1), HookCall("on_tick"), raised(fail))
    assert error.message.startswith("ValueError: mongodb://***@host/ xxx")
    assert len(error.message) <= 500
