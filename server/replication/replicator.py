"""What every client of a room must be told, tick by tick: all its channels, encoded once for all who stand alike.

    capture      the tables are quantised and cut into channels
    encode       all channels, from where those stand who missed nothing
    of           what those get who missed nothing, by interest
    update       for one client that is not like the others: from what it holds to what its interest shows

Pure; reads no clock: the tick comes in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from tickwire.schemas.codec import encode_state
from tickwire.schemas.columns import CHECKSUM_BYTES
from tickwire.schemas.delta import codecs_for
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.parts import HAS_CHECKSUM, HAS_PARTS, IS_COMPLETE
from tickwire.schemas.size_profile import weigh
from tickwire.server.replication.bandwidth import BandwidthProfile
from tickwire.server.replication.channel import Baseline, Channel, ChannelUpdate, dropped, dropped_2
from tickwire.server.replication.client_view import ClientView, InterestSet, TickBaselines
from tickwire.server.replication.partition import ChannelPartition
from tickwire.server.replication.table import EVERYONE, Table

AGE_TICKS_MAX = 250
"""How long a client may have been told nothing: a frame has one byte for its age. After that it gets keyframes."""
RECENT_TICKS_MAX = 32
"""How many moments are kept for clients that come back: what was on its way when a connection broke is younger."""


class Replicator:
    """Owned by the room's simulation.

    Args:
        tables: what is replicated, in the description's order.
        checksum_ticks: every so many ticks each channel is told with a checksum.

    Attributes:
        changed_tick: the last tick in which anything changed.
        everyone: the interest in the room-wide channel alone.
    """

    def __init__(self, tables: Sequence[Table], *, checksum_ticks: int = 100) -> None:
        self.changed_tick = 0
        self.everyone = InterestSet(frozenset((EVERYONE,)))
        self._checksum_ticks = checksum_ticks
        self._codecs = codecs_for([table.fields for table in tables])
        self._groups = [ChannelPartition(table) for table in tables]
        self._channels: dict[int, Channel] = {}
        self._interests: dict[frozenset[int], InterestSet] = {self.everyone.numbers: self.everyone}
        self._tick = 0
        self._moment = self._moment_before = TickBaselines(0, {})
        self._usual_updates: dict[int, ChannelUpdate] = {}
        self._usual_parts: dict[int, bytes] = {}
        self._odd_updates: dict[tuple[ClientView, InterestSet], tuple[bytes, ClientView]] = {}
        self._recent: deque[TickBaselines] = deque(maxlen=RECENT_TICKS_MAX)
        self._keyframes = self._deltas = 0
        self._channels[EVERYONE] = Channel(EVERYONE, self._codecs)
        self._channels[EVERYONE].watchers = 1  # it is kept, whoever comes and goes
        self._begin(self._channels[EVERYONE], has_changed=True)

    # -- who watches ----------------------------------------------------------------------------------------

    def interest(self, numbers: frozenset[int]) -> InterestSet:
        """The interest in these channels: the same object for all who watch the same."""
        return self._interests.get(numbers) or InterestSet(numbers)

    def watch(self, interest: InterestSet) -> InterestSet:
        """One more session with a connection has this interest, or rather the one that is given back: meanwhile
        others may have come to watch the same."""
        interest = self._interests.setdefault(interest.numbers, interest)
        interest.watchers += 1
        if interest.watchers == 1:
            for number in interest.channels:
                if number not in self._channels:
                    self._channels[number] = Channel(number, self._codecs)
                    self._begin(self._channels[number], has_changed=True)
                self._channels[number].watchers += 1
        return interest

    def unwatch(self, interest: InterestSet) -> None:
        """One session less."""
        interest.watchers -= 1
        if interest.watchers:
            return
        if interest is not self.everyone:
            del self._interests[interest.numbers]
        for number in interest.channels:
            channel = self._channels[number]
            channel.watchers -= 1
            if not channel.watchers:
                self._count(channel)
                del self._channels[number]

    @property
    def recent(self) -> tuple[TickBaselines, ...]:
        """The newest moments, oldest first."""
        return tuple(self._recent)

    # -- a tick ---------------------------------------------------------------------------------------------

    def capture(self, tick: int) -> None:
        """Takes this tick's snapshot of every table.

        Raises:
            tickwire.schemas.fields.NotANumber, tickwire.server.replication.text_encoder.InvalidText: the game has
            left something impossible.
        """
        changed: set[int] = set()
        for groups in self._groups:
            changed |= groups.capture()
        self._tick = tick
        self._odd_updates.clear()
        if changed:
            self.changed_tick = tick
        for number, channel in self._channels.items():
            self._begin(channel, has_changed=number in changed)

    def of(self, interest: InterestSet) -> InterestSet:
        """The interest, with this tick's `before`, `data` and `after`."""
        if interest.tick != self._tick:
            self.encode()
            self._compose(interest)
        return interest

    def update(self, holding: ClientView | None, interest: InterestSet) -> tuple[bytes, ClientView]:
        """What a client must be told that holds this and watches that; None: nobody knows what it holds.

        Returns:
            Its frame, with the WebSocket header, and what it holds after it.
        """
        self.of(interest)
        if holding is None or self._tick - holding.told_tick > AGE_TICKS_MAX:
            return self._lead(
                ClientView(interest, self._moment, 0, dict.fromkeys(interest.channels), is_sure=False), interest
            )
        key = (holding, interest)
        if key not in self._odd_updates:
            self._odd_updates[key] = self._lead(holding, interest)
        return self._odd_updates[key]

    def update_2(self, holding: ClientView | None, interest: InterestSet) -> tuple[bytes, ClientView]:
        """The same for a client of schema version 2: keyframes of what has changed, a frame for each channel."""
        self.of(interest)
        frames = []
        for number in interest.channels:
            channel = self._channels[number]
            standing = holding.standing(number) if holding is not None else None
            if standing is None:
                is_told = not channel.is_empty or (holding is not None and number in holding.odd)
            else:
                is_told = channel.version > standing.version
            if is_told:
                frames.append(channel.keyframe_2())
        if holding is not None:
            frames += [dropped_2(number, self._tick) for number in holding.interest.numbers - interest.numbers]
        return b"".join(frames), ClientView(interest, self._moment, self._tick)

    def resumed(self, recent: Sequence[TickBaselines], interest: InterestSet, tick: int) -> ClientView | None:
        """What a client holds that comes back with everything of `tick`; None when nobody knows that any more.

        It forgets where it came from (`Columns.before`), as after a keyframe: which way it took to that tick need not
        be known.

        Args:
            recent: the moments that were the newest when its connection was lost.
            interest: what it watched at that tick.
        """
        moment = next((moment for moment in reversed(recent) if moment.tick == tick), None)
        if moment is None:
            return None
        settled = {number: moment.settled(number) for number in interest.channels}
        return ClientView(interest, moment, tick, settled, is_sure=False)

    def weigh(self, weights: BandwidthProfile) -> None:
        """Adds what this tick's deltas were spent on to the weights. After `encode`, in ticks that are sampled."""
        readers: Counter[int] = Counter()
        for interest in self._interests.values():
            if interest.watchers:
                readers.update(dict.fromkeys(interest.channels, interest.watchers))
        weights.samples += 1
        weights.client_ticks += sum(interest.watchers for interest in self._interests.values())
        for number, update in self._usual_updates.items():
            channel = self._channels[number]
            base = channel.nothing if update.is_keyframe else channel.base
            packed = update.packed[: -CHECKSUM_BYTES if update.has_checksum else None]
            weights.add(weigh(self._codecs, base, packed), update.standing.tables, readers[number])

    def take_counts(self) -> tuple[int, int]:
        """How many keyframes and deltas were encoded since the last time."""
        for channel in self._channels.values():
            self._count(channel)
        counts = self._keyframes, self._deltas
        self._keyframes = self._deltas = 0
        return counts

    # -- encoding -------------------------------------------------------------------------------------------

    def _begin(self, channel: Channel, *, has_changed: bool) -> None:
        number = channel.number
        held = tuple([groups.now.get(number, groups.nothing) for groups in self._groups])
        # Each channel has its checksums in a tick of its own, so that no tick has them all.
        has_checksum = (self._tick + number) % self._checksum_ticks == 0
        channel.begin(self._tick, held, has_changed=has_changed, has_checksum=has_checksum)

    def _count(self, channel: Channel) -> None:
        self._keyframes += channel.keyframes
        self._deltas += channel.deltas
        channel.keyframes = channel.deltas = 0

    def encode(self) -> None:
        """What follows from the usual standings: the channels' tables are encoded all together. Once a tick."""
        if self._moment.tick == self._tick:
            return
        due = [
            (channel, channel.usual, channel.step(channel.usual))
            for channel in self._channels.values()
            if channel.usual is not None and channel.is_due(channel.usual)
        ]
        if len(due) > 1:
            by_table = [
                codec.encode_many([(base[place], now[place]) for _, _, (base, now) in due])
                for place, codec in enumerate(self._codecs)
            ]
            for (channel, standing, _), sections in zip(due, zip(*by_table, strict=True), strict=True):
                channel.keep(standing, sections)
        usual: dict[int, Baseline] = {}
        self._usual_updates.clear()
        self._usual_parts.clear()
        for number, channel in self._channels.items():
            channel.base = channel.usual.tables if channel.usual is not None else channel.nothing
            update = channel.update(channel.usual)
            if update is not None:
                self._usual_updates[number] = update
                if len(self._channels) > 1:
                    self._usual_parts[number] = update.part
                channel.usual = update.standing
            if channel.usual is not None:
                usual[number] = channel.usual
        self._moment_before, self._moment = self._moment, TickBaselines(self._tick, usual)
        self._recent.append(self._moment)

    def _compose(self, interest: InterestSet) -> None:
        """The frame for all who missed nothing of an interest."""
        before, interest.after = interest.after, None
        interest.tick, interest.before, interest.data = self._tick, None, b""
        if before is None or before.moment is not self._moment_before:
            return  # nobody has it; the first who does, after `_lead`, says what the usual is
        told_tick = before.told_tick
        if self._tick - told_tick > AGE_TICKS_MAX:
            return
        parts, age = self._usual_parts, self._tick - told_tick
        if len(interest.channels) > 1:
            packed = b"".join([parts[number] for number in interest.channels if number in parts])
            if packed:
                interest.data = binary_frame(encode_state(self._tick, 0, age, HAS_PARTS, packed))
        else:
            updates = self._usual_updates
            said = [(number, updates[number]) for number in interest.channels if number in updates]
            if said:
                interest.data = self._frame(said, [], age=age, is_sure=True)
        if interest.data:
            told_tick = self._tick
        interest.before, interest.after = before, ClientView(interest, self._moment, told_tick)

    def _lead(self, holding: ClientView, interest: InterestSet) -> tuple[bytes, ClientView]:
        """From what one client holds to what it watches."""
        usual = self._moment.usual
        said: list[tuple[int, ChannelUpdate]] = []
        drops: list[bytes] = []
        odd: dict[int, Baseline | None] = {}
        for number in interest.channels:
            channel, standing = self._channels[number], holding.standing(number)
            must_name = not holding.is_sure and standing is not None and not standing.is_empty
            update = channel.update(standing, must_name=must_name)
            if update is not None:
                said.append((number, update))
                shared = usual.get(number)
                if update.standing is not shared and (shared is None or shared.tick == self._tick):
                    odd[number] = update.standing
            elif holding.is_sure and number in holding.odd and standing is None:
                drops.append(dropped(number))  # it asked for a keyframe of what is empty
        if holding.is_sure:
            drops += [
                dropped(number) for number in holding.interest.channels if _is_dropped(number, holding, interest)
            ]
        if not said and not drops and holding.is_sure:
            return b"", self._shared(interest, ClientView(interest, self._moment, holding.told_tick))
        age = self._tick - holding.told_tick if holding.told_tick else 0
        data = self._frame(said, drops, age=age, is_sure=holding.is_sure)
        return data, self._shared(interest, ClientView(interest, self._moment, self._tick, odd))

    def _shared(self, interest: InterestSet, holding: ClientView) -> ClientView:
        """The holding that all of an interest have who missed nothing, if this is the same."""
        if holding.odd:
            return holding
        if interest.after is None:
            interest.after = holding
        return interest.after if interest.after.told_tick == holding.told_tick else holding

    def _frame(self, said: list[tuple[int, ChannelUpdate]], drops: list[bytes], *, age: int, is_sure: bool) -> bytes:
        flags = 0 if is_sure else IS_COMPLETE
        if len(said) == 1 and not drops:
            number, update = said[0]
            flags |= HAS_CHECKSUM if update.has_checksum else 0
            age = 0 if update.is_keyframe else age
            return binary_frame(encode_state(self._tick, number, age, flags, update.packed))
        packed = b"".join([*[update.part for _, update in said], *drops])
        return binary_frame(encode_state(self._tick, 0, age, flags | HAS_PARTS, packed))


def _is_dropped(number: int, holding: ClientView, interest: InterestSet) -> bool:
    """Whether a client must be told that it has nothing of a channel any more."""
    if number in interest.numbers:
        return False
    standing = holding.standing(number)
    return number in holding.odd if standing is None else not standing.is_empty
