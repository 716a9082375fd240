"""Fuzzes the native kernel under sanitizers: `python -m tests.fuzz.kernel --seconds 60`; needs a C compiler.

The kernel is compiled with the address and undefined-behaviour sanitizers into a folder of its own. A child process
preloads the sanitizers' run-time library and loads this kernel. It runs the comparisons of test_kernel.py,
test_send_state.py and test_push_input.py in tests/property, with new seeds until the time is over. A difference or a
report of a sanitizer ends the run.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "schemas"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
FOLDER_VARIABLE = "TICKWIRE_FUZZ_KERNEL"


def build(folder: Path) -> Path:
    """Compile the kernel with sanitizers; return the sanitizer's run-time library."""
    include = sysconfig.get_paths()["include"]
    sources = [str(source) for source in sorted(SOURCES.glob("_kernel*.c"))]
    command = ["cc", "-std=c11", "-shared", "-fPIC", *SANITIZE, f"-I{include}", *sources, "-lm"]
    subprocess.run([*command, "-o", str(folder / "_kernel.abi3.so")], check=True)
    printed = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    return Path(printed.stdout.strip())


def run_child(folder: Path, library: Path, seconds: float) -> int:
    """Run the comparison in a process with the sanitizers; return its exit status."""
    environ = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter frees little at its end
        "PYTHONMALLOC": "malloc",  # so that the sanitizer sees the bounds of every buffer
        FOLDER_VARIABLE: str(folder),
    }
    command = [sys.executable, "-m", "tests.fuzz.kernel", "--seconds", str(seconds)]
    return subprocess.run(command, env=environ, check=False).returncode


def compare(seconds: float) -> int:
    """Compare both implementations for a time; return the number of cases."""
    from hypothesis import HealthCheck, seed, settings

    from tests.harness.socket_subscriber import PairConnection
    from tests.property import test_kernel as properties
    from tests.property import test_push_input as inputs
    from tests.property import test_send_state as plays
    from tests.unit import test_send_state as sends
    from tests.unit import test_write_batch as batches
    from tickwire.schemas import _kernel, kernel

    assert kernel.is_native, kernel.reason
    assert str(_kernel.__file__).startswith(os.environ[FOLDER_VARIABLE]), _kernel.__file__
    quiet = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    named = [
        test for part in (properties, plays, inputs) for name, test in vars(part).items() if name.startswith("test_")
    ]
    tests = [quiet(test) for test in named if hasattr(test, "hypothesis")]
    properties.test_the_kernel_rejects_arrays_of_other_shapes_and_types()
    properties.test_the_kernel_rejects_another_head()
    batches.test_the_kernel_rejects_other_arguments()
    for room in (plays.Street, inputs.Fan):
        inputs.test_a_seat_that_changes_while_its_input_is_created_is_read_again(room)
    batches.test_transport_buffers_the_bytes_that_a_full_socket_does_not_accept(
        [batches.BatchConnection() for _ in range(3)]
    )
    for name, test in vars(sends).items():
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["pairs"]:
            pairs = [PairConnection() for _ in range(3)]
            test(pairs)
            for pair in pairs:
                pair.close()
    sends.test_seats_in_cycles_are_collected()
    inputs.test_other_messages_seats_and_arguments_are_left_alone()
    for predictor, parameter in itertools.product(range(4), range(64)):
        properties.test_every_width_of_every_predictor_has_an_equal_result(predictor, parameter)
    started, cases, number = time.monotonic(), 0, time.time_ns()
    while time.monotonic() - started < seconds:
        for test in tests:
            number += 1
            print(f"{test.__name__}, seed {number}", flush=True)
            seed(number)(test)()
            cases += 100
    return cases


def main() -> None:
    """Build and start the child process; or be it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kernel")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    if folder := os.environ.get(FOLDER_VARIABLE):
        import tickwire.schemas

        tickwire.schemas.__path__.insert(0, folder)
        print(f"{compare(seconds)} cases, no difference")
        return
    with tempfile.TemporaryDirectory() as name:
        library = build(Path(name))
        sys.exit(run_child(Path(name), library, seconds))


if __name__ == "__main__":
    main()
