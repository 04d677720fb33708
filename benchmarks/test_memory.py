"""Anonymous memory of a sweep does not grow with the number of images: the rows go to the store, a few batches are held."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, threading, time
import numpy as np, torch
from torchvision.models import resnet18
from probes.measure import block_metrics
from probes.perturb import gaussian
from probes.run import engine
from probes.run.lab import Lab, Options
from probes.store import Store
from probes.subjects.data import Dataset
from probes.subjects.nets import Normalised
from probes.subjects.pretrained import Subject
from probes.subjects.spec import parse

folder, n = sys.argv[1], int(sys.argv[2])
images = np.lib.format.open_memmap(folder + "/images.npy", "w+", np.uint8, (n, 3, 32, 32))
images[:] = 127
images.flush()
images = np.load(folder + "/images.npy", mmap_mode="r")
data = Dataset("bytes", "bytes", "test", images, np.zeros(n, int), np.arange(n), tuple("0123456789"), (0.5,), (0.25,))
model = Normalised(resnet18(num_classes=10), (0.5,) * 3, (0.25,) * 3).eval()
lab = Lab([parse("resnet18@bytes")], Store(folder + "/store"), Options(batch_size=128))
lab.__dict__["subjects"] = {"resnet18@bytes": Subject(parse("resnet18@bytes"), model, data, "random", "random")}
sweep = lab.sweep(block_metrics, under=gaussian(0, 0.1))

def anonymous():
    with open("/proc/self/status") as f:
        return next(int(row.split()[1]) for row in f if row.startswith("RssAnon"))

most, going = 0, True
def watch():
    global most
    while going:
        most = max(most, anonymous())
        time.sleep(0.005)
thread = threading.Thread(target=watch)
thread.start()
engine.fill(sweep._cells, lab.subjects, lab.store, quiet=True)
going = False
thread.join()
print(json.dumps(most))
"""


def peak(folder, n):
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(n)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_ten_times_the_images_need_no_more_memory(tmp_path, capsys):
    few, many = peak(tmp_path / "few", 1000), peak(tmp_path / "many", 10_000)
    with capsys.disabled():
        print(f"\nanonymous memory: {few / 1024:.0f} MiB for 1,000 images, {many / 1024:.0f} MiB for 10,000 ({many / few:.3f})")

    assert many <= 1.05 * few
