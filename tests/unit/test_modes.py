"""What a shard is told of its queues and its Redis: mistakes are sentences, told before it starts."""

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


def test_a_modes_room_has_its_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode("versus", Rules(room_type="duel"))
    assert offered(monkeypatch, mode) == [(mode, 2)]
    assert load_modes(["tests.harness.lightweight_clients"], {}) == [], "a module need not have any"


def test_two_modes_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode("versus", Rules(room_type="duel"))
    with pytest.raises(ConfigError, match="two modes"):
        offered(monkeypatch, mode, mode)


def test_a_mode_of_a_room_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'chess'"):
        offered(monkeypatch, Mode("versus", Rules(room_type="chess")))


def test_a_mode_for_which_its_room_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="requires 4 seats"):
        offered(monkeypatch, Mode("versus", Rules(room_type="duel", teams=2, team_size=2)))


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "redis+sentinel://x"])
def test_a_url_that_is_no_redis_is_a_sentence_that_names_its_key(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url"):
        create_matchmaker(RedisSettings(url=url))
