"""Builds the native kernel of the codec. It is optional: without a compiler the Python code does the same.

TICKWIRE_NO_NATIVE=1 builds a wheel without it.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup

PARTS = (
    "_kernel",
    "_kernel_arrays",
    "_kernel_decode",
    "_kernel_encode",
    "_kernel_quantise",
    "_kernel_receive",
    "_kernel_seats",
    "_kernel_send",
    "_kernel_send_state",
)
FOLDER = "tickwire/schemas"

# The limited API: one binary for CPython 3.11 and newer. Builds without the interpreter lock do not have it yet.
has_limited_api = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
is_wanted = has_limited_api and os.environ.get("TICKWIRE_NO_NATIVE", "0") in ("", "0")

kernel = Extension(
    "tickwire.schemas._kernel",
    sources=[f"{FOLDER}/{part}.c" for part in PARTS],
    depends=[f"{FOLDER}/_kernel.h", f"{FOLDER}/_kernel_seats.h"],
    # No contraction: a fused multiply-add would round differently from numpy.
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"],
    libraries=["m"],
    py_limited_api=True,
    optional=True,
)

setup(
    ext_modules=[kernel] if is_wanted else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if is_wanted else {},
)
