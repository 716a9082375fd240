"""The attempts to commit one transaction each: of a player's command, or of the room itself.

open --committed or refused in the ledger, or never possible--> decided
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.errors import Unavailable
from tickwire.server.rooms.room_transactions import PendingTransaction
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRoom
from tickwire.server.rooms.transactions import Decision, RecordVersion, net_changes
from tickwire.server.storage import TransactionRequest, TransactionResult, world_key


class TransactionAttempt(Protocol):
    """An attempt to commit a transaction.

    Attributes:
        fence: the key of the room's fence.
        is_tried: whether the ledger may have written the transaction.
    """

    fence: str
    is_tried: bool

    @property
    def name(self) -> str:
        """The name of the transaction, for logs."""
        ...

    @property
    def runtime(self) -> SeatRoom:
        """The room."""
        ...

    @property
    def is_decided(self) -> bool:
        """Whether the outcome is known."""
        ...

    @property
    def is_outdated(self) -> bool:
        """Whether the room must decide again before the transaction is written."""
        ...

    @property
    def player_ids(self) -> Sequence[str]:
        """The players whose records the room needs after the commit."""
        ...

    @property
    def versions(self) -> Mapping[str, int]:
        """The record versions that the transaction is based on, by player id."""
        ...

    def redecide(self) -> None:
        """Let the room decide again.

        Raises:
            Unavailable: the room is migrating.
        """
        ...

    def update_records(self, records: Mapping[str, RecordVersion]) -> None:
        """Replace records in the room with newer versions."""
        ...

    def fail(self, code: ErrorCode, message: str) -> None:
        """Decide that nothing is or will be written."""
        ...

    def decide(self, result: TransactionResult, records: Mapping[str, RecordVersion]) -> None:
        """Apply a result of the ledger to the room.

        Args:
            result: the result.
            records: the newest records of `player_ids`; empty if the transaction was refused.
        """
        ...

    def to_request(self) -> TransactionRequest:
        """Return the request to the ledger."""
        ...


class CommandAttempt:
    """The attempt to commit the decision of one command.

    Attributes:
        reply: the Reply, once the outcome is known.
        is_tried: whether the ledger may have written the decision.
    """

    def __init__(self, seat: Seat, command: Command, decision: Decision) -> None:
        self.seat = seat
        self.command = command
        self.decision = decision
        self.fence = fence_key(seat.runtime)
        self.reply: Reply | None = None
        self.is_tried = False

    @property
    def name(self) -> str:
        """The name of the command."""
        return self.command.name

    @property
    def runtime(self) -> SeatRoom:
        """The room."""
        return self.seat.runtime

    @property
    def is_decided(self) -> bool:
        """Whether the command has a Reply."""
        return self.reply is not None

    @property
    def is_outdated(self) -> bool:
        """Whether the room has applied another transaction since it decided, and nothing was written."""
        return not self.is_tried and self.decision.sequence != self.seat.runtime.transactions_applied

    @property
    def player_ids(self) -> Sequence[str]:
        """The player of the command, and the players whom the transaction changes."""
        return [self.seat.player_id, *net_changes(self.decision.transaction.moves)]

    @property
    def versions(self) -> Mapping[str, int]:
        """See `TransactionAttempt.versions`."""
        return self.decision.versions

    def redecide(self) -> None:
        """See `TransactionAttempt.redecide`."""
        if not self.seat.is_open:
            self.fail(ErrorCode.OUT_OF_ORDER, "the session is not in a room")
            return
        answer = self.seat.run_command(self.command, is_again=True)
        if isinstance(answer, Decision):
            self.decision = answer
        elif answer.retry_after_ms:
            raise Unavailable(answer.message, retry_after_ms=answer.retry_after_ms)
        else:
            self.reply = answer

    def update_records(self, records: Mapping[str, RecordVersion]) -> None:
        """See `TransactionAttempt.update_records`."""
        self.seat.runtime.update_records(self.seat, records)

    def fail(self, code: ErrorCode, message: str) -> None:
        """Set the Reply of a command for which nothing was written."""
        self.reply = Reply(self.command.id, ok=False, error=code, message=message)

    def decide(self, result: TransactionResult, records: Mapping[str, RecordVersion]) -> None:
        """See `TransactionAttempt.decide`."""
        transaction = self.decision.transaction
        self.reply = create_reply(self.command.id, result.reply, result.refused)
        # The room applies changes that were written for this command, by this attempt or an earlier one.
        if result.refused:
            return
        if result.is_new or (result.is_own and result.changes == net_changes(transaction.moves)):
            self.seat.runtime.apply_transaction(self.seat, self.command.name, transaction, records)
        else:
            self.seat.runtime.update_records(self.seat, records)

    def to_request(self) -> TransactionRequest:
        """See `TransactionAttempt.to_request`."""
        decision, session_id = self.decision, self.seat.subscriber.session_id
        key = decision.transaction.key
        return TransactionRequest(
            key=f"key:{key}" if key else f"{session_id}/{self.command.id}",
            player_id=self.seat.player_id,
            session_id=session_id,
            command_id=self.command.id,
            fence=self.fence,
            epoch=self.seat.runtime.epoch,
            changes=net_changes(decision.transaction.moves),
            reply=decision.reply,
            versions=decision.versions,
            profile=decision.profile,
        )


class RoomAttempt:
    """The attempt to commit a transaction that a room has started. It depends on no record and is never outdated.

    Attributes:
        is_tried: whether the ledger may have written the transaction.
        is_decided: whether the outcome is known; the room has received it then.
    """

    is_outdated = False
    versions: Mapping[str, int] = {}

    def __init__(self, runtime: RoomRuntime, pending: PendingTransaction) -> None:
        self.runtime = runtime
        self.pending = pending
        self.fence = fence_key(runtime)
        self.is_decided = False
        self.is_tried = False

    @property
    def name(self) -> str:
        """The key of the transaction."""
        return self.pending.transaction.key

    @property
    def player_ids(self) -> Sequence[str]:
        """The players whom the transaction changes."""
        return list(net_changes(self.pending.transaction.moves))

    def redecide(self) -> None:
        """Do nothing: the room has decided when it started the transaction."""

    def update_records(self, records: Mapping[str, RecordVersion]) -> None:
        """Do nothing: the room receives the records with the outcome."""

    def fail(self, code: ErrorCode, message: str) -> None:
        """See `TransactionAttempt.fail`."""
        self._settle(message, {})

    def decide(self, result: TransactionResult, records: Mapping[str, RecordVersion]) -> None:
        """See `TransactionAttempt.decide`."""
        self._settle(result.refused, records)

    def _settle(self, refused: str, records: Mapping[str, RecordVersion]) -> None:
        self.is_decided = True
        self.runtime.settle_transaction(self.pending, refused, records)

    def to_request(self) -> TransactionRequest:
        """See `TransactionAttempt.to_request`. No player and no session has caused the transaction."""
        return TransactionRequest(
            key=f"key:{self.pending.transaction.key}",
            player_id="",
            session_id="",
            command_id=0,
            fence=self.fence,
            epoch=self.runtime.epoch,
            changes=net_changes(self.pending.transaction.moves),
            reply=self.pending.reply,
        )


def fence_key(runtime: SeatRoom) -> str:
    """Return the key of a room's fence: for a durable room the key of its world, whose claims raise the fence."""
    room = runtime.room
    return world_key(room.room_type, room.name) if runtime.is_durable else room.room_id


def create_reply(command_id: int, reply: bytes, refused: str) -> Reply:
    """Return the Reply to a command whose transaction is decided."""
    if refused:
        return Reply(command_id, ok=False, error=ErrorCode.COMMAND_FAILED, message=refused)
    return Reply(command_id, ok=True, payload=reply)
