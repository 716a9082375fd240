"""Who watches what: interests, and what clients hold of them. Pure.

An *interest* is a set of channels, and is shared by all who watch just these. A *holding* is what a client has of all
its channels, and is shared by all who have the same: nearly everybody holds what the last tick gave to everybody of
its interest, so that one look tells who gets which bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tickwire.server.replication.channel import Baseline

_NONE: Mapping[int, Baseline | None] = {}


class TickBaselines:
    """A tick in which something may have been told: where those stand, channel by channel, who missed nothing.

    Args:
        tick: which.
        usual: by channel; one that is not here is empty, and nobody was told of it.
    """

    __slots__ = ("_settled", "tick", "usual")

    def __init__(self, tick: int, usual: dict[int, Baseline]) -> None:
        self.tick = tick
        self.usual = usual
        self._settled: dict[int, Baseline] = {}

    def settled(self, channel: int) -> Baseline | None:
        """Where a client stands that had everything of this tick and forgot where it came from."""
        if channel not in self._settled and channel in self.usual:
            self._settled[channel] = self.usual[channel].settled
        return self._settled.get(channel)


class ClientView:
    """What a client has.

    Args:
        interest: of which channels.
        moment: the tick up to which it has everything of them.
        told_tick: the tick of the last frame that it was sent; 0: none.
        odd: the standings that are not those of the moment; None: nothing, or nothing that is known, of that channel.
        is_sure: False when the client may hold channels beside these: then it is told to drop all others.
    """

    __slots__ = ("interest", "is_sure", "moment", "odd", "told_tick")

    def __init__(
        self,
        interest: InterestSet,
        moment: TickBaselines,
        told_tick: int,
        odd: Mapping[int, Baseline | None] = _NONE,
        *,
        is_sure: bool = True,
    ) -> None:
        self.interest = interest
        self.moment = moment
        self.told_tick = told_tick
        self.odd = odd
        self.is_sure = is_sure

    def standing(self, channel: int) -> Baseline | None:
        """Where the client stands in a channel; None: it has nothing of it."""
        if channel in self.odd:
            return self.odd[channel]
        return self.moment.usual.get(channel) if channel in self.interest.numbers else None

    @property
    def settled(self) -> ClientView:
        """The same for a client that forgot where it came from, and may hold more."""
        settled = {
            number: standing.settled
            for number in self.interest.channels
            if (standing := self.standing(number)) is not None
        }
        return ClientView(
            self.interest, self.moment, self.told_tick, dict.fromkeys(self.interest.channels) | settled, is_sure=False
        )

    def without(self, channel: int) -> ClientView:
        """The same, but what it has of one channel is not known."""
        return ClientView(
            self.interest, self.moment, self.told_tick, {**self.odd, channel: None}, is_sure=self.is_sure
        )


class InterestSet:
    """A set of channels that somebody watches.

    Args:
        numbers: the channels.

    Attributes:
        channels: the same, ascending.
        watchers: how many sessions with a connection have it.
        tick: the tick that `before`, `data` and `after` are of.
        before: what those hold who missed nothing until now; None: nobody does.
        data: the frame of this tick for them; empty: nothing to say.
        after: what they hold when they have been told `data`.
    """

    __slots__ = ("after", "before", "channels", "data", "numbers", "tick", "watchers")

    def __init__(self, numbers: frozenset[int]) -> None:
        self.numbers = numbers
        self.channels = tuple(sorted(numbers))
        self.watchers = 0
        self.tick = 0
        self.before: ClientView | None = None
        self.after: ClientView | None = None
        self.data = b""
