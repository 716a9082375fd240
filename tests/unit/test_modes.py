"""Settings of queues and Redis: each mistake is reported in one sentence before the shard starts."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.harness.sample_rooms import Duel
from tickwire.matchmaking.queue import Mode, Rules
from tickwire.server.assembly import create_matchmaker
from tickwire.server.config import RedisSettings
from tickwire.server.errors import ConfigError
from tickwire.server.game_modules import load_modes


def offered(monkeypatch: pytest.MonkeyPatch, *found: Mode) -> list[tuple[Mode, int]]:
    module = ModuleType("a_game")
    module.MODES = list(found)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_game", module)
    return load_modes(["a_game"], {"duel": Duel})


def test_mode_has_the_seats_of_its_room_type(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode("versus", Rules(room_type="duel"))
    assert offered(monkeypatch, mode) == [(mode, 2)]
    assert load_modes(["tests.harness.lightweight_clients"], {}) == [], "a module need not have any"


def test_two_modes_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode("versus", Rules(room_type="duel"))
    with pytest.raises(ConfigError, match="two modes"):
        offered(monkeypatch, mode, mode)


def test_mode_of_an_unknown_room_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'chess'"):
        offered(monkeypatch, Mode("versus", Rules(room_type="chess")))


def test_mode_with_more_players_than_seats_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="requires 4 seats"):
        offered(monkeypatch, Mode("versus", Rules(room_type="duel", teams=2, team_size=2)))


def test_a_mode_with_another_skill_function_or_default_is_refused() -> None:
    rules = Rules(room_type="duel")
    with pytest.raises(ValueError, match=r"the skill_of of mode 'versus' is called with \(request\): missing"):
        Mode("versus", rules, skill_of=lambda player_id, options: 0.0)  # type: ignore[arg-type, misc]
    with pytest.raises(ValueError, match="the default_skill of mode 'versus' must be -1e"):
        Mode("versus", rules, default_skill=float("nan"))


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "redis+sentinel://x"])
def test_invalid_redis_url_is_reported_with_its_key(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url"):
        create_matchmaker(RedisSettings(url=url))
