"""What all players of one process share: settings, worlds, the metronome, and what they measure."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import jwt
import msgspec

from tickwire.loadtest.metrics import Measures, PlayerCounts, Second
from tickwire.loadtest.open_loop_scheduler import OpenLoopScheduler
from tickwire.loadtest.world_cache import SharedWorlds

if TYPE_CHECKING:  # importing locust patches the whole process for gevent
    from locust.env import Environment

TOKEN_TTL_S = 24 * 3600


class Tokens(msgspec.Struct, frozen=True):
    """Who players say they are.

    Args:
        fixed: the same for all; empty: none.
        secret: signs one for each player, HS256; empty: none.
        audience, issuer: put into those that are signed.
    """

    fixed: str = ""
    secret: str = ""
    audience: str = ""
    issuer: str = ""

    def __repr__(self) -> str:
        return f"Tokens(fixed={'***' if self.fixed else ''!r}, secret={'***' if self.secret else ''!r})"

    def create_token(self, player: str, now_s: float) -> str:
        """A player's token; empty for a guest."""
        if not self.secret:
            return self.fixed
        claims: dict[str, object] = {"sub": player, "exp": int(now_s) + TOKEN_TTL_S}
        if self.audience:
            claims["aud"] = self.audience
        if self.issuer:
            claims["iss"] = self.issuer
        return jwt.encode(claims, self.secret, "HS256")


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What players do, as far as the command line says it.

    Args:
        room, room_name: what they join; without a name any open room.
        room_players: how many go to rooms of one name (NAME 1, NAME 2, ...); 0: `room_name` as it is.
        options: given with each Join.
        input_hz: inputs a second.
        mode, party_size: what Matchmakers queue for.
        spend, purse: a Spender's commands: one that earns and says how much, and one that says what it owns.
        item: what `purse` counts.
        match_s_max: how long a match may take.
        has_quiet_ticks: a tick may change nothing, so one without a state was not missed.
        resume_s_max: for how long a lost connection is tried again.
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


class Member(Protocol):
    """What the swarm must know of a player's session."""

    @property
    def is_expected(self) -> bool:
        """Whether it should have a seat by now."""

    @property
    def is_seated(self) -> bool:
        """Whether it has one, and a connection."""

    def drop(self) -> None:
        """Breaks the connection as a bad network does."""

    def record_unacknowledged_inputs(self) -> None:
        """Counts inputs that were never shown for as long as they have waited."""

    def collect(self, measures: Measures) -> None:
        """Adds what it has counted by itself since the last time."""


class Swarm:
    """All players of one process.

    Args:
        url: where they connect first.
        more_urls: other addresses where they connect first, in turn with `url`.
        tls: what is trusted; None: what the system trusts.

    Attributes:
        measures: of the second that runs.
        members: sessions there are.
    """

    def __init__(
        self,
        url: str,
        *,
        more_urls: Sequence[str] = (),
        tokens: Tokens,
        habits: Habits,
        tls: ssl.SSLContext | None,
        build: str,
    ) -> None:
        self.url = url
        self.more_urls = more_urls
        self.tokens = tokens
        self.habits = habits
        self.tls = tls
        self.build = build
        self.measures = Measures()
        self.worlds = SharedWorlds()
        self.scheduler = OpenLoopScheduler(self._was_late, self._skipped)
        self.members: set[Member] = set()
        self._numbers = self._entries = 0
        self._run_id = secrets.token_hex(3)
        self._parties: dict[str, tuple[str, int]] = {}

    def next_number(self) -> int:
        """Counts the players of this process."""
        self._numbers += 1
        return self._numbers

    def next_url(self) -> str:
        """Return the address where the next player connects first."""
        urls = (self.url, *self.more_urls)
        self._entries += 1
        return urls[self._entries % len(urls)]

    def player_id(self, number: int) -> str:
        """A name that no other run's player has."""
        return f"load-{self._run_id}-{number}"

    def party(self, mode: str, size: int) -> tuple[str, int]:
        """A code for the next player who looks for friends; `size` players get the same."""
        code, left = self._parties.get(mode, ("", 0))
        if not left:
            code, left = secrets.token_urlsafe(12), size
        self._parties[mode] = (code, left - 1)
        return code, size

    def finish_second(self, at: int) -> Second:
        """Ends the second that runs, and begins another."""
        player_counts = PlayerCounts(players=len(self.members))
        for member in self.members:
            member.collect(self.measures)
            if member.is_expected:
                player_counts.expected += 1
                player_counts.seated += member.is_seated
        second = Second(at, player_counts, self.measures)
        self.measures = Measures()
        return second

    def record_unacknowledged_inputs(self) -> None:
        """The run ends: inputs that were never shown count for as long as they have waited."""
        for member in self.members:
            member.record_unacknowledged_inputs()

    def drop_all(self) -> int:
        """Breaks all connections at once; gives how many."""
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
    """Makes it the swarm of a locust environment."""
    _swarms[environment] = swarm


def get_swarm(environment: Environment) -> Swarm:
    """The swarm of a locust environment.

    Raises:
        KeyError: there is none: tickwire.loadtest.locustfile was not loaded.
    """
    return _swarms[environment]
