"""Every problem of the settings is one sentence that names its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickwire.server.config import Settings, load
from tickwire.server.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "tickwire.toml"
    path.write_text(text)
    return path


def test_defaults_apply_without_any_source() -> None:
    assert load(None, {"PATH": "/bin"}) == Settings()


def test_environment_overrides_file_and_file_overrides_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, '[listen]\nport = 7000\nhost = "0.0.0.0"\n[edge]\nconnections_max = 5\n')
    settings = load(path, {"TICKWIRE__LISTEN__PORT": "7001", "TICKWIRE__ROOMS": "a, b"})
    assert (settings.listen.port, settings.listen.host) == (7001, "0.0.0.0")
    assert settings.edge.connections_max == 5
    assert settings.rooms == ["a", "b"]


def test_all_problems_are_reported_at_once_each_with_its_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'colour = 1\nredis = 3\n[listen]\nprot = 8080\nport = "eighty"\n[edge]\nheartbeat_interval_s = -1\n'
        '[logging]\nformat = "xml"\n[tickets.keys]\na = "short"\n',
    )
    with pytest.raises(ConfigError) as raised:
        load(path, {"TICKWIRE__MONGO__DEADLINE_S": "soon"})
    lines = str(raised.value).splitlines()
    assert len(lines) == 8
    for beginning in (
        "colour: unknown key",
        "redis: must be a table; got 3",
        "listen.prot: unknown key; did you mean listen.port?",
        "listen.port: must be a whole number from 0 to 65535; got 'eighty'",
        "edge.heartbeat_interval_s: must be a number from 0.1 to 3600; got -1",
        "logging.format: must be one of auto, json, console; got 'xml'",
        "mongo.deadline_s: must be a number above 0 and at most 60; got 'soon'",
        "tickets.keys.a: must be a secret of at least 32 characters; got a value that is not shown",
    ):
        assert any(line.startswith(beginning) for line in lines), (beginning, lines)


def test_missing_file_and_invalid_toml_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nothing.toml", {})
    with pytest.raises(ConfigError, match="is not TOML"):
        load(written(tmp_path, "= ="), {})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[redis]\nurl = "redis://user:hunter2@redis:6379/0"\n[mongo]\nurl = "mongodb://u:hunter2@mongo"\n'
        '[tickets]\ncurrent = "a"\n[tickets.keys]\na = "hunter2 hunter2 hunter2 hunter2 hunter2"\n',
    )
    assert "hunter2" not in repr(load(path, {}))


def test_problems_do_not_show_secrets(tmp_path: Path) -> None:
    path = written(tmp_path, 'mongo = "mongodb://u:hunter2@mongo"\n[tickets]\nkeys = "hunter2"\n')
    environ = {"TICKWIRE__REDIS": "redis://redis/0?password=hunter2", "TICKWIRE__TICKETS__CURRENT__X": "hunter2"}
    with pytest.raises(ConfigError) as raised:
        load(path, environ)
    assert "hunter2" not in str(raised.value)
    for beginning in (
        "mongo: must be a table; got 'mongodb://***@mongo'",
        "redis: must be a table; got 'redis://redis/0?password=***'",
        "tickets.keys: must be a table of key ids and keys; got a value that is not shown",
        "tickets.current: must be a text; got a table",
    ):
        assert any(line.startswith(beginning) for line in str(raised.value).splitlines()), beginning


def test_limits_must_be_positive_and_finite(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "shutdown_timeout_s = 0\n[edge]\njoin_timeout_s = nan\nmessages_per_second_max = -1\n"
        "[redis]\nlease_s = 1.5\n[mongo]\ndeadline_s = inf\n",
    )
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    named = {line.split(":")[0] for line in str(raised.value).splitlines()}
    assert named == {
        "shutdown_timeout_s",
        "edge.join_timeout_s",
        "edge.messages_per_second_max",
        "redis.lease_s",
        "mongo.deadline_s",
    }


def test_ticket_keys_can_be_set_in_the_environment() -> None:
    key = "0123456789abcdef0123456789abcdef"
    settings = load(None, {"TICKWIRE__TICKETS__KEYS__A": key, "TICKWIRE__TICKETS__CURRENT": "a"})
    assert settings.tickets.keys == {"a": key}
    assert key not in repr(settings)
