"""Every command with wrong arguments: one sentence for each problem, a documented exit code, never a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tickwire.schemas import kernel
from tickwire.server.cli.app import app
from tickwire.server.observability import logs
from tickwire.server.process import EXIT_FAILED, EXIT_USAGE

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SECRET = "a secret of at least thirty-two characters"
LONG = "a" * 10_000


def run(*arguments: str, given: str = "", **environ: str) -> Result:
    """Run a command in this process, without stores: nothing listens where the settings say."""
    base = {
        "TICKWIRE__REDIS__URL": "redis://127.0.0.1:1/0",
        "TICKWIRE__REDIS__DEADLINE_S": "0.5",
        "TICKWIRE__MONGO__URL": "mongodb://127.0.0.1:1/?directConnection=true",
        "TICKWIRE__MONGO__DEADLINE_S": "0.3",
        "TICKWIRE__LISTEN__PLAINTEXT": "true",
    }
    environ = {f"TICKWIRE__{name}": text for name, text in environ.items()}
    return CliRunner().invoke(app, arguments, input=given, env={**base, **environ})


def lines_of(result: Result) -> list[str]:
    return result.stderr.splitlines()


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Commands configure the log of the process: here that of all tests."""
    yield
    logs.configure(format="console", level="debug")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files that cannot be what a setting wants."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("not what is expected")
    (tmp_path / "no-keys.json").write_text('{"keys": []}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    return tmp_path


PROBLEMS: list[tuple[dict[str, str], str]] = [
    ({"ROOMS": "no.such.game"}, "rooms: the module 'no' cannot be found"),
    ({"ROOMS": "client.core"}, "rooms: the module 'client.core' has no ROOMS"),
    ({"LISTEN__PLAINTEXT": "false"}, "listen.certificate: is not set"),
    (
        {"LISTEN__PLAINTEXT": "false", "LISTEN__CERTIFICATE": "nowhere.pem", "LISTEN__KEY": "nowhere.pem"},
        "listen.certificate: nowhere.pem with the key nowhere.pem cannot be used: [Errno 2] No such file",
    ),
    (
        {"LISTEN__PLAINTEXT": "false", "LISTEN__CERTIFICATE": "{folder}/text", "LISTEN__KEY": "{folder}/text"},
        "listen.certificate: {folder}/text with the key {folder}/text cannot be used",
    ),
    ({"LISTEN__PAGES": "{folder}/nowhere"}, "listen.pages: must be a directory that exists; got {folder}/nowhere"),
    ({"OPERATIONS__CONSOLE": "{folder}/empty"}, "operations.console: must be a directory with an index.html; got"),
    ({"AUTH__JWKS_FILE": "{folder}/nowhere"}, "auth.jwks_file: {folder}/nowhere cannot be read: No such file"),
    ({"AUTH__JWKS_FILE": "{folder}/empty"}, "auth.jwks_file: {folder}/empty cannot be read: Is a directory"),
    ({"AUTH__JWKS_FILE": "{folder}/text"}, "auth.jwks_file: {folder}/text must be a JWKS"),
    ({"AUTH__JWKS_FILE": "{folder}/binary"}, "auth.jwks_file: {folder}/binary must be a JWKS"),
    ({"AUTH__JWKS_FILE": "{folder}/list.json"}, "auth.jwks_file: {folder}/list.json must be a JWKS"),
    ({"AUTH__JWKS_FILE": "{folder}/no-keys.json"}, "auth.jwks_file: {folder}/no-keys.json must"),
    ({"REDIS__URL": "redis://h/lobby"}, "redis.url: must end with the number of a database"),
    ({"REDIS__URL": "redis://h:port"}, "redis.url: must be a URL with a host and a port from 0 to 65535"),
    ({"REDIS__URL": "redis://h?colour=red"}, "redis.url: has an option that cannot be used"),
    (
        {"REDIS__URL": "rediss://h?ssl_ca_certs={folder}/nowhere"},
        "redis.url: ssl_ca_certs={folder}/nowhere cannot be",
    ),
    ({"REDIS__URL": "redis+sentinel://h"}, "redis.url: must be redis+sentinel://HOST:PORT"),
    ({"REDIS__URL": "redis+sentinel://h:x/m"}, "redis.url: must name each sentinel as HOST or HOST:PORT"),
    ({"REDIS__URL": "redis+sentinel://h/m?colour=red"}, "redis.url: has options that cannot be used with sentinels"),
    ({"REDIS__URL": "redis+cluster://h?colour=red"}, "redis.url: has an option that cannot be used"),
    (
        {"MONGO__URL": "mongodb://h:port"},
        "mongo.url: must be a MongoDB connection string: Port contains non-digit characters",
    ),
    (
        {"MONGO__URL": "mongodb://h/?tls=maybe"},
        "mongo.url: must be a MongoDB connection string: The value of tls must be",
    ),
    (
        {"MONGO__URL": "mongodb://h/?colour=red"},
        "mongo.url: must be a MongoDB connection string: Unknown option: colour",
    ),
    (
        {"MONGO__URL": "mongodb://h/?tls=true&tlsCAFile={folder}/nowhere"},
        "mongo.url: must be a MongoDB connection string: [Errno 2] No such file",
    ),
]


@pytest.mark.parametrize(("environ", "sentence"), PROBLEMS, ids=[sentence[:60] for _, sentence in PROBLEMS])
def test_check_reports_the_problems_that_would_stop_serve(
    environ: dict[str, str], sentence: str, folder: Path
) -> None:
    result = run("check", **{name: text.replace("{folder}", str(folder)) for name, text in environ.items()})
    assert result.exit_code == EXIT_USAGE
    (line,) = lines_of(result)
    assert line.startswith("tickwire: " + sentence.replace("{folder}", str(folder)))
    assert result.stdout.startswith("rooms = ["), "the settings are shown all the same"


def test_modules_without_rooms_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_game_without_rooms.py").write_text("ROOMS = {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = run("check", "--rooms", "a_game_without_rooms")
    assert result.exit_code == EXIT_USAGE
    words = "rooms: must name at least one module with rooms; the ROOMS of a_game_without_rooms are empty"
    assert lines_of(result) == [f"tickwire: {words}"]


def test_check_reports_all_problems_at_once() -> None:
    result = run("check", "--rooms", "no.such.game", REDIS__URL="redis://h/x", MONGO__URL="mongodb://h:x")
    assert [line.split(":")[1].strip() for line in lines_of(result)] == ["rooms", "mongo.url", "redis.url"]


def test_check_of_the_role_api_reports_all_problems_at_once(tmp_path: Path) -> None:
    environ = {"REDIS__URL": "redis://h/x", "MONGO__URL": "mongodb://h:x", "ACCOUNTS__SECRET": ""}
    result = run("check", "--role", "api", **environ)
    assert result.exit_code == EXIT_USAGE
    keys = [line.split(":")[1].strip() for line in lines_of(result)]
    assert keys == ["api.certificate", "mongo.url", "accounts.secret", "redis.url"]
    result = run("check", "--role", "api", API__PLAINTEXT="true", ACCOUNTS__SECRET="x" * 32, ROOMS="no.such.game")
    assert (result.exit_code, result.stderr) == (0, ""), "the role api runs no rooms"
    assert "x" * 32 not in result.stdout
    steam = {"ACCOUNTS__PROVIDERS__STEAM_APP_ID": "480", "ACCOUNTS__SECRET": "x" * 32}
    result = run("check", "--role", "api", API__PLAINTEXT="true", **steam)
    assert result.stderr.startswith("tickwire: accounts.providers.steam_key: must be set")
    assert run("check", **steam).exit_code == 0, "a shard does not need the key"


def test_check_of_valid_settings_prints_nothing_on_standard_error() -> None:
    result = run("check")
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("command", ["serve", "check", "dev"])
@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--port", "99999"], "listen.port"),
        (["--port", "-1"], "listen.port"),
        (["--rooms", ","], "rooms"),
        (["--rooms", "a b"], "rooms"),
        (["--rooms", "games/arena.py"], "rooms"),
        (["--config", "/nowhere/tickwire.toml"], "/nowhere/tickwire.toml"),
        (["--config", "/"], "/"),
    ],
)
def test_command_line_is_checked_like_the_settings(command: str, arguments: list[str], key: str) -> None:
    result = run(command, *arguments)
    assert result.exit_code == EXIT_USAGE
    (line,) = lines_of(result)
    assert line.startswith(f"tickwire: {key}: ")


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        ([], {"LISTEN__PORT": "65535"}, "listen.port: must be at most 65534 with 2 shards"),
        (
            [],
            {"OPERATIONS__PORT": "8081"},
            "operations.port: must be 2 or more from listen.port (8080) with 2 shards",
        ),
        ([], {"LISTEN__URL": "wss://play.example"}, "listen.url: must be empty with several shards"),
        (["--rooms", "no.such.game"], {}, "rooms: the module 'no' cannot be found"),
    ],
)
def test_settings_of_several_shards_are_checked_before_the_first_starts(
    arguments: list[str], environ: dict[str, str], sentence: str
) -> None:
    result = run("serve", "--shards", "2", *arguments, **environ)
    assert result.exit_code == EXIT_USAGE
    (line,) = lines_of(result)
    assert line.startswith(f"tickwire: {sentence}")


