"""The machine in words, and a table that is put into a page."""

import platform
import shutil
import subprocess
from pathlib import Path

import torch

from probes.run.device import card

FROM, TO = "<!-- table of benchmarks/gpu.py -->", "<!-- end of the table -->"


def machine(device: str) -> str:
    """The card, torch, CUDA and the driver."""
    said = [card(device) or f"{platform.machine()} CPU", f"torch {torch.__version__}"]
    if device == "cpu":
        said.append("the code of a device, run on the CPU: no GPU was used")
    elif torch.version.cuda:
        said.append(f"CUDA {torch.version.cuda}")
        if tool := shutil.which("nvidia-smi"):
            asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
            told = subprocess.run(asked, capture_output=True, text=True, check=False)
            said.append(f"driver {told.stdout.splitlines()[0] if told.stdout else 'not told'}")
    return ", ".join([*said, "TF32 off" if device.startswith("cuda") else "fp32"])


def write(out: Path, found: str) -> None:
    """Replace the table of a page, or write a file."""
    page = out.read_text(encoding="utf-8") if out.exists() else ""
    if FROM in page and TO in page:
        before, after = page.split(FROM)[0], page.split(TO)[1]
        found = f"{before}{FROM}\n\n{found}\n{TO}{after}"
    out.write_text(found, encoding="utf-8")
