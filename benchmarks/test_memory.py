"""How much anonymous memory sensitivity needs at most, eight scramblings of all units of the
study's checkpoints at 224 pixels.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("memory.py")


def peak_of(command):
    """The largest anonymous memory of a program, in bytes, looked at every 5 ms, and what it
    printed.
    """
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    status, peak = Path(f"/proc/{child.pid}/status"), 0
    while child.poll() is None:
        lines = status.read_text().splitlines()
        peak = max(
            peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0
        )
        time.sleep(0.005)
    assert child.returncode == 0
    return peak, child.stdout.read()


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="anonymous memory is read from /proc"
)
@pytest.mark.parametrize(
    ("net", "units", "limit"), [("alexnet", 205_672, 1.5), ("resnet18", 553_448, 2.2)]
)
@pytest.mark.parametrize("which", ["1", "2"])
def test_anonymous_memory(benchmark, net, units, limit, which):
    if benchmark.disabled:
        pytest.skip("memory needs --benchmark-enable")
    peak, told = benchmark.pedantic(
        peak_of, args=([sys.executable, str(PROGRAM), net, which],), rounds=1
    )
    benchmark.extra_info["anonymous_gigabytes"] = round(peak / 1e9, 3)
    print(f"\nanonymous memory of {net}, set {which}: {peak / 1e9:.2f} GB, at most {limit}")

    assert int(told) == units
    assert peak / 1e9 <= limit
