"""Computes each client's update, tick by tick: every channel is encoded once for all clients with equal baselines.

    capture    quantise the tables and split them by channel
    encode     encode all channels for the clients that received every frame
    prepare    compose the frame of those clients, by interest set
    update     compose the frame of one other client, from its view to its interest set
    to_table   convert any of these frames for clients of schema version 3

Pure; reads no clock: the caller passes the tick.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from tickwire.schemas.columns import CHECKSUM_BYTES, Columns
from tickwire.schemas.delta import create_codecs
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.parts import HAS_CHECKSUM, HAS_PARTS, IS_COMPLETE
from tickwire.schemas.size_profile import profile_bits
from tickwire.schemas.state_messages import encode_state
from tickwire.schemas.table_frames import to_table_frame
from tickwire.server.replication.bandwidth import BandwidthProfile
from tickwire.server.replication.channel import (
    Baseline,
    Channel,
    ChannelUpdate,
    encode_channel_cleared,
)
from tickwire.server.replication.client_view import ClientView, InterestSet, TickBaselines
from tickwire.server.replication.partition import ChannelPartition
from tickwire.server.replication.table import EVERYONE, Table

AGE_TICKS_MAX = 250
"""The most ticks between two frames of which the second holds deltas: a frame's age is one byte. Later frames hold
keyframes."""
RECENT_TICKS_MAX = 32
"""The ticks whose baselines are kept for clients that reconnect: frames in flight at a disconnect are younger."""


class Replicator:
    """Computes the updates of one room; owned by its runtime.

    Args:
        tables: the replicated tables, in the order of the description.
        checksum_ticks: the interval, in ticks, at which each channel is sent with a checksum.

    Attributes:
        changed_tick: the last tick in which any table changed.
        everyone: the interest set of the room-wide channel alone.
    """

    def __init__(self, tables: Sequence[Table], *, checksum_ticks: int = 100) -> None:
        self.changed_tick = 0
        self.everyone = InterestSet(frozenset((EVERYONE,)))
        self._checksum_ticks = checksum_ticks
        self._codecs = create_codecs([table.fields for table in tables])
        self._partitions = [ChannelPartition(table) for table in tables]
        self._channels: dict[int, Channel] = {}
        self._interests: dict[frozenset[int], InterestSet] = {self.everyone.numbers: self.everyone}
        self._tick = 0
        self._baselines = self._previous_baselines = TickBaselines(0, {})
        self._current_updates: dict[int, ChannelUpdate] = {}
        self._current_parts: defaultdict[int, bytes] = defaultdict(bytes)
        self._individual_updates: dict[tuple[ClientView, InterestSet], tuple[bytes, ClientView]] = {}
        self._table_frames: dict[bytes, bytes] = {}
        self._recent: deque[TickBaselines] = deque(maxlen=RECENT_TICKS_MAX)
        self._keyframes = self._deltas = 0
        self._channels[EVERYONE] = Channel(EVERYONE, self._codecs)
        self._channels[EVERYONE].subscribers = 1  # the room's own: the channel is never removed
        self._begin(self._channels[EVERYONE], has_changed=True)

    # -- subscriptions --------------------------------------------------------------------------------------

    def get_interest(self, numbers: frozenset[int]) -> InterestSet:
        """Return the interest set of these channels: the same object for all that subscribe to exactly these."""
        return self._interests.get(numbers) or InterestSet(numbers)

    def subscribe(self, interest: InterestSet) -> InterestSet:
        """Add a connected session to an interest set.

        Returns:
            The interest set to use from now on: another object if sessions have subscribed to the same channels since
            `get_interest`.
        """
        interest = self._interests.setdefault(interest.numbers, interest)
        interest.subscribers += 1
        if interest.subscribers == 1:
            for number in interest.channels:
                if number not in self._channels:
                    self._channels[number] = Channel(number, self._codecs)
                    self._begin(self._channels[number], has_changed=True)
                self._channels[number].subscribers += 1
        return interest

    def unsubscribe(self, interest: InterestSet) -> None:
        """Remove a connected session from an interest set."""
        interest.subscribers -= 1
        if interest.subscribers:
            return
        if interest is not self.everyone:
            del self._interests[interest.numbers]
        for number in interest.channels:
            channel = self._channels[number]
            channel.subscribers -= 1
            if not channel.subscribers:
                self._count(channel)
                del self._channels[number]

    @property
    def channel_count(self) -> int:
        """The number of channels that have subscribers, and the room-wide one."""
        return len(self._channels)

    @property
    def recent_baselines(self) -> tuple[TickBaselines, ...]:
        """The baselines of the newest ticks, oldest first."""
        return tuple(self._recent)

    # -- a tick ---------------------------------------------------------------------------------------------

    def capture(self, tick: int) -> None:
        """Read every table as it is in this tick.

        Raises:
            tickwire.schemas.fields.NotANumber: a column has NaN or infinity.
            tickwire.server.replication.text_encoder.InvalidText: a text column has a value of another type, or a blob
                that is too long.
        """
        changed: set[int] = set()
        for partition in self._partitions:
            changed |= partition.capture()
        self._tick = tick
        self._individual_updates.clear()
        self._table_frames.clear()
        if changed:
            self.changed_tick = tick
        for number, channel in self._channels.items():
            self._begin(channel, has_changed=number in changed)

    def rows_by_channel(self) -> list[dict[int, Columns]]:
        """Return the quantised rows of this tick by channel, one dictionary for each table."""
        return [partition.by_channel for partition in self._partitions]

    def prepare(self, interest: InterestSet) -> InterestSet:
        """Return the interest set with this tick's `before`, `data` and `after`."""
        if interest.tick != self._tick:
            self.encode()
            self._compose(interest)
        return interest

    def update(self, view: ClientView | None, interest: InterestSet) -> tuple[bytes, ClientView]:
        """Compose the frame that brings one client from its view to this tick of an interest set.

        Args:
            view: the client's view; None if it is unknown.
            interest: the channels that the client subscribes to.

        Returns:
            The frame, with its WebSocket header, and the client's view after it.
        """
        self.prepare(interest)
        if view is None or self._tick - view.last_sent_tick > AGE_TICKS_MAX:
            unknown = ClientView(interest, self._baselines, 0, dict.fromkeys(interest.channels), is_exact=False)
            return self._catch_up(unknown, interest)
        key = (view, interest)
        if key not in self._individual_updates:
            self._individual_updates[key] = self._catch_up(view, interest)
        return self._individual_updates[key]

    def to_table(self, frame: bytes) -> bytes:
        """Return a frame of this tick for clients of schema version 3. Encoded once a tick for all of them."""
        table = self._table_frames.get(frame)
        if table is None:
            table = self._table_frames[frame] = to_table_frame(frame, self._tick)
        return table

    def view_at(self, recent: Sequence[TickBaselines], interest: InterestSet, tick: int) -> ClientView | None:
        """Return the view of a client that reconnects with all contents of a tick; None if that tick is too old.

        The view has no history (`Columns.before`), as after a keyframe: the deltas that led the client to that tick
        need not be known.

        Args:
            recent: `recent_baselines` at the time of the disconnect.
            interest: the client's interest set at that tick.
            tick: the last tick that the client applied.
        """
        baselines = next((baselines for baselines in reversed(recent) if baselines.tick == tick), None)
        if baselines is None:
            return None
        overrides = {number: baselines.without_history(number) for number in interest.channels}
        return ClientView(interest, baselines, tick, overrides, is_exact=False)

    def profile(self, profile: BandwidthProfile, *, interval: int = 1) -> bool:
        """Add the sizes of this tick's updates to a profile. Called after `encode`.

        Args:
            profile: receives the sizes.
            interval: each channel is read in one of this number of ticks, neighbours in different ones.

        Returns:
            Whether anything was added.
        """
        last = self._tick + 1
        due = [number for number in self._current_updates if not (last + number) % interval]
        if is_counted := not last % interval:
            profile.samples += 1
            profile.client_ticks += sum(interest.subscribers for interest in self._interests.values())
        for number in due:
            channel, update = self._channels[number], self._current_updates[number]
            base = channel.empty if update.is_keyframe else channel.previous
            packed = update.packed[: -CHECKSUM_BYTES if update.has_checksum else None]
            bits = profile_bits(self._codecs, base, packed)
            profile.add(bits, update.baseline.tables, self._count_receivers(number))
        return is_counted or bool(due)

    def _count_receivers(self, number: int) -> int:
        """Return the number of connected sessions that subscribe to a channel."""
        return sum(interest.subscribers for interest in self._interests.values() if number in interest.numbers)

    def reset_counts(self) -> tuple[int, int]:
        """Return the numbers of keyframes and deltas that were encoded since the last call."""
        for channel in self._channels.values():
            self._count(channel)
        counts = self._keyframes, self._deltas
        self._keyframes = self._deltas = 0
        return counts

    # -- encoding -------------------------------------------------------------------------------------------

    def _begin(self, channel: Channel, *, has_changed: bool) -> None:
        number = channel.number
        rows = tuple([partition.by_channel.get(number, partition.empty) for partition in self._partitions])
        # Each channel has its checksums in a tick of its own, so that no tick has them all.
        has_checksum = (self._tick + number) % self._checksum_ticks == 0
        channel.begin(self._tick, rows, has_changed=has_changed, has_checksum=has_checksum)

    def _count(self, channel: Channel) -> None:
        self._keyframes += channel.keyframes
        self._deltas += channel.deltas
        channel.keyframes = channel.deltas = 0

    def encode(self) -> None:
        """Encode the updates of the clients that received every frame, all channels in one pass. Once a tick."""
        if self._baselines.tick == self._tick:
            return
        encoded = self._encode_due()
        current: dict[int, Baseline] = {}
        self._current_updates.clear()
        self._current_parts.clear()
        has_parts = len(self._channels) > 1
        for number, channel in self._channels.items():
            baseline = channel.current
            channel.previous = baseline.tables if baseline is not None else channel.empty
            update = encoded.get(number) or channel.update(baseline)
            if update is not None:
                self._current_updates[number] = update
                if has_parts:
                    self._current_parts[number] = update.part
                channel.current = baseline = update.baseline
            if baseline is not None:
                current[number] = baseline
        self._previous_baselines, self._baselines = self._baselines, TickBaselines(self._tick, current)
        self._recent.append(self._baselines)

    def _encode_due(self) -> dict[int, ChannelUpdate]:
        """Encode the deltas of all channels together, table by table; a single one is left to `Channel.update`."""
        due = [
            (channel, channel.begin_delta(baseline))
            for channel in self._channels.values()
            if (baseline := channel.current) is not None and channel.is_due(baseline)
        ]
        if len(due) < 2:
            return {}
        by_table = [
            codec.encode_many([(delta.base[index], delta.after.tables[index]) for _, delta in due])
            for index, codec in enumerate(self._codecs)
        ]
        return {
            channel.number: channel.finish_delta(delta, sections)
            for (channel, delta), sections in zip(due, zip(*by_table, strict=True), strict=True)
        }

    def _compose(self, interest: InterestSet) -> None:
        """Compose the frame of the clients of an interest set that received every frame."""
        before, interest.after = interest.after, None
        interest.tick, interest.before, interest.data = self._tick, None, b""
        if before is None or before.baselines is not self._previous_baselines:
            return  # no client has that view; the first that reaches it, in `_catch_up`, sets `after`
        last_sent_tick = before.last_sent_tick
        if self._tick - last_sent_tick > AGE_TICKS_MAX:
            return
        parts, age = self._current_parts, self._tick - last_sent_tick
        if len(interest.channels) > 1:
            packed = b"".join(map(parts.__getitem__, interest.channels))
            if packed:
                interest.data = binary_frame(encode_state(self._tick, 0, age, HAS_PARTS, packed))
        else:
            updates = self._current_updates
            named = [(number, updates[number]) for number in interest.channels if number in updates]
            if named:
                interest.data = self._frame(named, [], age=age, is_exact=True)
        if interest.data:
            last_sent_tick = self._tick
        interest.before, interest.after = before, ClientView(interest, self._baselines, last_sent_tick)

    def _catch_up(self, view: ClientView, interest: InterestSet) -> tuple[bytes, ClientView]:
        """Compose the frame that brings one client from its view to an interest set."""
        current = self._baselines.current
        named: list[tuple[int, ChannelUpdate]] = []
        cleared: list[bytes] = []
        overrides: dict[int, Baseline | None] = {}
        for number in interest.channels:
            channel, baseline = self._channels[number], view.baseline(number)
            must_name = not view.is_exact and baseline is not None and not baseline.is_empty
            update = channel.update(baseline, must_name=must_name)
            if update is not None:
                named.append((number, update))
                shared = current.get(number)
                if update.baseline is not shared and (shared is None or shared.tick == self._tick):
                    overrides[number] = update.baseline
            elif view.is_exact and number in view.overrides and baseline is None:
                cleared.append(encode_channel_cleared(number))  # it asked for a keyframe of an empty channel
        if view.is_exact:
            cleared += [
                encode_channel_cleared(number)
                for number in view.interest.channels
                if _must_clear(number, view, interest)
            ]
        if not named and not cleared and view.is_exact:
            return b"", self._share(interest, ClientView(interest, self._baselines, view.last_sent_tick))
        age = self._tick - view.last_sent_tick if view.last_sent_tick else 0
        data = self._frame(named, cleared, age=age, is_exact=view.is_exact)
        return data, self._share(interest, ClientView(interest, self._baselines, self._tick, overrides))

    def _share(self, interest: InterestSet, view: ClientView) -> ClientView:
        """Return the view that the clients of an interest set share, if the given one is equal to it."""
        if view.overrides:
            return view
        if interest.after is None:
            interest.after = view
        return interest.after if interest.after.last_sent_tick == view.last_sent_tick else view

    def _frame(
        self, named: list[tuple[int, ChannelUpdate]], cleared: list[bytes], *, age: int, is_exact: bool
    ) -> bytes:
        flags = 0 if is_exact else IS_COMPLETE
        if len(named) == 1 and not cleared:
            number, update = named[0]
            flags |= HAS_CHECKSUM if update.has_checksum else 0
            age = 0 if update.is_keyframe else age
            return binary_frame(encode_state(self._tick, number, age, flags, update.packed))
        packed = b"".join([*[update.part for _, update in named], *cleared])
        return binary_frame(encode_state(self._tick, 0, age, flags | HAS_PARTS, packed))


def _must_clear(number: int, view: ClientView, interest: InterestSet) -> bool:
    """Return whether a client must drop its contents of a channel."""
    if number in interest.numbers:
        return False
    baseline = view.baseline(number)
    return number in view.overrides if baseline is None else not baseline.is_empty
