"""The entries of a recording: joins, commands and all else that enters a room, one struct for each kind.

Seats have numbers in a recording instead of session ids: the seats of the first keyframe in their order, and then
each join in its order. Values of the game are encoded with msgpack. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_payload
from tickwire.server.observability.redaction import redact_text
from tickwire.server.rooms.hook_call import describe_value
from tickwire.server.rooms.transactions import ItemChange, RecordVersion, Transaction

Records = dict[str, RecordVersion]
NO_SEAT = -1
MESSAGE_CHARACTERS_MAX = 1000
ENTRIES_MAX = 20_000
"""The entries of one tick: far more than the messages that the rate limits of 1,000 clients allow in a second."""
_Bound = Meta(max_length=ENTRIES_MAX)  # checked before the entries of a hostile file are decoded


class RecordedEntry(msgspec.Struct, frozen=True, array_like=True):
    """The base class of all entries."""

    def describe(self) -> str:
        """Return the entry as a line for people."""
        name = type(self).__name__.removesuffix("Entry").lower()
        values = msgspec.structs.asdict(self)
        return f"{name} {' '.join(f'{key}={describe_value(value)}' for key, value in values.items())}"


class JoinEntry(RecordedEntry, frozen=True, tag=1):
    """A player takes a seat; `on_join` may refuse it."""

    seat: int
    player_id: str
    options: bytes
    team: int = 0
    skill: float = 0.0
    record: RecordVersion | None = None
    is_guest: bool = False
    schema_version: int = 0

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"{self.player_id} joins with {_text(self.options)}"


class LeaveEntry(RecordedEntry, frozen=True, tag=2):
    """A player leaves its seat."""

    seat: int
    player_id: str
    reason: str

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"{self.player_id} leaves: {self.reason}"


class DisconnectEntry(RecordedEntry, frozen=True, tag=3):
    """A player loses its connection."""

    seat: int
    player_id: str

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"{self.player_id} is disconnected"


class ResumeEntry(RecordedEntry, frozen=True, tag=4):
    """A player reconnects."""

    seat: int
    player_id: str
    keeps_world: bool

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"{self.player_id} reconnects"


class CommandEntry(RecordedEntry, frozen=True, tag=5):
    """A player's command runs."""

    seat: int
    player_id: str
    id: int
    name: str
    payload: bytes

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"{self.player_id} calls {self.name}({_text(self.payload)})"


class RecordsEntry(RecordedEntry, frozen=True, tag=6):
    """Newer versions of players' records are read; `seat` is NO_SEAT if they belong to no command."""

    seat: int
    records: Records


class TransactionEntry(RecordedEntry, frozen=True, tag=7):
    """A transaction as a recording holds it: player, item and amount of each change, and the encoded values."""

    moves: tuple[tuple[str, str, int], ...]
    reply: bytes
    profile: bytes = b""
    key: str = ""


class CommitEntry(RecordedEntry, frozen=True, tag=8):
    """The transaction of a command is committed."""

    seat: int
    player_id: str
    name: str
    transaction: TransactionEntry
    records: Records

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"the transaction of {self.name} of {self.player_id} is committed"


class SettlementEntry(RecordedEntry, frozen=True, tag=9):
    """A transaction of the room itself is decided; `refused` is the reason why not, or empty."""

    key: str
    refused: str
    records: Records

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"transaction {self.key!r} is {f'refused: {self.refused}' if self.refused else 'committed'}"


class TaskEntry(RecordedEntry, frozen=True, tag=10):
    """A coroutine of the room has ended: its place among the running tasks, its value, or its error."""

    index: int
    value: bytes
    error: str = ""
    message: str = ""

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"a task ends with {f'{self.error}: {self.message}' if self.error else _text(self.value)}"


class MoveEntry(RecordedEntry, frozen=True, tag=11):
    """The move of a player to another room has ended; `refused` is the reason why not, or empty."""

    seat: int
    player_id: str
    refused: str

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"{self.player_id} {f'is not moved: {self.refused}' if self.refused else 'moves to another room'}"