WRONG: list[tuple[list[str], int]] = [
    ([], EXIT_USAGE),
    (["frobnicate"], EXIT_USAGE),
    (["serve", "--shards", "0"], EXIT_USAGE),
    (["serve", "--shards", "65"], EXIT_USAGE),
    (["serve", "--shards", "many"], EXIT_USAGE),
    (["serve", "--frob"], EXIT_USAGE),
    (["api", "--port", "70000"], EXIT_USAGE),
    (["api"], EXIT_USAGE),  # neither a certificate nor plaintext
    (["dev", "--bots", "-1"], EXIT_USAGE),
    (["dev", "--bots", "1001"], EXIT_USAGE),
    (["dev", "--data", "/proc/nowhere", "--bots", "0"], EXIT_FAILED),
    (["token"], EXIT_USAGE),
    (["token", ""], EXIT_USAGE),
    (["token", LONG], EXIT_USAGE),
    (["token", "a" * 129], EXIT_USAGE),
    (["token", "a\x1b[2J"], EXIT_USAGE),
    (["token", "a\udc80"], EXIT_USAGE),
    (["token", "ada", "--ttl-s", "0"], EXIT_USAGE),
    (["token", "ada", "--ttl-s", "-5"], EXIT_USAGE),
    (["token", "ada", "--ttl-s", "nan"], EXIT_USAGE),
    (["token", "ada", "--ttl-s", "inf"], EXIT_USAGE),
    (["token", "ada", "--ttl-s", "1e300"], EXIT_USAGE),
    (["token", "ada", "--ttl-s", "soon"], EXIT_USAGE),
    (["connect"], EXIT_USAGE),
    (["connect", ""], EXIT_USAGE),
    (["connect", "nonsense"], EXIT_USAGE),
    (["connect", "http://127.0.0.1:1"], EXIT_USAGE),
    (["connect", "ws://a b"], EXIT_USAGE),
    (["connect", "ws://["], EXIT_USAGE),
    (["connect", "ws://127.0.0.1:x"], EXIT_USAGE),
    (["connect", "ws://127.0.0.1:99999"], EXIT_USAGE),
    (["connect", "ws://127.0.0.1:1", "--timeout-s", "0"], EXIT_USAGE),
    (["connect", "ws://127.0.0.1:1", "--timeout-s", "1"], EXIT_FAILED),
    (["record"], EXIT_USAGE),
    (["record", ""], EXIT_USAGE),
    (["record", LONG], EXIT_USAGE),
    (["record", "room", "--last", "0"], EXIT_USAGE),
    (["record", "room", "--seconds", "nan"], EXIT_USAGE),
    (["record", "room", "--seconds", "3601"], EXIT_USAGE),
    (["record", "room", "--url", "http://127.0.0.1:1"], EXIT_FAILED),
    (["record", "room", "--url", "nonsense"], EXIT_FAILED),
    (["migrate-db"], EXIT_FAILED),
    (["migrate-db", "now"], EXIT_USAGE),
    (["export"], EXIT_USAGE),
    (["export", "world", ""], EXIT_USAGE),
    (["export", "world", "garden"], EXIT_USAGE),
    (["export", "thing", "a/b"], EXIT_USAGE),
    (["export", "player", "a\udc80"], EXIT_USAGE),
    (["export", "player", LONG], EXIT_USAGE),
    (["export", "world", "a/b"], EXIT_FAILED),
    (["export", "player", "a/../b?c=\u00fc"], EXIT_FAILED),
    (["import"], EXIT_USAGE),
    (["import", "/nowhere"], EXIT_USAGE),
    (["import", "/"], EXIT_USAGE),
    (["import", "-"], EXIT_FAILED),
    (["import", "{folder}/binary"], EXIT_FAILED),
    (["import", "{folder}/text"], EXIT_FAILED),
    (["import", "{folder}/list.json"], EXIT_FAILED),
    (["delete-player"], EXIT_USAGE),
    (["delete-player", ""], EXIT_USAGE),
    (["delete-player", "\n"], EXIT_USAGE),
    (["delete-player", "ada"], EXIT_FAILED),
    (["drain"], EXIT_USAGE),
    (["drain", ""], EXIT_USAGE),
    (["drain", LONG], EXIT_USAGE),
    (["drain", "a\udc80"], EXIT_USAGE),
    (["drain", "shard-1"], EXIT_FAILED),
    (["drain", "a/b c\u00fc"], EXIT_FAILED),
    (["bandwidth"], EXIT_FAILED),
    (["bandwidth", "a/../../v1/shard"], EXIT_FAILED),
    (["bandwidth", LONG], EXIT_FAILED),
    (["bandwidth", "--url", "nonsense"], EXIT_FAILED),
    (["bandwidth", "--url", "ftp://127.0.0.1:1"], EXIT_FAILED),
    (["bandwidth", "--url", "http://a b"], EXIT_FAILED),
    (["bandwidth", "--url", "http://127.0.0.1:1"], EXIT_FAILED),
    (["codegen"], EXIT_USAGE),
    (["codegen", "fortran"], EXIT_USAGE),
    (["codegen", "typescript"], EXIT_USAGE),
    (["codegen", "typescript", ""], EXIT_USAGE),
    (["codegen", "typescript", "no.such.game"], EXIT_USAGE),
    (["codegen", "typescript", "games/arena.py"], EXIT_USAGE),
    (["codegen", "typescript", "client.core"], EXIT_USAGE),
    (["codegen", "csharp"], EXIT_USAGE),
    (["codegen", "csharp", "no.such.game"], EXIT_USAGE),
    (["codegen", "csharp", "tickwire.examples.arena", "--namespace", "my game"], EXIT_USAGE),
    (["codegen", "gdscript"], EXIT_USAGE),
    (["codegen", "gdscript", "no.such.game"], EXIT_USAGE),
    (["codegen", "json"], EXIT_USAGE),
    (["codegen", "json", "no.such.game"], EXIT_USAGE),
    (["replay"], EXIT_USAGE),
    (["replay", "{folder}/missing.tickrec"], EXIT_FAILED),
    (["replay", "{folder}/missing.tickrec", "--serve"], EXIT_FAILED),
    (["replay", "{folder}/missing.tickrec", "--serve", "--port", "65536"], EXIT_USAGE),
    (["replay", "{folder}/missing.tickrec", "--at", "-1"], EXIT_USAGE),
    (["new"], EXIT_USAGE),
    (["new", "class"], EXIT_USAGE),
    (["new", "a/b"], EXIT_USAGE),
    (["version", "2"], EXIT_USAGE),
]


