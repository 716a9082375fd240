"""Every setting refuses every bad value with one line that names its key. The cases come from the declarations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin, get_type_hints

import msgspec
import pytest

from tickwire.server.config import Settings, load
from tickwire.server.errors import ConfigError
from tickwire.server.setting_types import base_type, bounds

LINE_CHARACTERS_MAX = 400
KEY = "0123456789abcdef0123456789abcdef"


class Setting(NamedTuple):
    """One leaf of the settings."""

    key: str
    kind: Any
    default: Any

    @property
    def variable(self) -> str:
        return f"TICKWIRE__{self.key.replace('.', '__').upper()}"

    def toml(self, text: str) -> str:
        """Return a file that sets this key to a TOML value."""
        section, _, name = self.key.rpartition(".")
        return f"[{section}]\n{name} = {text}\n" if section else f"{name} = {text}\n"


def settings_in(section: type[Any], where: str = "") -> Iterator[Setting]:
    defaults = section()
    for name, kind in get_type_hints(section, include_extras=True).items():
        if name not in section.__struct_fields__:
            continue
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from settings_in(kind, f"{where}{name}.")
        else:
            yield Setting(f"{where}{name}", kind, getattr(defaults, name))


SETTINGS = list(settings_in(Settings))
NUMBERS = [setting for setting in SETTINGS if base_type(setting.kind) in (int, float)]
TEXTS = [setting for setting in SETTINGS if base_type(setting.kind) is str]
ANY_TYPE = ("2024-01-01", "{ a = 1 }", "[[1]]")
NUMBER_TOML = (
    "nan",
    "inf",
    "-inf",
    "true",
    '"5"',
    '""',
    "-1",
    "99999999999999999999",
    "1" + "0" * 400,
    "1979-05-27T07:32:00Z",
)
NUMBER_TEXTS = ("", "5\r", " 5 5", "5s", "nan", "inf", "-inf", "-1", "1e999", "0x", "\u0665", "\ufeff5", "\udc80")
TEXT_TOML = (
    "3",
    "true",
    "1.5",
    '["a"]',
    r'"a\u0000b"',
    r'"a\nb"',
    r'"a\u001b[31mb"',
    r'"\ufeffa"',
    '"' + "a" * 10_000 + '"',
)
TEXT_TEXTS = ("a\r", "a\x1b[2J", "a\udc80", "a" * 10_000, " ")


def bad_toml(setting: Setting) -> Iterator[str]:
    base, meta = base_type(setting.kind), bounds(setting.kind)
    if base in (int, float):
        yield from (*NUMBER_TOML, *ANY_TYPE, str(meta.le + 1))
        yield str(meta.ge - 1 if meta.ge is not None else meta.gt)
        if base is int:
            yield "1.5"
    elif base is bool:
        yield from ("1", "0", '"yes"', '""', *ANY_TYPE)
    elif base is str:
        yield from (*TEXT_TOML, *ANY_TYPE)
    elif get_origin(base) is Literal:
        yield from ('"xml"', '""', "1", *ANY_TYPE)
    elif get_origin(base) is list:
        yield from ('"a"', "3", "[3]", "{ a = 1 }", r'["a\nb"]', r'[" "]', '["' + "a" * 10_000 + '"]')
    else:
        yield from ('"a"', "3", "[3]", "2024-01-01")


def bad_texts(setting: Setting) -> Iterator[str]:
    base = base_type(setting.kind)
    if base in (int, float):
        yield from NUMBER_TEXTS
    elif base is bool or get_origin(base) is Literal:
        yield from ("", "maybe", "true\r", "2", "\udc80")
    elif base is str:
        yield from TEXT_TEXTS
    else:
        yield from ("a\r\nb", "a\x1b[2J", "\udc80", "a" * 10_000)


def value_of(settings: Settings, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)


def problems_of(path: Path | None, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(path, environ)
    return str(raised.value).splitlines()


def assert_one_line(setting: Setting, lines: list[str]) -> None:
    (line,) = lines
    key, _, words = line.partition(": ")
    assert key == setting.key
    assert words.startswith(("must be ", "must not ")), line
    assert len(line) <= LINE_CHARACTERS_MAX
    assert line.isprintable()


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.key)
def test_every_number_has_two_bounds_and_its_default_is_within(setting: Setting) -> None:
    meta = bounds(setting.kind)
    assert meta.le is not None
    assert (meta.ge is None) != (meta.gt is None)
    assert msgspec.convert(setting.default, setting.kind) == setting.default


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_invalid_value_in_a_file_is_reported_in_one_line_with_its_key(setting: Setting, tmp_path: Path) -> None:
    path = tmp_path / "tickwire.toml"
    for text in bad_toml(setting):
        path.write_text(setting.toml(text), encoding="utf-8")
        assert_one_line(setting, problems_of(path, {}))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_invalid_value_in_the_environment_is_reported_in_one_line_with_its_key(setting: Setting) -> None:
    for text in bad_texts(setting):
        lines = problems_of(None, {setting.variable: text})
        if setting.key == "rooms" or not lines[0].startswith(f"{setting.key}: must be a list of "):
            assert_one_line(setting, lines)


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.key)
def test_inclusive_bounds_are_accepted(setting: Setting) -> None:
    """It may contradict another setting, which the line then names."""
    meta = bounds(setting.kind)
    for bound in [meta.le] if meta.ge is None else [meta.ge, meta.le]:
        try:
            settings = load(None, {setting.variable: str(bound)})
        except ConfigError as error:
            settings, named = None, [other.key for other in SETTINGS if other.key in str(error)]
        if settings is None:
            assert len(named) > 1
        else:
            assert value_of(settings, setting.key) == bound


@pytest.mark.parametrize("key", ["drain_timeout_s", "traces.sample_ratio", "auth.leeway_s"])
def test_zero_is_accepted_where_the_documentation_defines_its_meaning(key: str) -> None:
    settings = load(None, {f"TICKWIRE__{key.replace('.', '__').upper()}": "0"})
    assert value_of(settings, key) == 0


@pytest.mark.parametrize(
    "data",
    [
        b'\xef\xbb\xbf[listen]\nport = 7000\nurl = "ws://a"\n',
        b'[listen]\r\nport = 7000\r\nurl = "ws://a"\r\n',
        b'\xef\xbb\xbf# a file of an editor on Windows\r\n[listen]\r\nport = 7000\r\nurl = "ws://a"\r\n',
    ],
)
def test_a_file_with_a_byte_order_mark_or_with_crlf_is_read(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tickwire.toml"
    path.write_bytes(data)
    assert (load(path, {}).listen.port, load(path, {}).listen.url) == (7000, "ws://a")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("[listen]\nport = 7000\n".encode("utf-16"), "save the file as UTF-8"),
        (b"\xff\xfe", "save the file as UTF-8"),
        (b"\x00\x01\x02", "is not TOML"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
        (b"a = 1" + b"0" * 10_000, "is not TOML"),
        (b"a = 2024-99-99", "is not TOML"),
        (b"[listen]\n[listen]\n", "is not TOML"),
        (b"# " + b"x" * (1 << 20), "must be at most 1048576 bytes long"),
    ],
    ids=["utf-16", "no utf-8", "binary", "nested", "huge number", "no date", "twice", "huge"],
)
def test_invalid_toml_is_reported_in_one_line(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tickwire.toml"
    path.write_bytes(data)
    (line,) = problems_of(path, {})
    assert line.startswith(f"{path}: ")
    assert words in line


def test_endless_file_is_refused() -> None:
    (line,) = problems_of(Path("/dev/zero"), {})
    assert line == "/dev/zero: must be at most 1048576 bytes long"


@pytest.mark.parametrize(
    "key", ["a\nb", "\x1b[31mred", "k" * 10_000, "\u202egnp", ""], ids=["lines", "colour", "long", "bidi", "empty"]
)
def test_hostile_key_is_reported_in_one_printable_line(key: str, tmp_path: Path) -> None:
    path = tmp_path / "tickwire.toml"
    path.write_text(f"{msgspec.json.encode(key).decode()} = 1\n", encoding="utf-8")
    (line,) = problems_of(path, {})
    assert "unknown key" in line
    assert line.isprintable()
    assert len(line) <= LINE_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"TICKWIRE__LISTEN": "x", "TICKWIRE__LISTEN__PORT": "80"},
            "listen: must be a table; got 'x'",
        ),
        ({"TICKWIRE__LISTEN__PROT": "80"}, "listen.prot: unknown key; did you mean listen.port?"),
        ({"TICKWIRE__": "80"}, ": unknown key"),
        (
            {"TICKWIRE_LISTEN__PORT": "80"},
            "TICKWIRE_LISTEN__PORT: the name of a setting begins with TICKWIRE__, with two _",
        ),
    ],
)
def test_variable_with_a_typing_mistake_is_reported(environ: dict[str, str], line: str) -> None:
    assert problems_of(None, environ) == [line]


def test_service_variables_of_kubernetes_are_not_settings() -> None:
    environ = {
        "TICKWIRE_PORT": "tcp://10.0.0.1:80",
        "TICKWIRE_SERVICE_HOST": "10.0.0.1",
        "TICKWIRE_PORT_80_TCP_PORT": "80",
    }
    assert load(None, environ) == Settings()


CONTRADICTIONS: dict[str, dict[str, str]] = {
    "operations.port": {"OPERATIONS__PORT": "8080"},
    "tickets.current": {"TICKETS__CURRENT": "a"},
    "listen.certificate": {"LISTEN__KEY": "key.pem"},
    "listen.key": {"LISTEN__CERTIFICATE": "certificate.pem"},
    "listen.plaintext": {"LISTEN__KEY": "k", "LISTEN__CERTIFICATE": "c", "LISTEN__PLAINTEXT": "true"},
    "listen.url": {"LISTEN__KEY": "k", "LISTEN__CERTIFICATE": "c", "LISTEN__URL": "ws://a"},
    "edge.admission_timeout_s": {"EDGE__ADMISSION_TIMEOUT_S": "5", "EDGE__HANDSHAKE_TIMEOUT_S": "5"},
    "edge.inputs_per_second_max": {"EDGE__INPUTS_PER_SECOND_MAX": "121"},
    "edge.message_bytes_max": {"EDGE__MESSAGE_BYTES_MAX": "65537"},
    "edge.proxy_protocol": {"EDGE__PROXY_PROTOCOL": "true"},
    "edge.origins": {"EDGE__ORIGINS": "game.example"},
    "edge.trusted_proxies": {"EDGE__TRUSTED_PROXIES": "10.0.0.1/8"},
    "mongo.database": {"MONGO__DATABASE": "admin"},
    "redis.deadline_s": {"REDIS__DEADLINE_S": "11"},
    "auth.guests": {"AUTH__GUESTS": "false"},
    "auth.algorithms": {"AUTH__ALGORITHMS": "none"},
    "auth.jwks_url": {"AUTH__JWKS_URL": "http://keys.example/jwks"},
    "auth.jwks_deadline_s": {"AUTH__JWKS_DEADLINE_S": "3", "AUTH__JWKS_REFRESH_S": "3"},
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_contradicting_settings_are_reported_in_one_line(key: str) -> None:
    lines = problems_of(None, {f"TICKWIRE__{name}": text for name, text in CONTRADICTIONS[key].items()})
    (line,) = [line for line in lines if line.startswith(f"{key}: must ")]
    assert len(lines) == 1, lines
    assert line.isprintable()


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("mongo.database", ["a b", "", "a.b", "a/b", "$a", "a" * 64, "\u00fc"]),
        ("redis.namespace", ["", "a b", "{a}", "a" * 65]),
        ("redis.url", ["", "redis://", "http://redis", "redis://a b", "redis"]),
        ("mongo.url", ["", "mongodb://", "http://mongo", "mongodb://a b"]),
        ("listen.host", ["", "a b", "ws://a", "a:80", "[::1]"]),
        ("operations.host", ["", "a b", "http://a"]),
        ("listen.url", ["http://a", "ws://", "a:80", "wss://a b"]),
        ("traces.endpoint", ["collector:4318", "grpc://a", "http://"]),
        ("auth.jwks_url", ["keys.example", "ftp://a"]),
        ("auth.player_claim", [""]),
        ("region", ["a b", "a" * 65]),
        ("build", ["a b", "a" * 129]),
        ("rooms", ["", ",", "a b", "a/b", ".a", "a.", "examples/arena.py"]),
        ("auth.secret", ["short"]),
        ("operations.token", ["short"]),
    ],
)
def test_text_with_an_invalid_format_is_refused(key: str, bad: list[str]) -> None:
    (setting,) = [setting for setting in SETTINGS if setting.key == key]
    for text in bad:
        assert_one_line(setting, problems_of(None, {setting.variable: text}))


def test_formats_accept_the_values_of_deployments() -> None:
    environ = {
        "REDIS__URL": "rediss+sentinel://user:p%40ss@a:26379,b:26379/mymaster/0?sentinel_password=x",
        "MONGO__URL": "mongodb+srv://user:p%40ss@cluster.example/?retryWrites=true&w=majority",
        "MONGO__DATABASE": "game-eu_1",
        "LISTEN__HOST": "::",
        "LISTEN__URL": "wss://play.example/s/a/0/",
        "OPERATIONS__HOST": "0.0.0.0",
        "TRACES__ENDPOINT": "http://collector.tracing.svc:4318/v1/traces",
        "BUILD": "registry.example/game:1.4.0@sha256:abc",
        "ROOMS": "mygame.rooms, mygame.lobby",
        "EDGE__ORIGINS": "https://*.game.example,null",
        "TICKETS__CURRENT": "a",
        "TICKETS__KEYS__A": KEY,
    }
    settings = load(None, {f"TICKWIRE__{name}": text for name, text in environ.items()})
    assert settings.rooms == ["mygame.rooms", "mygame.lobby"]


def test_line_break_at_the_end_of_a_secret_is_reported_without_the_secret() -> None:
    for name in ("AUTH__SECRET", "OPERATIONS__TOKEN", "TICKETS__KEYS__A"):
        lines = problems_of(None, {f"TICKWIRE__{name}": f"{KEY}\n"})
        assert any("such as a line break at its end" in line for line in lines), lines
        assert KEY not in "".join(lines)
