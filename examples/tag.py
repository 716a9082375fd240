"""tag: rounds of catch. One runner is "it" and passes that on by touching another; the others score with time.

    lobby --two players--> countdown --COUNTDOWN_S--> running --ROUND_S--> results --RESULTS_S--> countdown, or lobby

The clock of the room drives the phases, counts the points and removes idle players. Bots run along while the room has
few players. At the end of a round the best players are paid coins, which outlive the room: a transaction without a
command, so it has a key, and `paid` runs when it is committed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from tickwire import (
    Event,
    Input,
    InputBatch,
    Player,
    Room,
    Row,
    Table,
    Transaction,
    TransactionOutcome,
    boolean,
    command,
    grant,
    local,
    real,
    text,
    uint,
    vec2,
)

SIZE = 50.0
SPEED, IT_SPEED = 8.0, 9.0
REACH = 1.5
SAFE_S = 2.0
PLAYERS_MIN = 2
RUNNERS_MIN = 4
COUNTDOWN_S, ROUND_S, RESULTS_S = 5.0, 60.0, 8.0
IDLE_S = 45.0
PRIZES = (10, 5, 2)

Phase = Literal["lobby", "countdown", "running", "results"]


class Runners(Table):
    """The runners of players and bots."""

    position = vec2(-SIZE, SIZE, step=1 / 64)
    is_it = boolean()
    is_bot = boolean()
    score = uint(bits=10)
    name = text(bytes_max=24)
    direction_x = local(np.float32)
    direction_y = local(np.float32)


class RunnerInput(Input):
    """The direction in which a player runs."""

    x = real(-1, 1, step=1 / 64)
    y = real(-1, 1, step=1 / 64)


class TagOptions(msgspec.Struct):
    """The options of a Join."""

    name: Annotated[str, Meta(min_length=1, max_length=12)] = "runner"


class PhaseChanged(Event):
    """A phase has begun; it ends at `ends_s` of the room's time. The lobby has no end."""

    phase: Phase
    ends_s: float | None


class RoundEnded(Event):
    """The scoreboard of the round, best first."""

    scoreboard: list[tuple[str, int]]


class Paid(Event):
    """The player has received coins for the round."""

    coins: int


class Emoted(Event):
    """A runner shows an emote."""

    runner: int
    emote: str


