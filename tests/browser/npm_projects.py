"""Empty npm projects that install the packed SDK, and the programs with which applications build and check it.

The programs are installed once per machine into `.tickwire/`, with the versions of package_tools/package.json. The
projects find them in a `node_modules` above their own, so that a project itself has what its `npm install` has
installed, and nothing else. The folder of the programs must therefore not contain the dependencies of the SDK."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.browser.conftest import require

ROOT = Path(__file__).parents[2]
SDK = ROOT / "web" / "sdk"
VERSIONS = Path(__file__).parent / "package_tools" / "package.json"
SILENT_NPM = {"npm_config_update_notifier": "false", "npm_config_package_lock": "false"}
NPM_INSTALL = ("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--silent")
"""Packages come from npm's cache on this machine if they are there."""


def npm_environment() -> dict[str, str]:
    return {**os.environ, **SILENT_NPM}


def run(command: Sequence[str], folder: Path) -> str:
    """Run a program to its end, and return its output; its failure fails the test with the output."""
    done = subprocess.run(
        list(command), cwd=folder, env=npm_environment(), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


class Project(msgspec.Struct, frozen=True):
    """A project of an application in an empty folder.

    Attributes:
        folder: the folder of its package.json.
        tools: the folder with the executables of the programs.
        package: the packed SDK.
    """

    folder: Path
    tools: Path
    package: Path

    def write(self, files: dict[str, str]) -> None:
        """Write source files."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of the programs to its end in the project, and return its output."""
        return run([str(self.tools / program), *arguments], self.folder)

    def check_types(self, *files: str, module: str = "node16", resolution: str = "node16") -> None:
        """Compile files, in which each mistake must have a line `@ts-expect-error` above it.

        The compiler also checks the declarations of the package, and has no types of Node.
        """
        options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom,dom.iterable"]
        self.run("../typescript-7/bin/tsc", *options, "--module", module, "--moduleResolution", resolution, *files)

    def check_project(self) -> None:
        """Compile the files that tsconfig.json names."""
        self.run("../typescript-7/bin/tsc", "-p", "tsconfig.json")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder: the workers of pytest-xdist install programs once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def package_tools() -> Path:
    """The `node_modules` of the pinned programs. Skips the tests if they cannot be installed, except in CI."""
    key = hashlib.sha256(VERSIONS.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".tickwire" / f"package-tools-{key}"
    with _locked(folder):
        if not (folder / "installed").exists():
            shutil.copy(VERSIONS, folder / "package.json")
            done = subprocess.run(
                NPM_INSTALL,
                cwd=folder,
                env=npm_environment(),
                capture_output=True,
                text=True,
                timeout=220,
                check=False,
            )
            require(not done.returncode, f"the programs of applications cannot be installed: {done.stderr[-300:]}")
            (folder / "installed").touch()
    return folder / "node_modules"


@pytest.fixture(scope="session")
def package(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball that `npm pack` makes of the built SDK.

    It is made of a copy, because the step before packing writes a file next to the sources."""
    copy = tmp_path_factory.mktemp("pack")
    shutil.copy(ROOT / "LICENSE", copy)
    sdk = copy / "web" / "sdk"
    shutil.copytree(SDK, sdk, ignore=shutil.ignore_patterns("node_modules"))
    run(["npm", "pack", "--silent", "--pack-destination", str(copy)], sdk)
    (tarball,) = copy.glob("tickwire-*.tgz")
    return tarball


@pytest.fixture(scope="session")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project that has installed the packed SDK; tests use copies of it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{ "private": true, "type": "module" }')
    run([*NPM_INSTALL, str(package)], folder)
    return folder


@pytest.fixture
def project(installed: Path, package: Path, package_tools: Path, tmp_path: Path) -> Project:
    """A project that has installed the packed SDK."""
    folder = tmp_path / "application" / "project"
    shutil.copytree(installed, folder)
    (folder.parent / "node_modules").symlink_to(package_tools)
    return Project(folder, package_tools / ".bin", package)
