"""The transactions that a room has started itself, and that are not decided yet.

    pending --committed or refused--> decided: the transaction is removed, and `then` runs

The shard commits them one after the other, in the order in which the room has started them
(server/persistence/room_transactions.py). They move with the room and are saved with a durable one. A room that is
restored from before the decision commits them again: the idempotency key makes the repetition harmless. Pure.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import msgspec
import structlog

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.rooms.checkpoint import TransactionCheckpoint
from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.room_methods import check_method
from tickwire.server.rooms.transactions import ItemChange, Transaction

log = structlog.get_logger(__name__)

PENDING_TRANSACTIONS_MAX = 256
"""The number of pending transactions of a room, which commits a few hundred a second. They are part of each save."""


class TooManyTransactions(RuntimeError):
    """The room has PENDING_TRANSACTIONS_MAX transactions that are not decided yet."""


class TransactionOutcome(msgspec.Struct, frozen=True):
    """The outcome of a transaction that the room has started.

    Args:
        transaction: the transaction.
        refused: why nothing was committed, such as "not enough gold"; empty if the transaction is committed.
    """

    transaction: Transaction
    refused: str = ""

    @property
    def is_committed(self) -> bool:
        """Whether the transaction is committed, now or by an earlier call with the same key."""
        return not self.refused


class PendingTransaction:
    """A transaction that is not decided yet.

    Args:
        transaction: the transaction.
        reply: its `reply`, encoded.
        then: the name of the method to call with the outcome; empty for none.
    """

    __slots__ = ("reply", "then", "transaction")

    def __init__(self, transaction: Transaction, reply: bytes, then: str) -> None:
        self.transaction = transaction
        self.reply = reply
        self.then = then


class RoomTransactions:
    """The pending transactions of one room, oldest first.

    Args:
        room: the room; referred to weakly.
    """

    __slots__ = ("_on_added", "_pending", "_room_reference")

    def __init__(self, room: RoomIdentity) -> None:
        self._room_reference = weakref.ref(room)
        self._pending: list[PendingTransaction] = []
        self._on_added: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def first(self) -> PendingTransaction | None:
        """The oldest pending transaction, or None."""
        return self._pending[0] if self._pending else None

    def find(self, key: str) -> PendingTransaction | None:
        """Return the pending transaction with this key, or None."""
        return next((pending for pending in self._pending if pending.transaction.key == key), None)

    def add(self, transaction: Transaction, then: Callable[[TransactionOutcome], object] | None) -> None:
        """Add a transaction; see `Room.transact`."""
        if not isinstance(transaction, Transaction):
            raise TypeError(f"transact: needs a Transaction, not a {type(transaction).__name__}")
        if not transaction.key:
            raise ValueError("transact: set Transaction(key=...): no command identifies the transaction")
        if transaction.profile is not None:
            raise ValueError("transact: only the transaction of a command can replace a profile, of its player")
        if len(self._pending) >= PENDING_TRANSACTIONS_MAX:
            raise TooManyTransactions(
                f"the room has {PENDING_TRANSACTIONS_MAX} transactions that are not decided yet; one transaction can "
                "change the items of many players"
            )
        name = "" if then is None else check_method("transact", self._room_reference(), then, (transaction,))
        self._append(transaction, encode_payload(transaction.reply), name)
        if self._on_added is not None:
            self._on_added()

    def _append(self, transaction: Transaction, reply: bytes, then: str) -> None:
        # A decoded reply, so that `then` receives the same value with and without a move of the room.
        copy = msgspec.structs.replace(transaction, reply=decode_payload(reply))
        self._pending.append(PendingTransaction(copy, reply, then))

    # -- called by the server -------------------------------------------------------------------------------

    def start(self, on_added: Callable[[], None]) -> None:
        """Report pending transactions from now on: those that exist, and each new one."""
        self._on_added = on_added
        if self._pending:
            on_added()

    def stop(self) -> None:
        """Report no more transactions."""
        self._on_added = None

    def remove(self, pending: PendingTransaction) -> bool:
        """Remove a transaction that is decided; return whether it was pending."""
        if pending not in self._pending:
            return False
        self._pending.remove(pending)
        return True

    def clear(self) -> None:
        """Remove all transactions, because another shard has the room and them."""
        self._pending.clear()

    def checkpoint(self) -> tuple[TransactionCheckpoint, ...]:
        """Return the pending transactions in the form in which they are saved."""
        return tuple(
            TransactionCheckpoint(
                key=pending.transaction.key,
                moves=tuple((move.player_id, move.item, move.amount) for move in pending.transaction.moves),
                reply=pending.reply,
                then=pending.then,
            )
            for pending in self._pending
        )

    def restore(self, checkpoints: Iterable[TransactionCheckpoint]) -> None:
        """Replace all transactions with saved ones. One that this build cannot read is logged and left out."""
        self._pending.clear()
        for saved in checkpoints:
            try:
                moves = tuple(ItemChange(*move) for move in saved.moves)
                self._append(Transaction(moves, key=saved.key), saved.reply, saved.then)
            except (ValueError, TypeError, MalformedMessage) as error:
                room = self._room_reference()
                log.error(
                    "room_transaction_dropped",
                    room_id=getattr(room, "room_id", ""),
                    key=saved.key,
                    moves=saved.moves,
                    error=str(error),
                )
