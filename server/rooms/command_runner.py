"""Runs the commands of a room's players, and applies the transactions that they decide on. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.rooms.checkpoint import to_plain_dict
from tickwire.server.rooms.containment import CommandRefused, RoomCodeRaised
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.fan_out import FanOutMeter
from tickwire.server.rooms.hooks import HookRunner
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import Decision, RecordReads, RecordVersion, Transaction


class CommandRunner:
    """Runs the commands of one room.

    Args:
        room: the room.
        hooks: runs the room's hooks.
        fan_out: charges the players for the events that their commands cause.
        counters: the counters of the shard.

    Attributes:
        record_reads: collects the records that the decision on a command is based on.
        transactions_applied: the number of `on_transaction` calls. Each may have changed the room's own data.
    """

    __slots__ = ("_counters", "_fan_out", "_hooks", "_room", "record_reads", "transactions_applied")

    def __init__(self, room: Room, hooks: HookRunner, fan_out: FanOutMeter, counters: RoomCounters) -> None:
        self._room = room
        self._hooks = hooks
        self._fan_out = fan_out
        self._counters = counters
        self.record_reads = RecordReads()
        self.transactions_applied = 0

    def run(self, seat: Seat, message: Command) -> Reply | Decision:
        """Run one command of a player; see `RoomRuntime.run_command`."""
        if wait_ms := self._fan_out.wait_ms(seat):
            self._counters.fan_out_refusals += 1
            text = "the player's messages cause too many events for others"
            return refuse_command(message.id, ErrorCode.RATE_LIMITED, text, retry_after_ms=wait_ms)
        try:
            payload = decode_payload(message.payload) if message.payload else None
        except MalformedMessage as error:
            return refuse_command(message.id, ErrorCode.MALFORMED, f"the payload is not msgpack: {error}")
        try:
            with self._fan_out.charged(seat), self._hooks.contain("on_command", may_refuse=True):
                with self.record_reads.collect() as versions:
                    answer = self._room.on_command(seat.player, message.name, payload)
                    if isinstance(answer, Transaction):
                        return self._create_decision(seat, answer, versions)
                answer = encode_payload(answer)
        except CommandRefused as refused:
            return refuse_command(message.id, ErrorCode.COMMAND_FAILED, refused.reason)
        except RoomCodeRaised:
            return refuse_command(message.id, ErrorCode.COMMAND_FAILED, "the room failed to run the command")
        return Reply(message.id, ok=True, payload=answer)

    def _create_decision(self, seat: Seat, transaction: Transaction, versions: dict[str, int]) -> Decision:
        if not self._room.uses_ledger:
            name = type(self._room).__name__
            raise TypeError(f"{name}.on_command returned a Transaction; set `uses_ledger = True` on {name}")
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
        for player_id, record in records.items():
            if player_id in self._room.players:
                self._room.players[player_id].record = record


def refuse_command(id: int, code: ErrorCode, message: str, *, retry_after_ms: int = 0) -> Reply:
    """Return the reply to a command that failed."""
    return Reply(id, ok=False, error=code, message=message, retry_after_ms=retry_after_ms)
