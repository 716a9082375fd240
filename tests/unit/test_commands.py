"""Commands with declared arguments: validated before the room runs them, and compatible with other clients."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import CommandRefused, Event, Player, Room, Transaction, command, grant
from tickwire.schemas.event_names import to_event_name
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.rooms.seat import SeatRequest
from tickwire.server.rooms.transactions import Decision


class Order(msgspec.Struct):
    item: str
    count: Annotated[int, Meta(ge=1)] = 1


class Sold(Event):
    item: str
    count: int = 1


class LastCall(Event):
    event_name = "bell"


class Kiosk(Room):
    room_type = "kiosk"
    uses_ledger = True
    events = (Sold, LastCall)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calls: list[Any] = []
        self.ring = "an attribute with the name of a command"

    @command
    def buy(self, player: Player, item: str, count: Annotated[int, Meta(ge=1, le=99)] = 1) -> int:
        """Buy some items."""
        self.calls.append((player.id, item, count))
        return count * 3

    @command
    def order(self, player: Player, orders: list[Order], *, note: str | None = None) -> dict[str, int]:
        self.calls.append((orders, note))
        return {order.item: order.count for order in orders}

    @command
    def ring(self, player: Player) -> None:  # type: ignore[no-redef]
        self.broadcast(LastCall())
        player.send(Sold("bell", 2))

    @command
    def earn(self, player: Player) -> Transaction:
        return Transaction(grant(player.id, "coin"), reply="thanks")

    @command
    def refuse(self, player: Player) -> None:
        raise CommandRefused("closed today")

    @command
    def miscount(self, player: Player) -> int:
        return "three"  # type: ignore[return-value]

    @command
    def echo(self, player, value=None):  # type: ignore[no-untyped-def]
        return value


class Customer:
    """A player in a room."""

    def __init__(self, room_class: type[Room] = Kiosk) -> None:
        self.runtime = create_runtime(room_class)
        self.subscriber = RecordingSubscriber("ann")
        self.seat = self.runtime.seat(SeatRequest(self.subscriber, "ann"))
        self.calls: list[Any] = getattr(self.runtime.room, "calls", [])

    def send(self, name: str, payload: bytes) -> Reply | Decision:
        return self.seat.run_command(Command(1, name, payload))

    def call(self, name: str, payload: Any = None) -> Any:
        reply = self.send(name, msgspec.msgpack.encode(payload))
        assert isinstance(reply, Reply)
        assert reply.ok, reply.message
        return msgspec.msgpack.decode(reply.payload)

    def refuse(self, name: str, payload: Any = None) -> tuple[ErrorCode, str]:
        reply = self.send(name, msgspec.msgpack.encode(payload))
        assert isinstance(reply, Reply)
        assert not reply.ok
        assert reply.retry_after_ms == 0
        return reply.error, reply.message


@pytest.fixture
def ann() -> Customer:
    return Customer()


def test_arguments_are_passed_by_name_and_have_defaults(ann: Customer) -> None:
    assert ann.call("buy", {"item": "tea", "count": 2}) == 6
    assert ann.call("buy", {"count": 3, "item": "bun"}) == 9
    assert ann.call("buy", {"item": "tea", "of a newer client": [1, {}]}) == 3
    assert ann.calls == [("ann", "tea", 2), ("ann", "bun", 3), ("ann", "tea", 1)]


def test_a_value_that_is_no_map_is_the_first_argument_and_nil_is_none(ann: Customer) -> None:
    assert ann.call("buy", "tea") == 3
    assert ann.call("order", [{"item": "tea"}]) == {"tea": 1}
    assert ann.call("echo") is None
    assert ann.call("echo", {}) is None
    assert ann.call("echo", {"value": {"deep": [1]}}) == {"deep": [1]}
    reply = ann.send("echo", b"")
    assert isinstance(reply, Reply)
    assert reply.ok
    assert ann.call("ring", 5) is None
    assert ann.call("ring", {"of a newer client": 1}) is None


def test_records_in_arguments_are_structs(ann: Customer) -> None:
    assert ann.call("order", {"orders": [{"item": "tea", "count": 2}], "note": "hot"}) == {"tea": 2}
    assert ann.calls == [([Order("tea", 2)], "hot")]


@pytest.mark.parametrize(
    ("name", "payload", "text"),
    [
        ("buy", {"item": "tea", "count": 0}, "buy: Expected `int` >= 1 - at `$.count`"),
        ("buy", {"item": "tea", "count": "2"}, "buy: Expected `int`, got `str` - at `$.count`"),
        ("buy", {"item": "tea", "count": True}, "buy: Expected `int`, got `bool` - at `$.count`"),
        ("buy", {"count": 2}, "buy: Object missing required field `item`"),
        ("buy", None, "buy: Object missing required field `item`"),
        ("buy", 7, "buy: Expected `str`, got `int` - at `$.item`"),
        ("buy", {1: 2}, "buy: Expected `str`, got `int` - at `key` in `$`"),
        (
            "order",
            {"orders": [{"item": "a"}, {"item": "b", "count": 0}]},
            "order: Expected `int` >= 1 - at `$.orders[1].count`",
        ),
    ],
)
def test_arguments_that_do_not_fit_never_reach_the_room(ann: Customer, name: str, payload: Any, text: str) -> None:
    assert ann.refuse(name, payload) == (ErrorCode.INVALID_ARGUMENT, text)
    assert ann.calls == []
    assert ann.runtime.counters.command_refusals == {"INVALID_ARGUMENT": 1}
    assert ann.runtime.counters.room_errors.total() == 0


def test_a_payload_that_is_not_msgpack_or_too_deep_is_malformed(ann: Customer) -> None:
    deep = b"\x81\xa3new" + b"\x91" * 5000 + b"\xc0"
    for payload in (
        b"\xc1",
        b"\x82\xa4item",
        b"\xa3tea\x00",
        b"\x81\xa4item\xa2\xff\xff",
        deep,
        b"\x91" * 70 + b"\xc0",
    ):
        reply = ann.send("buy", payload)
        assert isinstance(reply, Reply)
        assert reply.error in (ErrorCode.MALFORMED, ErrorCode.INVALID_ARGUMENT)
        assert not reply.ok
    assert ann.calls == []
    assert ann.runtime.counters.command_refusals.total() == 6
    reply = ann.send("echo", b"\x91" * 70 + b"\xc0")
    assert isinstance(reply, Reply)
    assert reply.error is ErrorCode.MALFORMED


class Coupon(msgspec.Struct):
    """Its check has a mistake: an unknown code is a KeyError."""

    code: str

    def __post_init__(self) -> None:
        if self.code == "expired":
            raise ValueError("the coupon has expired")
        if self.code == "void":
            raise CommandRefused("the coupon is void")
        {"tea": 1, "bun": 2}[self.code]


class Shop(Kiosk):
    room_type = "shop"

    @command
    def redeem(self, player: Player, coupon: Coupon) -> None:
        self.calls.append(coupon.code)


def test_an_exception_of_a_type_of_the_game_fails_the_command_only() -> None:
    ann = Customer(Shop)
    refused = ann.refuse("redeem", {"coupon": {"code": "expired"}})
    assert refused == (ErrorCode.INVALID_ARGUMENT, "redeem: the coupon has expired - at `$.coupon`")
    assert ann.refuse("redeem", {"coupon": {"code": "void"}}) == (ErrorCode.COMMAND_FAILED, "the coupon is void")
    assert ann.runtime.counters.room_errors.total() == 0
    failed = ErrorCode.COMMAND_FAILED, "the room failed to run the command"
    assert ann.refuse("redeem", {"coupon": {"code": "x"}}) == failed
    assert ann.runtime.counters.room_errors == {"shop": 1}
    assert ann.call("redeem", {"coupon": {"code": "tea"}}) is None
    assert ann.calls == ["tea"]


def test_an_unknown_command_is_refused_and_counted(ann: Customer) -> None:
    assert ann.refuse("sell") == (ErrorCode.NO_SUCH_COMMAND, "unknown command 'sell'")
    for name in ("calls", "on_join", "broadcast", "_send", "x" * 5000):
        code, text = ann.refuse(name)
        assert code is ErrorCode.NO_SUCH_COMMAND
        assert len(text) < 100
    assert ann.runtime.counters.command_refusals == {"NO_SUCH_COMMAND": 6}


def test_refusals_and_transactions_are_those_of_on_command(ann: Customer) -> None:
    assert ann.refuse("refuse") == (ErrorCode.COMMAND_FAILED, "closed today")
    decision = ann.send("earn", b"")
    assert isinstance(decision, Decision)
    assert decision.transaction.moves == grant("ann", "coin")


def test_a_result_that_does_not_have_the_declared_type_is_an_error_of_the_room(ann: Customer) -> None:
    assert ann.refuse("miscount") == (ErrorCode.COMMAND_FAILED, "the room failed to run the command")
    assert ann.runtime.counters.room_errors == {"kiosk": 1}


def test_an_event_has_its_class_in_snake_case_as_name_and_its_fields_as_payload(ann: Customer) -> None:
    ann.call("ring")
    ann.runtime.step()
    assert ann.subscriber.events == [("bell", {}), ("sold", {"item": "bell", "count": 2})]


class GameLost(Event):
    pass


class HTTPError2(Event):
    pass


def test_event_names() -> None:
    assert [to_event_name(kind) for kind in (Sold, LastCall, GameLost, HTTPError2)] == [
        "sold",
        "bell",
        "game_lost",
        "http_error2",
    ]


def test_an_event_that_is_not_declared_or_has_two_payloads_is_refused(ann: Customer) -> None:
    room = ann.runtime.room
    with pytest.raises(TypeError, match="the room does not declare GameLost; add it to `events`"):
        room.broadcast(GameLost())
    with pytest.raises(TypeError, match="the room does not declare GameLost; add it to `events`"):
        ann.seat.player.send(GameLost())
    with pytest.raises(TypeError, match="an event must be an Event or the name of one, not a int"):
        room.broadcast(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Sold has its own fields as payload; pass no other"):
        room.broadcast(Sold("tea"), {"item": "bun"})


class Untyped(Room):
    room_type = "untyped"

    @command
    def typed(self, player: Player) -> str:
        return "typed"

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        return [name, payload]


def test_on_command_receives_the_commands_that_no_method_declares() -> None:
    ann = Customer(Untyped)
    assert ann.call("typed", [1]) == "typed"
    assert ann.call("other", [1]) == ["other", [1]]


def test_subclasses_inherit_commands_and_may_replace_them() -> None:
    class CoffeeBar(Kiosk):
        room_type = "bar"

        @command
        def buy(self, player: Player, item: str, count: int = 5) -> int:
            return count

    ann = Customer(CoffeeBar)
    assert ann.call("buy", {"item": "tea"}) == 5
    assert ann.call("echo", 3) == 3
    with pytest.raises(TypeError, match=r"Cafe\.buy replaces a command of a base class; write `@command` above it"):
        type("Cafe", (Kiosk,), {"buy": lambda self, player: None})


def test_a_class_declares_its_commands_for_generators() -> None:
    buy, order = Kiosk.commands["buy"], Kiosk.commands["order"]
    assert list(Kiosk.commands) == ["buy", "order", "ring", "earn", "refuse", "miscount", "echo"]
    assert [field.name for field in msgspec.structs.fields(buy.arguments)] == ["item", "count"]
    assert (buy.result, buy.doc, order.result) == (int, "Buy some items.", dict[str, int])
    assert (Kiosk.commands["ring"].result, Kiosk.commands["earn"].result) == (type(None), Any)
    assert Room.commands == {}


def define(**attributes: Any) -> type[Room]:
    return type("Booth", (Room,), attributes)


def on_leave(self: Any, player: Player) -> None: ...
def lock(self: Any, player: Player) -> None: ...
def _hidden(self: Any, player: Player) -> None: ...
def lacks_player(self: Any) -> None: ...
def has_more(self: Any, player: Player, *more: int) -> None: ...
def names_player(self: Any, *, player: Player) -> None: ...
def takes_player(self: Any, player: Player, other: Player) -> None: ...
def takes_deep_player(self: Any, player: Player, others: list[dict[str, Player]]) -> None: ...
def takes_union(self: Any, player: Player, value: list[int] | set[int]) -> None: ...
def returns_room(self: Any, player: Player) -> Room: ...
def has_bad_default(self: Any, player: Player, count: Annotated[int, Meta(ge=1)] = 0) -> None: ...
async def waits(self: Any, player: Player) -> None: ...
def is_unresolved(self: Any, player: Player, item: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (on_leave, "Booth.on_leave: a command cannot have the name of a hook"),
        (lock, "Booth.lock: Room uses this name itself"),
        (_hidden, "Booth._hidden: the name of a command must not begin with an underscore"),
        (lacks_player, r"Booth.lacks_player must have the parameters \(self, player, ...\)"),
        (has_more, r"Booth.has_more must have the parameters \(self, player, ...\)"),
        (names_player, r"Booth.names_player must have the parameters \(self, player, ...\)"),
        (takes_player, "Booth.takes_player: other: a Player cannot be sent by a client"),
        (takes_deep_player, "Booth.takes_deep_player: others: a Player cannot be sent by a client"),
        (takes_union, "Booth.takes_union: value cannot be read again: "),
        (returns_room, "Booth.returns_room: the result: a Room cannot be sent to a client"),
        (has_bad_default, "Booth.has_bad_default: the default of count does not have its type: Expected `int` >= 1"),
        (waits, "Booth.waits: a command must be a plain method, not async and not a generator"),
        (is_unresolved, "Booth.is_unresolved: name 'Missing' is not defined in its annotations: import the name"),
    ],
)
def test_a_command_that_cannot_work_is_refused_when_the_class_is_defined(method: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        define(**{method.__name__: command(method)})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_per_s": 0}, "rate_per_s is 0; must be a number, 1/86400 or more"),
        ({"rate_per_s": "fast"}, "rate_per_s is 'fast'; must be a number, 1/86400 or more"),
        ({"rate_per_s": float("inf")}, "rate_per_s is inf; must be a number, 1/86400 or more"),
        ({"rate_per_s": 1e-7}, "rate_per_s is 1e-07; must be a number, 1/86400 or more"),
        ({"rate_per_s": 1, "burst": 0}, "burst is 0; must be a whole number, 1 to 1000000"),
        ({"burst": 2}, "a burst limits nothing without a rate; set rate_per_s"),
    ],
)
def test_a_limit_that_cannot_work_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=f"Booth.ring: {text}"):
        define(ring=command(**options)(lambda self, player: None))


class Tagged(Event):
    player: Player


class Shadow(Event):
    event_name: str = ""  # type: ignore[misc]


class Bell(Event):
    pass


class Nameless(Event):
    event_name = "\n"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (Sold, "Booth.events must be a tuple of Event classes"),
        ((Order,), "Booth.events has .*Order.*, which is not a subclass of Event"),
        ((Event,), "Booth.events has .*Event.*, which is not a subclass of Event"),
        ((LastCall, Bell), "Booth.events: LastCall and Bell have the same name 'bell'"),
        ((Tagged,), "Tagged.player: a Player cannot be sent to clients"),
        ((Shadow,), "Shadow.event_name: Event uses this name itself"),
        ((Nameless,), "Nameless.event_name is .*; must be 1 to 64 characters"),
    ],
)
def test_events_that_cannot_work_are_refused_when_the_class_is_defined(events: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        define(events=events)
