"""The lowest versions that pyproject.toml admits of everything but torch, as constraints for
pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
for line in (*project["dependencies"], *project["optional-dependencies"]["test"]):
    found = re.match(r"([\w.-]+)>=(\d+(?:\.\d+)*)", line)
    if found and found[1] not in ("torch", "torchvision"):
        version = found[2] if "." in found[2] else f"{found[2]}.0"
        print(f"{found[1]}=={version}.*")
