"""arena: ships that thrust, turn and shoot. 50 seats, 20 ticks per second.

A named room is durable: its best scores are saved. `on_tick` moves all entities at once with numpy; only rare events,
such as shots and hits, are handled in loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from tickwire import (
    CommandRefused,
    Input,
    InputBatch,
    Player,
    Room,
    SaveData,
    Table,
    Tuning,
    angle,
    boolean,
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
WORDS_MAX = 200
LINES_AT_ONCE = 10
LINES_PER_S = 1.0


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


class Arena(Room):
    """A free-for-all."""

    room_type = "arena"
    max_players = 50
    durable = True
    save_type = ArenaSave
    tuning_type = Pace
    input_type = ShipInput
    ships: Ships
    bullets: Bullets

    def on_create(self, options: Mapping[str, Any]) -> None:
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

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.data["name"] = str(options.get("name", "pilot"))[:16]
        x, y = self.random.uniform(-SIZE * 0.9, SIZE * 0.9, 2)
        player.entity = self.ships.spawn(x=x, y=y, heading=self.random.uniform(0, 6.28), hp=100)
        self.broadcast("named", {"id": player.entity.id, "name": player.data["name"]})

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_inputs(self, inputs: InputBatch[ShipInput]) -> None:
        rows, pilots = inputs.of(self.ships)
        self.ships.thrust[rows] = pilots.thrust
        self.ships.turn[rows] = pilots.turn
        self.ships.is_firing[rows] = pilots.fire

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "scores":
                return self.best
            case "names":
                return {str(other.entity.id): other.data["name"] for other in self.players.values()}
            case "say" if isinstance(payload, str) and 0 < len(payload) <= WORDS_MAX:
                self._charge_line(player)
                self.broadcast("said", {"name": player.data["name"], "words": payload})
                return None
        raise CommandRefused(f"unknown command {name!r}")

    def _charge_line(self, player: Player) -> None:
        """Limit the chat lines of one player: LINES_AT_ONCE at once, then LINES_PER_S per second."""
        lines, tick = player.data.get("lines", (LINES_AT_ONCE, self.tick))
        lines = min(LINES_AT_ONCE, lines + (self.tick - tick) / self.tick_rate_hz * LINES_PER_S)
        if lines < 1:
            raise CommandRefused("too many chat lines; wait a moment")
        player.data["lines"] = [lines - 1, self.tick]

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
            heading = float(ships.heading[row])
            vx, vy = BULLET_SPEED * np.cos(heading), BULLET_SPEED * np.sin(heading)
            bullets.spawn(x=ships.x[row], y=ships.y[row], vx=vx, vy=vy, left_s=BULLET_S, owner=int(ships.ids[row]))
            ships.reload_s[row] = 0.5

    def _hit(self) -> None:
        ships, bullets = self.ships, self.bullets
        if not len(ships) or not len(bullets):
            return
        distance = np.hypot(bullets.x[:, None] - ships.x, bullets.y[:, None] - ships.y)
        hits = (distance < HIT_RADIUS) & (bullets.owner[:, None] != ships.ids) & (bullets.left_s > 0)[:, None]
        for bullet in np.flatnonzero(hits.any(axis=1)):
            ship = int(np.argmax(hits[bullet]))  # one bullet hits one ship
            bullets.despawn(int(bullets.ids[bullet]))
            ships.hp[ship] = max(0, ships.hp[ship] - self.tuning.damage)
            if ships.hp[ship] == 0:
                self._score(int(bullets.owner[bullet]))
                ships.hp[ship] = 100
                ships.x[ship], ships.y[ship] = self.random.uniform(-SIZE * 0.9, SIZE * 0.9, 2)

    def _score(self, ship_id: int) -> None:
        for player in self.players.values():
            if player.entity.id == ship_id:
                player.entity.score += 1
                name = player.data["name"]
                self.best[name] = max(self.best.get(name, 0), player.entity.score)
                self.best = dict(sorted(self.best.items(), key=lambda entry: -entry[1])[:SCORES_KEPT])
                self.broadcast("scored", {"name": name, "score": player.entity.score})


ROOMS = {"arena": Arena}
MODES = [
    Mode("skirmish", Rules(room_type="arena", teams=1, team_size=8, players_min=2, fill_after_s=5.0, backfill=True))
]