class Tag(Room):
    """A room of up to 12 players, which bots complete to RUNNERS_MIN runners."""

    room_type = "tag"
    max_players = 12
    uses_ledger = True
    input_type = RunnerInput
    events = (PhaseChanged, RoundEnded, Paid, Emoted)
    runners: Runners

    def on_create(self, options: object) -> None:
        self.round = 0
        self.safe_until_s = 0.0
        self.idle_since_s: dict[str, float] = {}
        self.begin("lobby")
        self.clock.every(1.0, self.give_points)
        self.clock.every(5.0, self.kick_idle)
        self.balance_bots()

    # -- players and bots -----------------------------------------------------------------------------------

    def on_join(self, player: Player, options: TagOptions) -> None:
        player.entity = self.spawn(options.name)
        self.idle_since_s[player.id] = self.clock.now_s
        player.send(PhaseChanged(self.phase, self.phase_ends_s))
        self.balance_bots()
        if self.phase == "lobby" and len(self.players) >= PLAYERS_MIN:
            self.start_countdown()

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()
        del self.idle_since_s[player.id]
        self.balance_bots()

    def spawn(self, name: str, *, is_bot: bool = False) -> Row:
        return self.runners.spawn(position=self.random.uniform(-SIZE, SIZE, 2), name=name, is_bot=is_bot)

    def balance_bots(self) -> None:
        """Add or remove bots, so that there are RUNNERS_MIN runners or only players."""
        bots = [runner for runner in self.runners if runner.is_bot]
        wanted = max(0, RUNNERS_MIN - sum(not runner.is_bot for runner in self.runners))
        for bot in bots[wanted:]:
            bot.despawn()
        for number in range(len(bots), wanted):
            self.spawn(f"bot {number + 1}", is_bot=True)

    def kick_idle(self) -> None:
        for player in self.players.values():
            if self.clock.now_s - self.idle_since_s[player.id] > IDLE_S:
                player.kick("you have not moved for a while")

    @command(rate_per_s=1.0, burst=3)
    def emote(self, player: Player, emote: Literal["wave", "laugh", "taunt"]) -> None:
        self.broadcast(Emoted(player.entity.id, emote), except_=player)

    # -- rounds ---------------------------------------------------------------------------------------------

    def begin(self, phase: Phase, seconds: float | None = None) -> None:
        self.phase: Phase = phase
        self.phase_ends_s = None if seconds is None else self.clock.now_s + seconds
        self.label(phase=phase)
        self.broadcast(PhaseChanged(phase, self.phase_ends_s))

    def start_countdown(self) -> None:
        if len(self.players) < PLAYERS_MIN:
            self.begin("lobby")
            return
        self.begin("countdown", COUNTDOWN_S)
        self.clock.after(COUNTDOWN_S, self.start_round)

    def start_round(self) -> None:
        self.round += 1
        self.runners.score[:] = 0
        self.begin("running", ROUND_S)
        self.clock.after(ROUND_S, self.end_round)

    def end_round(self) -> None:
        best = sorted(self.runners, key=lambda runner: -runner.score)
        self.broadcast(RoundEnded([(runner.name, runner.score) for runner in best]))
        self.runners.is_it[:] = False
        self.begin("results", RESULTS_S)
        self.clock.after(RESULTS_S, self.start_countdown)
        players = sorted(self.players.values(), key=lambda player: -player.entity.score)
        prizes = dict(zip([player.id for player in players], PRIZES, strict=False))
        moves = [move for player_id, coins in prizes.items() for move in grant(player_id, "coins", coins)]
        # The id of this room is new, because it is not durable, so no other round ever has the same key.
        self.transact(Transaction(tuple(moves), reply=prizes, key=f"{self.room_id}/round {self.round}"), self.paid)

    def paid(self, outcome: TransactionOutcome) -> None:
        if outcome.refused:
            return
        for player_id, coins in outcome.transaction.reply.items():
            if player_id in self.players:
                self.players[player_id].send(Paid(coins))

    def give_points(self) -> None:
        if self.phase == "running":
            self.runners.score += ~self.runners.is_it

    # -- running --------------------------------------------------------------------------------------------

    def on_inputs(self, inputs: InputBatch[RunnerInput]) -> None:
        rows, given = inputs.of(self.runners)
        self.runners.direction_x[rows], self.runners.direction_y[rows] = given.x, given.y
        for player, is_moving in zip(inputs.players, (given.x != 0) | (given.y != 0), strict=True):
            if is_moving:
                self.idle_since_s[player.id] = self.clock.now_s

    def on_tick(self, dt: float) -> None:
        runners = self.runners
        self.steer_bots()
        direction = np.column_stack((runners.direction_x, runners.direction_y))
        direction /= np.maximum(1.0, np.linalg.norm(direction, axis=1, keepdims=True))
        runners.position += direction * np.where(runners.is_it, IT_SPEED, SPEED)[:, None] * dt
        np.clip(runners.position, -SIZE, SIZE, out=runners.position)
        if self.phase == "running":
            self.tag()

    def steer_bots(self) -> None:
        """Let bots run away from "it"; the one that is it runs after the nearest runner."""
        runners = self.runners
        for row in np.flatnonzero(runners.is_bot):
            others = np.flatnonzero(runners.is_it != runners.is_it[row])
            if others.size:
                away = runners.position[row] - runners.position[others]
                nearest = away[np.argmin(np.linalg.norm(away, axis=1))]
                direction = -nearest if runners.is_it[row] else nearest
                runners.direction_x[row], runners.direction_y[row] = direction

    def tag(self) -> None:
        """Make the nearest runner in reach of "it" the next one, or a random runner if "it" has left."""
        runners = self.runners
        if not runners.is_it.any():
            self.make_it(self.random.choice(runners.ids))
        (it,) = np.flatnonzero(runners.is_it)
        distance = np.linalg.norm(runners.position - runners.position[it], axis=1)
        distance[it] = np.inf
        if self.clock.now_s >= self.safe_until_s and distance.min() < REACH:
            self.make_it(runners.ids[np.argmin(distance)])

    def make_it(self, id: int) -> None:
        """Make one runner "it". It cannot catch others for a moment, so that they can run away."""
        self.runners.is_it[:] = self.runners.ids == id
        self.safe_until_s = self.clock.now_s + SAFE_S


ROOMS = [Tag]