class TuningEntry(RecordedEntry, frozen=True, tag=12):
    """An operator has changed the tuning values."""

    version: int
    values: bytes

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"tuning version {self.version}: {_text(self.values)}"


class CallEntry(RecordedEntry, frozen=True, tag=13):
    """The server calls a method of the running room that may run hooks.

    The methods are `freeze`, `seal`, `unfreeze`, `cancel_work`, `unseat_kicked`, `metadata` (which runs `save`) and
    `can_migrate`.
    """

    method: str
    argument: str = ""

    def describe(self) -> str:
        """See `RecordedEntry.describe`."""
        return f"the server calls {self.method}({self.argument})"


class InputEntry(NamedTuple):
    """An input that a tick delivers.

    Args:
        seat: the number of the seat.
        seq: the number of the input.
        lag: the ticks that `rewind` uses; None if the player has no lag yet.
        payload: the input.
    """

    seat: int
    seq: int
    lag: int | None
    payload: bytes


class FailureEntry(msgspec.Struct, frozen=True, array_like=True):
    """An exception of a hook in a tick: the hook, the type and the text, and whether the room ignored it."""

    hook: str
    error: str
    message: str = ""
    is_ignored: bool = False

    def describe(self) -> str:
        """Return the exception as text."""
        return f"{self.hook} raises {self.error}{f': {self.message}' if self.message else ''}"

    def is_like(self, other: FailureEntry) -> bool:
        """Return whether the hook and the type of the exception are the same."""
        return (self.hook, self.error) == (other.hook, other.error)


Entry = (
    JoinEntry
    | LeaveEntry
    | DisconnectEntry
    | ResumeEntry
    | CommandEntry
    | RecordsEntry
    | CommitEntry
    | SettlementEntry
    | TaskEntry
    | MoveEntry
    | TuningEntry
    | CallEntry
)


class TickRecord(msgspec.Struct, frozen=True, array_like=True):
    """The payload of a tick frame.

    Args:
        tick: the number of the tick, or of the last one if none ran.
        ran: whether a tick ran after the entries.
        entries: the entries before the tick, in order.
        inputs: the inputs that the tick delivered, in order.
        checksums: the checksums after the tick; see server/recording/checksum.py. Empty if they were not computed.
        failures: the exceptions of the game's hooks in the tick.
        has_failed: whether the tick has failed; it is the last one.
    """

    tick: int
    ran: bool
    entries: Annotated[tuple[Entry, ...], _Bound] = ()
    inputs: Annotated[tuple[InputEntry, ...], _Bound] = ()
    checksums: bytes = b""
    failures: Annotated[tuple[FailureEntry, ...], _Bound] = ()
    has_failed: bool = False


def to_transaction_entry(transaction: Transaction, reply: bytes, profile: bytes) -> TransactionEntry:
    """Return a transaction in the recorded form."""
    moves = tuple((move.player_id, move.item, move.amount) for move in transaction.moves)
    return TransactionEntry(moves, reply, profile, transaction.key)


def from_transaction_entry(entry: TransactionEntry) -> Transaction:
    """Return a recorded transaction.

    Raises:
        ValueError, MalformedMessage: it is invalid.
    """
    profile: Any = decode_payload(entry.profile) if entry.profile else None
    moves = tuple(ItemChange(*move) for move in entry.moves)
    return Transaction(moves, decode_payload(entry.reply), profile, entry.key)


def text_of(error: BaseException) -> str:
    """Return the message of an exception, without secrets and bounded."""
    try:
        return to_unicode(redact_text(str(error))[:MESSAGE_CHARACTERS_MAX])
    except BaseException:  # noqa: BLE001 the game's `__str__`
        return ""


def to_unicode(text: str) -> str:
    """Return a text that can be encoded: characters that are not Unicode, such as a lone surrogate, become `?`."""
    return text.encode(errors="replace").decode()


def _text(encoded: bytes) -> str:
    try:
        return describe_value(decode_payload(encoded)) if encoded else ""
    except MalformedMessage:
        return f"{len(encoded)} bytes"
