"""Freed memory is kept: the next tensor of its size costs no page faults."""

import os
import platform
import subprocess
import sys

import pytest

from probes import freed

CODE = """
import resource, sys
import numpy as np
from probes import freed

kept = sys.argv[1] == "keep" and freed.keep()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    [np.ones(1 << 20) for _ in range(10)]
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(mode, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in freed.TYPED}
    done = subprocess.run(
        [sys.executable, "-c", CODE, mode],
        env=clean | {"NUMPY_MADVISE_HUGEPAGE": "0"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_next_tensor_of_its_size_costs_no_page_faults():
    kept, few = run("keep")
    _, many = run("leave")

    assert kept
    assert few < many / 5


def test_what_the_environment_says_stays():
    assert run("keep", MALLOC_TRIM_THRESHOLD_="100000")[0] is False
