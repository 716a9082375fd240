"""The channels that clients subscribe to, and the contents that they have of them. Pure.

An *interest set* is a set of channels, shared by all sessions that subscribe to exactly these. A *client view* is the
contents that a client has of all its channels, shared by all clients with equal contents. Nearly all clients of an
interest set have the view that the last tick led to, so that one comparison finds the frame that they receive.
"""

from __future__ import annotations

from collections.abc import Mapping

from tickwire.server.replication.channel import Baseline

_NO_OVERRIDES: Mapping[int, Baseline | None] = {}


class TickBaselines:
    """The baselines, channel by channel, of the clients that received every frame up to a tick.

    Args:
        tick: the tick.
        current: the baselines by channel. A channel that is missing was empty, and no frame named it.
    """

    __slots__ = ("_without_history", "current", "tick")

    def __init__(self, tick: int, current: dict[int, Baseline]) -> None:
        self.tick = tick
        self.current = current
        self._without_history: dict[int, Baseline] = {}

    def without_history(self, channel: int) -> Baseline | None:
        """Return the baseline in a channel for a client that does not know the contents before this tick."""
        if channel not in self._without_history and channel in self.current:
            self._without_history[channel] = self.current[channel].without_history
        return self._without_history.get(channel)


class ClientView:
    """A client's contents.

    Args:
        interest: the channels that they belong to.
        baselines: the newest tick of which the client has all contents of these channels.
        last_sent_tick: the tick of the last frame that was sent to the client; 0 before the first.
        overrides: the baselines, by channel, that differ from `baselines`; None: the client has nothing of the
            channel, or its contents are unknown.
        is_exact: False if the client may still have other channels; the next frame is then marked complete, so that
            the client drops them.
    """

    __slots__ = ("baselines", "interest", "is_exact", "last_sent_tick", "overrides")

    def __init__(
        self,
        interest: InterestSet,
        baselines: TickBaselines,
        last_sent_tick: int,
        overrides: Mapping[int, Baseline | None] = _NO_OVERRIDES,
        *,
        is_exact: bool = True,
    ) -> None:
        self.interest = interest
        self.baselines = baselines
        self.last_sent_tick = last_sent_tick
        self.overrides = overrides
        self.is_exact = is_exact

    def baseline(self, channel: int) -> Baseline | None:
        """Return the client's baseline in a channel, or None if it has nothing of the channel."""
        if channel in self.overrides:
            return self.overrides[channel]
        return self.baselines.current.get(channel) if channel in self.interest.numbers else None

    @property
    def without_history(self) -> ClientView:
        """The view of a client that does not know the contents before these, and may have other channels."""
        known = {
            number: baseline.without_history
            for number in self.interest.channels
            if (baseline := self.baseline(number)) is not None
        }
        overrides = dict.fromkeys(self.interest.channels) | known
        return ClientView(self.interest, self.baselines, self.last_sent_tick, overrides, is_exact=False)

    def without_channel(self, channel: int) -> ClientView:
        """Return the view with unknown contents of one channel."""
        return ClientView(
            self.interest,
            self.baselines,
            self.last_sent_tick,
            {**self.overrides, channel: None},
            is_exact=self.is_exact,
        )


class InterestSet:
    """A set of channels that sessions subscribe to.

    Args:
        numbers: the channels.

    Attributes:
        channels: the channels in ascending order.
        subscribers: the number of connected sessions with this interest set.
        tick: the tick of `before`, `data` and `after`.
        before: the view, before this tick, of the clients that received every frame; None without such clients.
        data: the frame of this tick for those clients; empty if there is nothing to send.
        after: their view once `data` has been sent.
    """

    __slots__ = ("after", "before", "channels", "data", "numbers", "subscribers", "tick")

    def __init__(self, numbers: frozenset[int]) -> None:
        self.numbers = numbers
        self.channels = tuple(sorted(numbers))
        self.subscribers = 0
        self.tick = 0
        self.before: ClientView | None = None
        self.after: ClientView | None = None
        self.data = b""
