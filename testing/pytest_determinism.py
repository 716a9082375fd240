"""The option `--tickwire-determinism`: runs a test that has passed again, and compares its rooms tick by tick.

The test runs once more in this process, with the same fixtures, and in two processes of pytest of its own in which
strings have other hashes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tickwire.testing.determinism import compare_runs
from tickwire.testing.scenario_process import ProcessRequest, answer_request, run_process
from tickwire.testing.scenario_record import ScenarioRecord

_PLUGIN = "tickwire.testing.pytest_plugin"
_WITHOUT = ("no:randomly",)
"""Plugins that the other process does not need. pytest accepts the names of plugins that are not installed."""


def check(item: pytest.Function) -> None:
    """Compare runs of a test; or record one, in a process that `_record_elsewhere` has started.

    Raises:
        NotDeterministic: two runs differ.
        ValueError: the other process has failed.
    """
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    call: Callable[[], Any] = partial(item.obj, **arguments)
    request = item.config.option.tickwire_record_run
    if request is None:
        compare_runs(call, partial(_record_elsewhere, item))
    else:
        answer_request(request, lambda _: call)


def _record_elsewhere(item: pytest.Function, position: int | None, hash_seed: int) -> ScenarioRecord:
    """Record the test in another process of pytest."""
    with tempfile.TemporaryDirectory(prefix="tickwire-") as folder:
        command = _create_command(item, folder)
        return run_process(command, ProcessRequest(None, position, sys.path), hash_seed)


def _create_command(item: pytest.Function, folder: str) -> list[str]:
    """Return the command that runs one test, with a folder for the cache of pytest."""
    option, root = item.config.option, item.config.rootpath
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(root)]
    if item.config.pluginmanager.has_plugin(_PLUGIN):  # loaded with -p; otherwise the entry point loads it
        command += ["-p", _PLUGIN]
    for plugin in _WITHOUT:
        command += ["-p", plugin]
    # the plugins stay, because the project's `addopts` may have their options
    if item.config.pluginmanager.has_plugin("xdist"):
        command += ["-n", "0"]
    if item.config.pluginmanager.has_plugin("cacheprovider"):
        command += ["-o", f"cache_dir={folder}"]
    else:
        command += ["-p", "no:cacheprovider"]
    if item.config.inipath is not None:
        command += ["-c", str(item.config.inipath)]
    for name in ("seed", "seeds"):
        if (value := getattr(option, f"tickwire_{name}")) is not None:
            command += [f"--tickwire-{name}", str(value)]
    return [*command, str(root / item.nodeid), "--tickwire-record-run"]
