"""Small, deterministic rooms for tests; `Garden` raises on request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from tickwire import (
    CommandRefused,
    Input,
    Player,
    Room,
    SaveData,
    Table,
    Transaction,
    Tuning,
    blob,
    boolean,
    command,
    grant,
    local,
    real,
    transfer,
    uint,
)
from tickwire.matchmaking.queue import Mode, Rules, SkillRequest


class Strollers(Table):
    """Players."""

    x = real(-1000, 1000, step=1 / 16)
    speed = local(np.float32)


class Flowers(Table):
    """Flowers that players have planted."""

    x = real(-1000, 1000, step=1 / 16)
    colour = uint(bits=8)


class GardenSave(SaveData):
    planted: int = 0


class GardenTuning(Tuning, frozen=True):
    greeting: str = "hello"


class StrollInput(Input):
    dx = real(-1, 1, step=1 / 64)
    is_bad = boolean()


class GardenOptions(msgspec.Struct):
    is_bad: bool = False
    is_bad_join: bool = False
    is_stranger: bool = False


class Garden(Room):
    """Players walk and plant; a garden with a name is durable."""

    room_type = "garden"
    max_players = 4
    durable = True
    save_type = GardenSave
    tuning_type = GardenTuning
    empty_timeout_s = 1.0
    checksum_ticks = 5
    input_type = StrollInput
    walkers: Strollers
    flowers: Flowers

    def on_create(self, options: GardenOptions) -> None:
        self.total = 0
        if options.is_bad:
            raise RuntimeError("requested failure in on_create")

    def restore(self, saved: GardenSave) -> None:
        self.total = saved.planted
        theirs = {player.find_entity() for player in self.players.values()}
        for walker in self.walkers:
            if walker not in theirs:
                walker.despawn()

    def save(self) -> GardenSave:
        return GardenSave(self.total)

    def on_join(self, player: Player, options: GardenOptions) -> None:
        if options.is_bad_join:
            raise RuntimeError("requested failure in on_join")
        if options.is_stranger:
            raise CommandRefused("members only")
        player.entity = self.walkers.spawn(x=0.0)
        self.broadcast("came", player.id)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_input(self, player: Player, input: StrollInput) -> None:
        if input.is_bad:
            raise RuntimeError("requested failure in on_input")
        player.entity.x += input.dx

    def on_tuned(self) -> None:
        self.broadcast("tuned")

    @command
    def plant(self, player: Player, x: float, count: Annotated[int, Meta(ge=1, le=9)] = 1) -> int:
        """Plant flowers, and return the id of the last one."""
        for _ in range(count):
            self.total += 1
            flower = self.flowers.spawn(x=x, colour=self.total % 256)
        return int(flower.id)

    @command(rate_per_s=1.0, burst=2)
    def water(self, player: Player) -> int:
        return self.tick

    @command
    def planted(self, player: Player) -> int:
        return self.total

    @command
    def greeting(self, player: Player) -> str:
        return str(self.tuning.greeting)

    @command
    def fail(self, player: Player) -> None:
        raise RuntimeError("requested failure in a command")


class Duel(Garden):
    """Two seats."""

    room_type = "duel"
    max_players = 2
    durable = False


class Diary(Garden):
    """A garden that records the calls of its hooks."""

    room_type = "diary"
    durable = False

    def on_create(self, options: GardenOptions) -> None:
        super().on_create(options)
        self.runs: list[int] = []
        self.noted: list[str] = []

    def on_join(self, player: Player, options: GardenOptions) -> None:
        super().on_join(player, options)
        self.noted.append("join")

    def on_disconnect(self, player: Player) -> None:
        self.noted.append("disconnect")

    def on_resume(self, player: Player) -> None:
        self.noted.append("resume")

    def on_leave(self, player: Player) -> None:
        super().on_leave(player)
        self.noted.append("leave")

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        """Record the command; `say` also sends the payload back as an event, `times` times."""
        self.runs.append(payload)
        if name == "say":
            for _ in range(payload["times"]):
                player.send("said", payload["what"])
        return [payload, len(self.runs)]


def skill_of(request: SkillRequest) -> float:
    """Return the skill from the options of the request."""
    return float(request.options.get("skill", 0.0))


class Dots(Table):
    """Entities that move in every tick, each in its own way."""

    x = real(-1000, 1000, step=1 / 16)


class PulseInput(Input):
    dx = real(-1, 1, step=1 / 64)


class Pulse(Room):
    """A room for hundreds of players with a large delta in every tick."""

    room_type = "pulse"
    max_players = 600
    checksum_ticks = 5
    input_type = PulseInput
    dots: Dots

    def on_create(self, options: Mapping[str, Any]) -> None:
        for _ in range(options.get("dots", 300)):
            self.dots.spawn(x=0.0)

    def on_tick(self, dt: float) -> None:
        self.dots.x += self.random.uniform(-20, 20, len(self.dots))

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        return payload


class Clocks(Table):
    """The number of ticks of the world."""

    ticks = uint(bits=32)


class Estate(Room):
    """A durable room whose players earn."""

    room_type = "estate"
    durable = True
    uses_ledger = True
    clocks: Clocks

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.clocks.spawn()

    def on_tick(self, dt: float) -> None:
        self.clocks.ticks += 1

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        return Transaction(grant(player.id, "gold"), reply=1) if name == "work" else dict(player.holdings)


class StallOffer(SaveData):
    giver: str
    gold: int


class StallSave(SaveData):
    offers: list[StallOffer] = []
    visits: int = 0


class Stall(Room):
    """A durable room that saves the offers of its players without checks."""

    room_type = "stall"
    durable = True
    save_type = StallSave

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.kept = StallSave()

    def restore(self, saved: StallSave) -> None:
        self.kept = saved

    def save(self) -> StallSave:
        return self.kept

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "offer":
                self.kept.offers = [*self.kept.offers, StallOffer(player.id, payload)]
            case "visit":
                self.kept.visits = payload
            case "team":
                player.team = payload
        return {"offers": [offer.gold for offer in self.kept.offers], "visits": self.kept.visits}


class VaultSave(SaveData):
    kept: Any = None


def nested(depth: int) -> Any:
    """Return lists nested to this depth."""
    made: Any = 1
    for _ in range(depth):
        made = [made]
    return made


class Vault(Room):
    """A durable room that keeps any payload, and sets any attribute on request."""

    room_type = "vault"
    durable = True
    uses_ledger = True
    save_type = VaultSave

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.kept: Any = None

    def restore(self, saved: VaultSave) -> None:
        self.kept = saved.kept

    def save(self) -> VaultSave:
        return VaultSave(self.kept)

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "keep":
                self.kept = payload
            case "keep nested":
                self.kept = nested(payload)
            case "keep nested in the profile":
                return Transaction(profile={"kept": nested(payload)})
            case "keep in the profile":
                return Transaction(profile={"kept": payload})
            case "spoil":
                setattr(self, *payload)
            case "spoil me":
                setattr(player, *payload)
        return name


class Bank(Room):
    """A room with rules that depend on profiles, on holdings, and on its own attributes."""

    room_type = "bank"
    uses_ledger = True
    empty_timeout_s = 60.0

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.visitors: set[str] = set()
        self.shown: Counter[str] = Counter()

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "claim":
                self._refuse_if(bool(player.profile.get("claimed")))
                return Transaction(grant(player.id, "gold", 100), profile={**player.profile, "claimed": True})
            case "count":
                return Transaction(profile={**player.profile, "count": player.profile.get("count", 0) + 1})
            case "sword":
                self._refuse_if("sword" in player.holdings)
                return Transaction(grant(player.id, "sword"))
            case "visit":
                self._refuse_if(player.id in self.visitors)
                return Transaction(grant(player.id, "gold", 100))
            case "alms":
                self._refuse_if(self.players[payload].holdings.get("gold", 0) >= 5)
                return Transaction(grant(payload, "gold", 5))
            case "work":
                return Transaction(grant(player.id, "gold", 10))
            case "pay":
                return Transaction(transfer(player.id, payload["to"], "gold", payload["amount"]))
            case "under a key":
                moves = grant(payload.get("to", player.id), "gold", payload.get("amount", 1))
                return Transaction(moves, reply="paid", key=payload["key"])
        return {**player.holdings, **player.profile}

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        self.shown[name] += 1
        if name == "visit":
            self.visitors.add(player.id)

    def _refuse_if(self, has_it_already: bool) -> None:
        if has_it_already:
            raise CommandRefused("once is enough")


class Heavy(Room):
    """A room whose ticks block the event loop."""

    room_type = "heavy"

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.stall_s = options.get("stall_s", 0.3)

    def on_tick(self, dt: float) -> None:
        time.sleep(self.stall_s)


class Crates(Table):
    """Large things."""

    goods = blob(bytes_max=1024)


class Warehouse(Room):
    """A room with state and replies of the requested size."""

    room_type = "warehouse"
    crates: Crates

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "fill":
                for _ in range(payload):
                    self.crates.spawn(goods=self.random.bytes(1024))
            case "answer":
                return bytes(payload)
            case "tell":
                self.broadcast("told", bytes(payload))
        return name


MODES = [
    Mode("versus", Rules(room_type="duel", teams=2, team_size=1, skill_window=100), skill_of=skill_of),
    Mode("pairs", Rules(room_type="duel", teams=1, team_size=2, timeout_s=2.0)),
    Mode("trios", Rules(room_type="garden", teams=1, team_size=3)),
    Mode("team", Rules(room_type="garden", teams=2, team_size=2, players_min=2, fill_after_s=0.2, backfill=True)),
]
ROOMS = {room.room_type: room for room in (Bank, Diary, Duel, Estate, Garden, Heavy, Pulse, Stall, Vault, Warehouse)}
