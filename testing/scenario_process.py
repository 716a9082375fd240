"""Runs a scenario in a process of its own, in which the hashes of strings and the addresses of objects differ.

python -m tickwire.testing.scenario_process REQUEST    reads a file with the request, prints nothing, and
                                                       writes the record of the run into the same folder
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import msgspec

from tickwire.testing.scenario_record import ScenarioRecord, record_run

TIMEOUT_S = 300.0
"""The time limit of a process: a run with details is some times slower than a test of a minute."""


class ScenarioId(msgspec.Struct, frozen=True):
    """A scenario that another process can find.

    Args:
        module: the name of its module.
        name: its name in the module.
        seed: the seed of the run.
    """

    module: str
    name: str
    seed: int

    @classmethod
    def of(cls, scenario: Callable[..., object], seed: int) -> Self:
        """Return the id of a function of a module.

        Raises:
            ValueError: the function cannot be imported by its name.
        """
        module, name = getattr(scenario, "__module__", ""), getattr(scenario, "__qualname__", "")
        if not module or module == "__main__" or getattr(sys.modules.get(module), name, None) is not scenario:
            raise ValueError(
                f"check_determinism: {name or scenario!r} must be a function of a module, so that another process "
                "can import it; or pass other_process=False"
            )
        return cls(module, name, seed)


class ProcessRequest(msgspec.Struct, frozen=True):
    """The request to another process.

    Args:
        scenario: the scenario; None if the process is started otherwise, as pytest.
        position: the index of the tick whose details are recorded; None to record no details.
        path: the import path of this process.
    """

    scenario: ScenarioId | None
    position: int | None
    path: Sequence[str] = ()


def record_in_process(scenario: ScenarioId, position: int | None, hash_seed: int) -> ScenarioRecord:
    """Record a run of a scenario in another process.

    Raises:
        ValueError: the process has failed.
    """
    command = [sys.executable, "-m", "tickwire.testing.scenario_process"]
    return run_process(command, ProcessRequest(scenario, position, sys.path), hash_seed)


def run_process(command: Sequence[str], request: ProcessRequest, hash_seed: int) -> ScenarioRecord:
    """Start a process with the path of the request as its last argument, and return the record that it writes.

    Raises:
        ValueError: the process has failed.
    """
    with tempfile.TemporaryDirectory(prefix="tickwire-") as folder:
        path = Path(folder) / "request"
        path.write_bytes(msgspec.msgpack.encode(request))
        environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(request.path)}
        done = subprocess.run(
            [*command, str(path)], env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        written = path.with_suffix(".record")
        if not written.exists():
            raise ValueError(f"the run in another process has failed:\n{(done.stdout + done.stderr)[-4000:]}")
        return msgspec.msgpack.decode(written.read_bytes(), type=ScenarioRecord)


def answer_request(path: Path, get_call: Callable[[ProcessRequest], Callable[[], Any]]) -> None:
    """Record a run as a request says, and write the record into the same folder."""
    request = msgspec.msgpack.decode(path.read_bytes(), type=ProcessRequest)
    record = record_run(get_call(request), request.position)
    path.with_suffix(".record").write_bytes(msgspec.msgpack.encode(record))


def _find_scenario(request: ProcessRequest) -> Callable[[], Any]:
    scenario = request.scenario
    assert scenario is not None
    function = getattr(import_module(scenario.module), scenario.name)
    return lambda: function(scenario.seed)


if __name__ == "__main__":
    answer_request(Path(sys.argv[1]), _find_scenario)