@pytest.mark.parametrize(("arguments", "code"), WRONG, ids=[" ".join(words)[:40] or "nothing" for words, _ in WRONG])
def test_invalid_arguments_return_a_sentence_and_an_exit_code(arguments: list[str], code: int, folder: Path) -> None:
    words = [word.replace("{folder}", str(folder)) for word in arguments]
    result = run(*words, AUTH__SECRET=SECRET)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.output.isascii() or "\x1b[2J" not in result.output
    if "Usage:" not in result.output:
        assert lines_of(result)
        assert all(line.startswith("tickwire: ") for line in lines_of(result))


def test_every_command_is_documented_and_tested_with_invalid_arguments() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        commands |= {f"{group.name} {command.name}" for command in group.typer_instance.registered_commands}
    tried = {" ".join(words[:count]) for words, _ in WRONG for count in (1, 2)}
    assert commands - tried == {"check"}
    for name in commands:
        assert f"`tickwire {name}" in OPERATIONS, name


def test_every_exit_code_is_documented() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \| ", OPERATIONS, re.MULTILINE)}
    assert rows == {0, EXIT_FAILED, EXIT_USAGE, 130, 143}


def test_a_config_file_with_windows_line_ends_and_a_byte_order_mark_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "tickwire.toml"
    path.write_bytes(b"\xef\xbb\xbf[listen]\r\nport = 7001\r\n")
    result = run("check", "--config", str(path))
    assert result.exit_code == 0
    assert "port=7001" in result.stdout


