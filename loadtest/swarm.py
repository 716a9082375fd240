"""The state that all players of one process share: settings, worlds, the scheduler and the measurements."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import jwt
import msgspec

from tickwire.client.world_cache import SharedWorlds
from tickwire.loadtest.metrics import Measures, PlayerCounts, Second
from tickwire.loadtest.open_loop_scheduler import OpenLoopScheduler

if TYPE_CHECKING:  # importing locust patches the whole process for gevent
    from locust.env import Environment

TOKEN_TTL_S = 24 * 3600
MEMBERS_AT_ONCE = 100
"""The number of members whose counters are collected before other greenlets run: about 0.5 ms."""


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of the players.

    Args:
        fixed: one token for all players; empty: none.
        secret: the HS256 key that signs a token for each player; empty: none.
        audience, issuer: the `aud` and `iss` of signed tokens.
    """

    fixed: str = ""
    secret: str = ""
    audience: str = ""
    issuer: str = ""

    def __repr__(self) -> str:
        return f"Tokens(fixed={'***' if self.fixed else ''!r}, secret={'***' if self.secret else ''!r})"

    def create_token(self, player: str, now_s: float) -> str:
        """Return a player's token; empty for a guest."""
        if not self.secret:
            return self.fixed
        claims: dict[str, object] = {"sub": player, "exp": int(now_s) + TOKEN_TTL_S}
        if self.audience:
            claims["aud"] = self.audience
        if self.issuer:
            claims["iss"] = self.issuer
        return jwt.encode(claims, self.secret, "HS256")


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """The players' behaviour that the command line sets.

    Args:
        room, room_name: the room type and name that players join; without a name any open room.
        room_players: the number of players for each room name (NAME 1, NAME 2, ...); 0: all join `room_name`.
        options: the options of each Join.
        input_hz: inputs per second.
        mode, party_size: the queue and the party size of Queuers.
        spend_room: the room type of Spenders.
        spend, purse: a Spender's commands: one that earns and returns the amount, and one that returns the balance.
        item: the item of the balance that is compared.
        match_s_max: the time limit of a match.
        has_quiet_ticks: whether a tick may change nothing; a tick without a state is then not missed.
        resume_s_max: the time limit of reconnecting.
    """

    room: str = "arena"
    room_name: str = ""
    room_players: int = 0
    options: dict[str, object] = {}
    input_hz: float = 10.0
    mode: str = "skirmish"
    party_size: int = 2
    match_s_max: float = 60.0
    spend_room: str = "market"
    spend: str = "work"
    purse: str = "purse"
    item: str = "gold"
    has_quiet_ticks: bool = False
    resume_s_max: float = 60.0


class SwarmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a swarm, from the command line.

    Args:
        urls: the addresses of first connections, used in turn.
        tokens: the players' tokens.
        habits: the players' behaviour.
        tls: the TLS settings; None: the system's trusted certificates.
        build: the build that players report.
    """

    urls: Sequence[str]
    tokens: Tokens
    habits: Habits
    tls: ssl.SSLContext | None = None
    build: str = ""


class Member(Protocol):
    """A player's session, as the swarm uses it."""

    @property
    def is_expected(self) -> bool:
        """Whether it should have a seat by now."""

    @property
    def is_seated(self) -> bool:
        """Whether it has a seat and a connection."""

    def drop(self) -> None:
        """Break the connection, as a bad network does."""

    def record_unacknowledged_inputs(self) -> None:
        """Record inputs that were never acknowledged, with their age."""

    def collect(self, measures: Measures) -> None:
        """Add the client's own counters since the last call."""


class Swarm:
    """All players of one process.

    Args:
        settings: the settings of the command line.

    Attributes:
        settings: a worker receives those of its master when a run begins.
        measures: the measurements of the current second.
        members: the current sessions.
    """

    def __init__(self, settings: SwarmSettings) -> None:
        self.settings = settings
        self.measures = Measures()
        self.worlds = SharedWorlds()
        self.scheduler = OpenLoopScheduler(self._was_late, self._skipped)
        self.members: set[Member] = set()
        self._numbers = self._entries = 0
        self._run_id = secrets.token_hex(3)
        self._parties: dict[str, tuple[str, int]] = {}

    @property
    def url(self) -> str:
        """The address of the server, for messages."""
        return self.settings.urls[0]

    def next_number(self) -> int:
        """Return the number of the next player of this process."""
        self._numbers += 1
        return self._numbers

    def next_url(self) -> str:
        """Return the address of the next player's first connection."""
        self._entries += 1
        return self.settings.urls[self._entries % len(self.settings.urls)]

    def player_id(self, number: int) -> str:
        """Return a player id that is unique to this run."""
        return f"load-{self._run_id}-{number}"

    def party(self, mode: str, size: int) -> tuple[str, int]:
        """Return the party code and size for the next player; `size` players receive the same code."""
        code, left = self._parties.get(mode, ("", 0))
        if not left:
            code, left = secrets.token_urlsafe(12), size
        self._parties[mode] = (code, left - 1)
        return code, size

    def finish_second(self, at: int, *, pause: Callable[[], None] = lambda: None) -> Second:
        """End the current second, return it, and begin the next.

        Args:
            at: the second, UTC.
            pause: called after every MEMBERS_AT_ONCE members, so that the load is not late.
        """
        player_counts = PlayerCounts(players=len(self.members))
        for number, member in enumerate(list(self.members), 1):
            if not number % MEMBERS_AT_ONCE:
                pause()
            member.collect(self.measures)
            if member.is_expected:
                player_counts.expected += 1
                player_counts.seated += member.is_seated
        second = Second(at, player_counts, self.measures)
        self.measures = Measures()
        return second

    def record_unacknowledged_inputs(self) -> None:
        """Record all inputs that were never acknowledged, at the end of the run."""
        for member in self.members:
            member.record_unacknowledged_inputs()

    def drop_all(self) -> int:
        """Break all connections at once. Return their number."""
        seated = [member for member in self.members if member.is_seated]
        for member in seated:
            member.drop()
        return len(seated)

    def _was_late(self, seconds: float) -> None:
        self.measures.times["lateness"].record(seconds)

    def _skipped(self, actions: int) -> None:
        self.measures.count("actions_skipped", actions)


_swarms: WeakKeyDictionary[Environment, Swarm] = WeakKeyDictionary()


def set_swarm(environment: Environment, swarm: Swarm) -> None:
    """Set the swarm of a locust environment."""
    _swarms[environment] = swarm


def get_swarm(environment: Environment) -> Swarm:
    """Return the swarm of a locust environment.

    Raises:
        KeyError: the environment has no swarm, because tickwire.loadtest.locustfile was not loaded.
    """
    return _swarms[environment]
