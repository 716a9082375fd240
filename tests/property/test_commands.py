"""Commands with any payload: the room sees arguments of the declared types, or the player receives a refusal."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Player, Room, command
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.rooms.seat import SeatRequest

REFUSALS = (ErrorCode.INVALID_ARGUMENT, ErrorCode.MALFORMED)


class BrickColour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Brick(msgspec.Struct):
    colour: BrickColour
    size: Annotated[int, Meta(ge=1, le=8)] = 2
    parts: list[Brick] = []


class Quarters(Room):
    """Checks its arguments, and keeps them."""

    room_type = "quarters"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept: list[Any] = []

    @command
    def build(
        self,
        player: Player,
        name: Annotated[str, Meta(min_length=1, max_length=20)],
        bricks: Annotated[list[Brick], Meta(max_length=5)] = [],  # noqa: B006 - msgspec copies it
        height: Annotated[float, Meta(ge=0, le=9)] = 1.0,
        owners: dict[str, int | None] = {},  # noqa: B006
    ) -> int:
        assert isinstance(name, str)
        assert 1 <= len(name) <= 20
        assert isinstance(height, float)
        assert 0 <= height <= 9
        assert len(bricks) <= 5
        assert all(isinstance(brick, Brick) and isinstance(brick.colour, BrickColour) for brick in bricks)
        assert all(isinstance(key, str) and type(value) in (int, type(None)) for key, value in owners.items())
        self.kept.append((name, bricks, height, owners))
        return len(bricks)

    @command
    def ring(self, player: Player) -> None: ...

    @command
    def keep(self, player: Player, value: Any = None) -> None:
        self.kept.append(value)


def call(name: str, payload: bytes) -> tuple[Reply, list[Any]]:
    """Call a command in a new room."""
    runtime = create_runtime(Quarters)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    reply = seat.run_command(Command(1, name, payload))
    assert isinstance(reply, Reply)
    assert reply.ok or reply.error in REFUSALS
    assert len(reply.message) <= 1000
    assert runtime.counters.room_errors.total() == 0
    assert runtime.counters.command_refusals.total() == (not reply.ok)
    assert runtime.room.kept == [] or reply.ok  # type: ignore[attr-defined]
    runtime.step()
    return reply, runtime.room.kept  # type: ignore[attr-defined]


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=30)
    | st.binary(max_size=30) | st.sampled_from(["name", "bricks", "height", "owners", "colour", "red", "value"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=12,
)
BRICKS = st.fixed_dictionaries(
    {"colour": st.sampled_from(["red", "blue"])}, optional={"size": st.integers(1, 8), "newer": VALUES}
)
ARGUMENTS = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=20)},
    optional={
        "bricks": st.lists(BRICKS, max_size=5),
        "height": st.floats(0, 9) | st.integers(0, 9),
        "owners": st.dictionaries(st.text(max_size=5), st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
        "newer": VALUES,
    },
)


@given(st.sampled_from(["build", "ring", "keep"]), st.binary(max_size=200))
def test_no_bytes_pass_unchecked_or_raise(name: str, payload: bytes) -> None:
    call(name, payload)


@given(st.sampled_from(["build", "ring", "keep"]), VALUES)
def test_no_value_passes_unchecked_or_raises(name: str, value: Any) -> None:
    reply, kept = call(name, msgspec.msgpack.encode(value))
    if name == "keep" and not isinstance(value, dict):
        assert reply.ok
        assert msgspec.msgpack.encode(kept) == msgspec.msgpack.encode([value])
    if name == "ring":
        assert reply.ok or isinstance(value, dict)


@given(ARGUMENTS)
def test_arguments_that_fit_arrive_also_from_newer_clients(arguments: dict[str, Any]) -> None:
    reply, kept = call("build", msgspec.msgpack.encode(arguments))
    assert reply.ok, reply.message
    assert kept[0][0] == arguments["name"]
    assert [brick.size for brick in kept[0][1]] == [brick.get("size", 2) for brick in arguments.get("bricks", [])]
    assert kept[0][2:] == (arguments.get("height", 1.0), arguments.get("owners", {}))


@given(ARGUMENTS, st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_damaged_payload_is_refused_or_still_fits(arguments: dict[str, Any], place: int, damage: bytes) -> None:
    payload = msgspec.msgpack.encode(arguments)
    place %= len(payload)
    call("build", payload[:place] + damage + payload[place + 1 :])
    call("build", payload[:place])


@given(st.integers(1, 30_000), st.sampled_from([b"\x91", b"\x81\xa1x", b"\x81\xa5parts", b"\xdc\x00\x01"]))
def test_deep_payloads_are_refused(depth: int, level: bytes) -> None:
    for name, start in (
        ("build", b""),
        ("build", b"\x81\xa6bricks"),
        ("keep", b"\x81\xa5value"),
        ("ring", b"\x81\xa1x"),
    ):
        reply, _ = call(name, start + level * depth + b"\xc0")
        assert not reply.ok or depth <= 64