def test_the_environment_of_the_tests_has_no_settings() -> None:
    assert not [name for name in os.environ if name.startswith("TICKWIRE__")]


def test_version_names_the_implementation_of_the_codec() -> None:
    expected = "kernel: native" if kernel.is_native else f"kernel: python ({kernel.reason})"
    assert run("version").stdout.splitlines()[1] == expected


def test_the_environment_selects_the_python_implementation() -> None:
    environ = {**os.environ, "TICKWIRE_NO_NATIVE": "1"}
    command = [sys.executable, "-m", "tickwire", "version"]
    printed = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=60).stdout
    assert printed.splitlines()[1] == "kernel: python (TICKWIRE_NO_NATIVE is set)"


def test_a_kernel_of_an_earlier_build_is_not_used(tmp_path: Path) -> None:
    """An editable installation keeps the kernel that was built last, which may lack functions of newer sources."""
    (tmp_path / "_kernel.py").write_text("def encode_section(): ...\n")
    code = (
        "import sys, tickwire.schemas; tickwire.schemas.__path__.insert(0, sys.argv[1])\n"
        "from tickwire.schemas import kernel; print(kernel.is_native, kernel.reason)"
    )
    environ = {**os.environ, "TICKWIRE_NO_NATIVE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("False it cannot be loaded: "), done.stderr
    assert "_kernel' has no attribute" in done.stdout
