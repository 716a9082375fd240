"""Finds or obtains a Godot 4 that runs without a display, for the tests of the GDScript client.

In this order: the program in TICKWIRE_GODOT, `godot` or `godot4` on PATH, and the one that this module has unpacked.
`make godot` unpacks it: Debian's unstable release has Godot with all libraries that it needs, and runs on machines
whose own libraries are older. apt downloads the packages with a configuration of its own, into a folder of the user's
cache; nothing is installed, and no root is needed. The program is started through the loader of that folder.

Imports nothing but the standard library, because CI runs it before the packages of the project are installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "TICKWIRE_GODOT"
SUITE = "sid"
VERSION_MIN = (4, 5)
"""The client runs on 4.3; the tests use Logger, which 4.5 has."""
DOWNLOAD_S_MAX = 600
START_S_MAX = 60
APT_FOLDERS = Path("/etc/apt")
_UNUSED = ("usr/share", "var", "usr/lib/systemd")
_SETTINGS = """\
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/suite.sources";
Dir::Etc::sourceparts "{folder}/none";
Dir::Etc::preferences "{folder}/no-preferences";
Dir::Etc::preferencesparts "{folder}/none";
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Post-Invoke "";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class GodotMissing(Exception):
    """No Godot can be started; the message is the reason."""


def cache_folder() -> Path:
    """Return the folder with the unpacked program."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tickwire" / "godot"


def find_godot() -> list[str]:
    """Return the command that starts Godot without a display.

    Raises:
        GodotMissing: there is none that starts and is new enough.
    """
    if named := os.environ.get(VARIABLE):
        return _checked([named])
    reasons = []
    for name in ("godot", "godot4"):
        if found := shutil.which(name):
            try:
                return _checked([found])
            except GodotMissing as error:
                reasons.append(str(error))
    try:
        return _checked_unpacked()
    except GodotMissing as error:
        reasons.append(f"{error}: set {VARIABLE} to the path of Godot, or run `make godot`")
        raise GodotMissing("; ".join(reasons)) from error


def obtain_godot() -> list[str]:
    """Return the command that starts Godot; download it if this machine has none that starts.

    Raises:
        GodotMissing: it cannot be had here.
    """
    try:
        return find_godot()
    except GodotMissing:
        if os.environ.get(VARIABLE):
            raise
    folder = cache_folder()
    with _locked(folder):
        try:
            return _checked_unpacked()  # another process has unpacked it
        except GodotMissing:
            _unpack(folder)
    return _checked_unpacked()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checked(command: list[str]) -> list[str]:
    command = [*command, "--headless"]
    try:
        result = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=False, timeout=START_S_MAX
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GodotMissing(f"{command[0]} does not start: {error}") from error
    version = re.search(r"^(\d+)\.(\d+)", result.stdout, re.MULTILINE)
    if result.returncode or not version:
        raise GodotMissing(f"{command[0]} does not start: {(result.stderr or result.stdout).strip()[-500:]}")
    if (int(version[1]), int(version[2])) < VERSION_MIN:
        raise GodotMissing(f"{command[0]} is Godot {version[0]}; the tests need {'.'.join(map(str, VERSION_MIN))}")
    return command


def _checked_unpacked() -> list[str]:
    return _checked(_unpacked_command(cache_folder() / "root"))


def _unpacked_command(root: Path) -> list[str]:
    loaders = sorted(root.glob("usr/lib/*/ld-linux*.so.*"))
    if not loaders:
        raise GodotMissing(f"{root} has no Godot")
    libraries = loaders[0].parent
    folders = [libraries, *sorted({path.parent for path in libraries.glob("*/*.so*")})]
    return [str(loaders[0]), "--library-path", ":".join(map(str, folders)), str(root / "usr/bin/godot")]


# -- download -----------------------------------------------------------------------------------------------


def _unpack(folder: Path) -> None:
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise GodotMissing(f"Godot cannot be downloaded: this machine has no {program}")
    apt, root = folder / "apt", folder / "unpacked"
    for old in (apt, root):
        shutil.rmtree(old, ignore_errors=True)
    for name in ("state/lists/partial", "cache/archives/partial", "none"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "suite.sources").write_text(_sources())
    (apt / "apt.conf").write_text(_SETTINGS.format(folder=apt))
    _run_apt(apt, "update")
    _run_apt(apt, "install", "--yes", "--download-only", "godot")
    root.mkdir()
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        _run("dpkg-deb --extract", ["dpkg-deb", "--extract", str(package), str(root)])
    for name in _UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.rmtree(apt)
    _checked(_unpacked_command(root))
    shutil.rmtree(folder / "root", ignore_errors=True)  # one that does not start
    root.rename(folder / "root")


def _run_apt(folder: Path, *arguments: str) -> None:
    # Without this option, apt-get update succeeds although a list cannot be downloaded.
    command = ["apt-get", "--quiet", "--quiet", "--option", "APT::Update::Error-Mode=any", *arguments]
    _run(f"apt-get {arguments[0]}", command, APT_CONFIG=str(folder / "apt.conf"))


def _run(name: str, command: list[str], **variables: str) -> None:
    environment = os.environ | {"LC_ALL": "C"} | variables
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=DOWNLOAD_S_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise GodotMissing(f"{name} took more than {DOWNLOAD_S_MAX} s") from error
    if result.returncode:
        raise GodotMissing(f"{name} failed: {(result.stderr or result.stdout).strip()[-500:]}")


def _sources() -> str:
    """Return the machine's own entry for its Debian release, with the unstable suite instead.

    Raises:
        GodotMissing: this machine is not a Debian, or its sources are not known.
    """
    release = platform.freedesktop_os_release()
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not codename:
        raise GodotMissing("Godot can be downloaded on Debian only")
    for path in sorted(APT_FOLDERS.glob("sources.list.d/*.sources")):
        for entry in path.read_text().split("\n\n"):
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", entry, re.MULTILINE))
            if codename in fields.get("Suites", "").split() and "main" in fields.get("Components", "").split():
                fields |= {"Types": "deb", "Suites": SUITE, "Components": "main"}
                return "".join(f"{name}: {value}\n" for name, value in fields.items())
    for path in [APT_FOLDERS / "sources.list", *sorted(APT_FOLDERS.glob("sources.list.d/*.list"))]:
        text = path.read_text() if path.exists() else ""
        if line := re.search(rf"^deb(?: \[.*?\])? (\S+) {codename} .*\bmain\b", text, re.MULTILINE):
            keys = re.search(r"signed-by=(\S+?)[\s\]]", line[0])
            signed_by = f"Signed-By: {keys[1]}\n" if keys else ""
            return f"Types: deb\nURIs: {line[1]}\nSuites: {SUITE}\nComponents: main\n{signed_by}"
    raise GodotMissing(f"the sources of apt have no entry for {codename}")


def main() -> int:
    """Obtain Godot, and print the command that starts it."""
    try:
        print(*obtain_godot())
    except GodotMissing as error:
        print(f"Godot is not available: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
