"""arena: ships that thrust, turn and shoot. 50 seats, 20 ticks per second.

A named room is durable: its best scores are saved. `on_tick` moves all entities at once with numpy; only rare events,
such as shots and hits, are handled in loops. A bullet starts at the time that its pilot saw, so that the latency
of the network does not matter; see *Lag compensation* in docs/state.md.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from tickwire import (
    Event,
    Input,
    InputBatch,
    Player,
    Room,
    SaveData,
    Table,
    Tuning,
    angle,
    boolean,
    command,
    local,
    real,
    uint,
)
from tickwire.matchmaking import Mode, Rules

SIZE = 500.0
BULLET_SPEED = 150.0
BULLET_S = 1.5
HIT_RADIUS = 12.0
SCORES_KEPT = 10


class Ships(Table):
    """The ships of the players."""

    x = real(-SIZE, SIZE, step=1 / 32)
    y = real(-SIZE, SIZE, step=1 / 32)
    heading = angle(bits=8)
    hp = uint(bits=7)
    score = uint(bits=16)
    speed = local(np.float32)
    turn = local(np.float32)
    thrust = local(np.float32)
    reload_s = local(np.float32)
    is_firing = local(np.bool_)
    respawn_tick = local(np.int64)


class Bullets(Table):
    """The bullets in flight."""

    x = real(-SIZE, SIZE, step=1 / 32)
    y = real(-SIZE, SIZE, step=1 / 32)
    vx = local(np.float32)
    vy = local(np.float32)
    left_s = local(np.float32)
    owner = local(np.int64)


class Pace(Tuning, frozen=True):
    """The values that operators may change while the room runs."""

    ship_speed_max: Annotated[float, Meta(gt=0, le=200)] = 60.0
    damage: Annotated[int, Meta(ge=1, le=100)] = 20


class ArenaSave(SaveData):
    """The best scores. Player names are stored as values, because a store does not accept every text as a key."""

    best: list[tuple[str, int]] = []


class ShipInput(Input):
    """The input of a pilot."""

    thrust = real(-1, 1, step=1 / 64)
    turn = real(-1, 1, step=1 / 64)
    fire = boolean()


class PilotOptions(msgspec.Struct):
    """The options of a Join."""

    name: Annotated[str, Meta(max_length=16)] = "pilot"


class Named(Event):
    """A pilot has joined."""

    id: int
    name: str


class Said(Event):
    """A pilot has sent a chat line."""

    name: str
    words: str


class Scored(Event):
    """A pilot has shot another one down."""

    name: str
    score: int


class Arena(Room):
    """A free-for-all."""

    room_type = "arena"
    max_players = 50
    durable = True
    save_type = ArenaSave
    tuning_type = Pace
    input_type = ShipInput
    events = (Named, Said, Scored)
    history_s = 0.25
    history = {"ships": ("x", "y")}
    ships: Ships
    bullets: Bullets

    def on_create(self, options: object) -> None:
        self.best: dict[str, int] = {}

    def restore(self, saved: ArenaSave) -> None:
        """Restore the scores, keep the ships of players who may resume, and despawn bullets and other ships."""
        self.best = dict(saved.best)
        flown = {player.find_entity() for player in self.players.values()}
        for entity in (*self.ships, *self.bullets):
            if entity not in flown:
                entity.despawn()

    def save(self) -> ArenaSave:
        return ArenaSave(list(self.best.items()))

    def on_join(self, player: Player, options: PilotOptions) -> None:
        player.data["name"] = options.name
        x, y = self.random.uniform(-SIZE * 0.9, SIZE * 0.9, 2)
        player.entity = self.ships.spawn(x=x, y=y, heading=self.random.uniform(0, 6.28), hp=100)
        self.broadcast(Named(player.entity.id, options.name))

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_inputs(self, inputs: InputBatch[ShipInput]) -> None:
        rows, pilots = inputs.of(self.ships)
        self.ships.thrust[rows] = pilots.thrust
        self.ships.turn[rows] = pilots.turn
        self.ships.is_firing[rows] = pilots.fire

    # -- commands -------------------------------------------------------------------------------------------

    @command
    def scores(self, player: Player) -> dict[str, int]:
        """Return the best scores by name."""
        return self.best

    @command
    def names(self, player: Player) -> dict[str, str]:
        """Return the names of all pilots by the id of their ship."""
        return {str(other.entity.id): other.data["name"] for other in self.players.values()}

    @command(rate_per_s=1.0, burst=10)
    def say(self, player: Player, words: Annotated[str, Meta(min_length=1, max_length=200)]) -> None:
        """Send a chat line to all pilots."""
        self.broadcast(Said(player.data["name"], words))

    # -- flying and shooting --------------------------------------------------------------------------------

    def on_tick(self, dt: float) -> None:
        self._fly(dt)
        self._shoot(dt)
        self._hit()

    def _fly(self, dt: float) -> None:
        ships = self.ships
        ships.heading += ships.turn * np.float32(3.0 * dt)
        ships.speed += (ships.thrust * self.tuning.ship_speed_max - ships.speed) * np.float32(2.0 * dt)
        ships.x += np.cos(ships.heading) * ships.speed * np.float32(dt)
        ships.y += np.sin(ships.heading) * ships.speed * np.float32(dt)
        np.clip(ships.x, -SIZE, SIZE, out=ships.x)
        np.clip(ships.y, -SIZE, SIZE, out=ships.y)
        ships.reload_s -= np.float32(dt)

    def _shoot(self, dt: float) -> None:
        ships, bullets = self.ships, self.bullets
        bullets.x += bullets.vx * np.float32(dt)
        bullets.y += bullets.vy * np.float32(dt)
        bullets.left_s -= np.float32(dt)
        for row in np.flatnonzero((bullets.left_s <= 0) | (np.abs(bullets.x) > SIZE) | (np.abs(bullets.y) > SIZE)):
            bullets.despawn(int(bullets.ids[row]))
        for row in np.flatnonzero(ships.is_firing & (ships.reload_s <= 0)):
            ships.reload_s[row] = 0.5
            if (pilot := self._find_pilot(int(ships.ids[row]))) is not None:
                self._fire(pilot, dt)

    def _fire(self, pilot: Player, dt: float) -> None:
        """Fire a bullet at the ships that the pilot saw, and move it from that time to the present."""
        ship = pilot.entity
        start_x, start_y, heading = float(ship.x), float(ship.y), float(ship.heading)
        vx, vy = BULLET_SPEED * math.cos(heading), BULLET_SPEED * math.sin(heading)
        seen = self.rewind(pilot)
        for past in seen.later():
            flown_s = (past.tick - seen.tick) * dt
            x, y = start_x + vx * flown_s, start_y + vy * flown_s
            distance = np.hypot(past.ships.x - x, past.ships.y - y)
            for id in past.ships.ids[distance < HIT_RADIUS].tolist():
                if id != ship.id and id in self.ships and self.ships[id].respawn_tick <= past.tick:
                    self._damage(id, by=ship.id)
                    return
        flown_s = (self.tick - seen.tick) * dt
        x, y = start_x + vx * flown_s, start_y + vy * flown_s
        if max(abs(x), abs(y)) <= SIZE:
            self.bullets.spawn(x=x, y=y, vx=vx, vy=vy, left_s=BULLET_S - flown_s, owner=ship.id)

    def _hit(self) -> None:
        ships, bullets = self.ships, self.bullets
        if not len(ships) or not len(bullets):
            return
        distance = np.hypot(bullets.x[:, None] - ships.x, bullets.y[:, None] - ships.y)
        hits = (distance < HIT_RADIUS) & (bullets.owner[:, None] != ships.ids) & (bullets.left_s > 0)[:, None]
        for bullet in np.flatnonzero(hits.any(axis=1)):
            bullets.despawn(int(bullets.ids[bullet]))
            target = int(np.argmax(hits[bullet]))  # one bullet hits one ship
            self._damage(int(ships.ids[target]), by=int(bullets.owner[bullet]))

    def _damage(self, ship_id: int, *, by: int) -> None:
        ship = self.ships[ship_id]
        ship.hp = max(0, ship.hp - self.tuning.damage)
        if ship.hp == 0:
            self._score(by)
            ship.hp, ship.respawn_tick = 100, self.tick
            ship.x, ship.y = self.random.uniform(-SIZE * 0.9, SIZE * 0.9, 2)

    def _find_pilot(self, ship_id: int) -> Player | None:
        return next((player for player in self.players.values() if player.entity.id == ship_id), None)

    def _score(self, ship_id: int) -> None:
        if (pilot := self._find_pilot(ship_id)) is not None:
            pilot.entity.score += 1
            name = pilot.data["name"]
            self.best[name] = max(self.best.get(name, 0), pilot.entity.score)
            self.best = dict(sorted(self.best.items(), key=lambda entry: -entry[1])[:SCORES_KEPT])
            self.broadcast(Scored(name, pilot.entity.score))


ROOMS = {"arena": Arena}
MODES = [
    Mode("skirmish", Rules(room_type="arena", teams=1, team_size=8, players_min=2, fill_after_s=5.0, backfill=True))
]
