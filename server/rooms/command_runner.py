"""Runs the commands of a room's players, and applies the transactions that they decide on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from tickwire.schemas.errors import InvalidValue, MalformedMessage
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.rooms.checkpoint import to_plain_dict
from tickwire.server.rooms.command_declarations import CommandDeclaration
from tickwire.server.rooms.command_limits import RecentLimits
from tickwire.server.rooms.containment import CommandRefused, NoSuchCommand, RoomCodeRaised
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.fan_out import FanOutMeter
from tickwire.server.rooms.hooks import HookRunner
from tickwire.server.rooms.ports import EntryRecorder
from tickwire.server.rooms.reasons import REASON_CHARACTERS_MAX
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import Decision, RecordReads, RecordVersion, Transaction

_ANSWERS = (InvalidValue, MalformedMessage, CommandRefused)
"""Exceptions in the decoding of arguments that are answers to the player."""


class _Call(NamedTuple):
    """A call of the game's code for one command.

    Args:
        hook: the name of the method, for the log.
        arguments: its arguments, for the log.
        method: the method with its arguments.
        encode: encodes the result for the reply.
    """

    hook: str
    arguments: tuple[Any, ...]
    method: Callable[[], Any]
    encode: Callable[[Any], bytes]


class CommandRunner:
    """Runs the commands of one room.

    Args:
        room: the room.
        hooks: runs the room's hooks.
        fan_out: charges the players for the events that their commands cause.
        counters: the counters of the shard.

    Attributes:
        record_reads: collects the records that the decision on a command is based on.
        recorder: records the commands; None while the room is not recorded.
        transactions_applied: the number of calls of the game about committed transactions. Each may have changed the
            room's own data.
    """

    __slots__ = (
        "_counters",
        "_fan_out",
        "_hooks",
        "_recent_limits",
        "_room",
        "record_reads",
        "recorder",
        "transactions_applied",
    )

    def __init__(self, room: Room, hooks: HookRunner, fan_out: FanOutMeter, counters: RoomCounters) -> None:
        self._room = room
        self._hooks = hooks
        self._fan_out = fan_out
        self._counters = counters
        self._recent_limits = RecentLimits()
        self.record_reads = RecordReads()
        self.transactions_applied = 0
        self.recorder: EntryRecorder | None = None

    def run(self, seat: Seat, message: Command, *, is_again: bool = False) -> Reply | Decision:
        """Run one command of a player; see `Seat.run_command`."""
        if wait_ms := self._fan_out.wait_ms(seat):
            self._counters.fan_out_refusals += 1
            text = "the player's messages cause too many events for others"
            return refuse_command(message.id, ErrorCode.RATE_LIMITED, text, retry_after_ms=wait_ms)
        declaration = self._room.commands.get(message.name)
        if declaration is not None and not is_again and (wait_ms := self._take(seat, declaration)):
            text = f"{message.name}: called too often; wait {wait_ms} ms"
            return self._refuse(message.id, ErrorCode.RATE_LIMITED, text, retry_after_ms=wait_ms)
        if self.recorder is not None:
            self.recorder.record_command(seat, message)
        try:
            if declaration is None:
                call = self._prepare_untyped(seat, message)
            else:
                call = self._prepare(seat, message, declaration)
        except InvalidValue as error:
            return self._refuse(message.id, ErrorCode.INVALID_ARGUMENT, f"{message.name}: {error}")
        except MalformedMessage as error:
            return self._refuse(message.id, ErrorCode.MALFORMED, f"the payload is not msgpack: {error}")
        except (CommandRefused, RoomCodeRaised) as error:
            return self._fail(message.id, error)
        return self._call(seat, message.id, call)

    def _take(self, seat: Seat, declaration: CommandDeclaration) -> int:
        """Take one call of a command; return how long the player must wait for it, in milliseconds."""
        if declaration.options.rate_per_s is None:
            return 0
        seat.limits = self._recent_limits.renew(seat.player_id, seat.limits)
        return seat.limits.take(declaration.name, declaration.options, self._room.tick, self._room.tick_rate_hz)

    def _prepare(self, seat: Seat, message: Command, declaration: CommandDeclaration) -> _Call:
        try:
            arguments = declaration.decode(message.payload)
        except BaseException:  # any type: see server/rooms/containment.py
            with self._hooks.contain(declaration.name, seat.player, message.payload, answers=_ANSWERS):
                raise
        # Not from the instance: an attribute of the room may have the same name.
        method = getattr(type(self._room), declaration.name)
        call = partial(method, self._room, seat.player, **arguments)
        return _Call(declaration.name, (seat.player, arguments), call, declaration.encode_result)

    def _prepare_untyped(self, seat: Seat, message: Command) -> _Call:
        payload = decode_payload(message.payload) if message.payload else None
        arguments = seat.player, message.name, payload
        return _Call("on_command", arguments, partial(self._room.on_command, *arguments), encode_payload)

    def _call(self, seat: Seat, id: int, call: _Call) -> Reply | Decision:
        try:
            hook = self._hooks.contain(call.hook, *call.arguments, answers=(CommandRefused,))
            with self._fan_out.charged(seat), hook:
                with self.record_reads.collect() as versions:
                    answer = call.method()
                    if isinstance(answer, Transaction):
                        return self._create_decision(seat, answer, versions, call.hook)
                payload = call.encode(answer)
        except NoSuchCommand as error:
            return self._refuse(id, ErrorCode.NO_SUCH_COMMAND, error.reason)
        except (CommandRefused, RoomCodeRaised) as error:
            return self._fail(id, error)
        return Reply(id, ok=True, payload=payload)

    def _fail(self, id: int, error: CommandRefused | RoomCodeRaised) -> Reply:
        """Reply to a command that the game's code has refused, or whose code raised an exception."""
        reason = error.reason if isinstance(error, CommandRefused) else "the room failed to run the command"
        return refuse_command(id, ErrorCode.COMMAND_FAILED, reason)

    def _refuse(self, id: int, code: ErrorCode, message: str, *, retry_after_ms: int = 0) -> Reply:
        """Refuse a command that the room did not run, and count it."""
        self._counters.command_refusals[code.name] += 1
        return refuse_command(id, code, message[:REASON_CHARACTERS_MAX], retry_after_ms=retry_after_ms)

    def _create_decision(self, seat: Seat, transaction: Transaction, versions: dict[str, int], hook: str) -> Decision:
        if not self._room.uses_ledger:
            name = type(self._room).__name__
            raise TypeError(f"{name}.{hook} returned a Transaction; set `uses_ledger = True` on {name}")
        profile = None
        if transaction.profile is not None:
            profile = to_plain_dict(transaction.profile)
            # The new profile replaces the old one, so it depends on it even if the game did not read it.
            versions[seat.player_id] = seat.player.record.version
        return Decision(transaction, encode_payload(transaction.reply), profile, versions, self.transactions_applied)

    def transaction_committed(self, seat: Seat, name: str, transaction: Transaction) -> None:
        """Run `on_transaction`; the player is charged for the events that it causes."""
        with self._fan_out.charged(seat):
            self._hooks.notify("on_transaction", self._room.on_transaction, seat.player, name, transaction)

    def update_records(self, seat: Seat, records: Mapping[str, RecordVersion]) -> None:
        """Replace the records of this seat's player, and of other players in the room, with newer versions."""
        seat.player.record = records.get(seat.player_id, seat.player.record)
        self.update_present(records)

    def update_present(self, records: Mapping[str, RecordVersion]) -> None:
        """Replace the records of players in the room with newer versions."""
        for player_id, record in records.items():
            if player_id in self._room.players:
                self._room.players[player_id].record = record


def refuse_command(id: int, code: ErrorCode, message: str, *, retry_after_ms: int = 0) -> Reply:
    """Return the reply to a command that failed."""
    return Reply(id, ok=False, error=code, message=message, retry_after_ms=retry_after_ms)
