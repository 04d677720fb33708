"""Every reader of bytes or words from outside, with valid inputs to start from."""

import dataclasses
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from probes import cli, holdings, table
from probes.claims import ledger
from probes.comparing import baseline
from probes.judge.sesoi import sesoi_of
from probes.perturb import asked, onfile
from probes.store import Store
from probes.studies.robustness import published
from probes.studies.weight_noise import networks
from probes.subjects import builtin, checkpoints, libraries, pins
from probes.subjects.imagefiles import read_image
from probes.subjects.spec import pair, parse
from probes.tell import evidence, loading, summary
from probes.tell.verify import verify

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "reports" / "dynamics"
WHOLE = ROOT / "reports" / "feature-maps" / "resnet20" / "claims"


@dataclasses.dataclass(frozen=True)
class Reader:
    """``read`` takes the path of a file named ``file`` that holds an input, or its text."""

    name: str
    what: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[..., object]
    file: str = ""
    tokens: tuple[str, ...] = ()


def _state():
    return {"0.weight": torch.zeros(4, 3), "0.bias": torch.ones(4)}


def _pickled(value):
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def _weights(path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4))
    checkpoints.opened_file(str(path), net)


def _sharded(path):
    beside = path.parent / "a.safetensors"
    if not beside.exists():
        beside.write_bytes(save(_state()))
    _weights(path)


def _image(form, mode="RGB", side=8, **how):
    out = io.BytesIO()
    pixels = np.arange(3 * side**2).reshape(side, side, 3).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, form, **how)
    return out.getvalue()


def _npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _lines(name, most=3):
    found = (REPORT / name).read_bytes().splitlines()[:most]
    return [line + b"\n" for line in found]


def _table():
    folder = REPORT / "tables"
    frame = table.read(min(folder.glob("*.parquet"), key=lambda p: p.stat().st_size))
    return frame[frame["image_id"] < 3] if "image_id" in frame else frame.head(60)


def _parquet():
    out = io.BytesIO()
    table.written(_table()).to_parquet(out, index=False)
    return [out.getvalue()]


def _csv():
    return [table.written(_table()).head(20).to_csv(index=False).encode()]


def _baseline():
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = pd.DataFrame({"condition": ["clean"], "image_id": [0], "correct": [1.0]})
    facts = dict.fromkeys(baseline.FACTS, "x") | {"schema": baseline.SCHEMA}
    facts["rows_sha256"] = baseline.rows_sha256(frame)
    made = pa.Table.from_pandas(frame).replace_schema_metadata(
        {baseline.ENTRY: json.dumps(facts).encode()}
    )
    out = io.BytesIO()
    pq.write_table(made, out)
    return [out.getvalue()]


def _report(path):
    """A folder with the evidence, the run and the manifest of a report, one of them changed."""
    for name in ("evidence.jsonl", "run.json", "manifest.json"):
        if name != path.name and not (path.parent / name).exists():
            (path.parent / name).write_bytes((REPORT / name).read_bytes())
    return path.parent


def _whole_report(path):
    """The same with tables and pages, so that all that a report tells is made from the input."""
    for beside in WHOLE.iterdir():
        if beside.name != path.name and not (path.parent / beside.name).exists():
            (path.parent / beside.name).symlink_to(beside)
    return path.parent


def _ask(words, *before):
    parser = cli.parser_of_all()
    try:
        cli._parsed(parser, [*before, *words.split()])
    except SystemExit as e:
        if e.code not in (0, 2, 3):
            raise


def _sesoi(text):
    """Of a ratio, a share or a plain number, by its length."""
    metric, kind = (("l2_h", "ratio"), ("correct", "hit"), ("x", "plain"))[len(text) % 3]
    sesoi_of(text, metric, kind, 1 - 2 * (len(text) % 2))


def _corrupted(path):
    (path.parent / "labels.npy").write_bytes(_npy(np.zeros(2, np.uint8)))
    onfile._arrays(path.parent, "fog", 1, np.array([0]))


def _configured(path):
    libraries.hugging_face.cache_clear()
    libraries.hugging_face(str(path.parent))


def _pinned(path):
    pins.FILE = str(path)
    pins._pins()


def _stored(path):
    store = Store(path.parent / "store")
    (store.folder / "cells").mkdir(parents=True, exist_ok=True)
    side = store.folder / "cells" / ("a" * 64 + ".json")
    side.write_bytes(path.read_bytes())
    side.with_suffix(".parquet").write_bytes(b"x")
    list(holdings.entries(store))
    store.entry("cells", side.with_suffix(".parquet").name)


def _tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as made:
        content = _image("JPEG", side=32)
        info = tarfile.TarInfo("cifar10-jpeg/test/cat/1.jpg")
        info.size = len(content)
        made.addfile(info, io.BytesIO(content))
    return [out.getvalue()]


def _archive(path):
    os.environ["PROBES_DATA"] = str(path.parent)
    shutil.rmtree(path.parent / "store", ignore_errors=True)
    builtin.cifar10_jpeg("test", Store(path.parent / "store"))


SUBJECTS = [
    b"resnet20@mnist5k",
    b"resnet20:best.pt@mnist5k#3",
    b"a.b:thing:file.safetensors@imagefolder:x",
    b"mlp_small:noisy@mnist5k#*",
    b"torchvision:resnet18:untrained@cifar10@28px",
    b"timm:a.b@c",
]
UNDER = [
    b"noise:0,.1 fog:1,3 quantised:8",
    b"corruptions,attacks",
    b"pgd:0.01",
    b"bit_flips:1e-6",
    b"pruned:.2,.5",
    b"layer_noise:0,.5",
]
READERS = (
    Reader(
        "subjects",
        "a subject or a pair of subjects",
        lambda: SUBJECTS,
        lambda text: (parse(text), pair(text, "resnet20@mnist5k")),
        tokens=("@", "#", ":", "untrained", "imagefolder:"),
    ),
    Reader("perturbations", "words of `--under`", lambda: UNDER, lambda text: asked.asked(text)),
    Reader(
        "sesoi",
        "a smallest effect, as typed",
        lambda: [b"1 %", b"/1.5", b"0.5 points", b"-1 point", b".5"],
        _sesoi,
    ),
    Reader(
        "commands",
        "the words of a command line",
        lambda: [
            b"run dynamics resnet20 --images 200 --levels 0,.1",
            b"compare a b --dataset mnist5k --margin 1",
            b"train resnet20 mnist5k --seeds 0-3",
            b"verify reports",
            b"run masking --q .8 --alpha 0 --set 1",
        ],
        _ask,
        tokens=("--out", "--seeds", "--shard", "3/4", "--until"),
    ),
    Reader(
        "state dicts",
        "a .pt file of weights",
        lambda: [_pickled(_state()), _pickled({"state_dict": _state(), "epoch": 3})],
        _weights,
        "net.pt",
    ),
    Reader(
        "safetensors",
        "a .safetensors file",
        lambda: [save(_state())],
        _weights,
        "net.safetensors",
        tokens=(
            '"dtype":"F32"',
            '"shape":[99999999999]',
            '"data_offsets":[0,18446744073709551615]',
        ),
    ),
    Reader(
        "shards",
        "an index of shards",
        lambda: [
            json.dumps(
                {"weight_map": {"0.weight": "a.safetensors", "0.bias": "a.safetensors"}}
            ).encode()
        ],
        _sharded,
        "model.safetensors.index.json",
        tokens=("a.safetensors", "../a.safetensors"),
    ),
    Reader(
        "evidence",
        "lines of evidence",
        lambda: _lines("evidence.jsonl"),
        evidence.read,
        "evidence.jsonl",
    ),
    Reader(
        "verify",
        "evidence that is judged again",
        lambda: [(WHOLE / "evidence.jsonl").read_bytes(), *_lines("evidence.jsonl", 1)],
        lambda p: verify(_whole_report(p)),
        "evidence.jsonl",
    ),
    Reader(
        "manifests",
        "a manifest that is verified",
        lambda: [(REPORT / "manifest.json").read_bytes()],
        lambda p: verify(_report(p)),
        "manifest.json",
        tokens=("../../x", "/etc/passwd"),
    ),
    Reader(
        "runs",
        "the origin of a report",
        lambda: [(REPORT / "run.json").read_bytes()],
        lambda p: summary.summary([_report(p)], ROOT),
        "run.json",
    ),
    Reader(
        "reports",
        "a report as tables",
        lambda: _lines("evidence.jsonl", 1),
        lambda p: loading.load(_report(p)).verdicts,
        "evidence.jsonl",
    ),
    Reader(
        "ledger",
        "the ledger of looks",
        lambda: [(ROOT / "probes-looks.jsonl").read_bytes()[:6000]],
        ledger.read,
        "probes-looks.jsonl",
    ),
    Reader("tables", "a table in Parquet", _parquet, table.read, "t.parquet"),
    Reader("csv tables", "a table in CSV", _csv, table.read, "t.csv"),
    Reader("baselines", "a baseline", _baseline, lambda p: baseline.load(str(p)), "b.parquet"),
    Reader(
        "published",
        "published accuracies",
        lambda: [b"net,corruption,accuracy,severity\nalexnet,fog,56.2,3\nalexnet,clean,80,\n"],
        published.read,
        "p.csv",
    ),
    Reader(
        "images",
        "an image file",
        lambda: [
            _image("PNG"),
            _image("JPEG"),
            _image("GIF", "P"),
            _image("BMP"),
            _image("PNG", "L"),
        ],
        lambda p: read_image(p, 8),
        "image.png",
    ),
    Reader(
        "corruptions on file",
        "a .npy of corrupted images",
        lambda: [_npy(np.zeros((10, 8, 8, 3), np.uint8))],
        _corrupted,
        "fog.npy",
    ),
    Reader("archives", "an archive of images", _tar, _archive, "cifar10-jpeg.tar.xz"),
    Reader(
        "configurations",
        "config.json of a transformers folder",
        lambda: [
            json.dumps(
                {
                    "model_type": "resnet",
                    "num_labels": 3,
                    "num_channels": 3,
                    "image_size": 32,
                    "id2label": {"0": "a"},
                }
            ).encode()
        ],
        _configured,
        "config.json",
    ),
    Reader(
        "cards",
        "the card of a checkpoint",
        lambda: [json.dumps({"net": "cnn", "recipe": {"epochs": 3, "lr": 0.01}}).encode()],
        networks.card_of,
        "e3.json",
    ),
    Reader(
        "downloads",
        "the SHA-256 of downloads",
        lambda: [json.dumps({"resnet18": "0" * 64, "org/net": "f" * 64}, indent=1).encode()],
        _pinned,
        "probes-downloads.json",
    ),
    Reader(
        "sidecars",
        "the sidecar of a kept result",
        lambda: [
            json.dumps(
                {
                    "kind": "cells",
                    "file": "a" * 64 + ".parquet",
                    "sha256": "0" * 64,
                    "key": {"x": 1},
                    "about": "a",
                }
            ).encode()
        ],
        _stored,
        "side.json",
    ),
)
BY_NAME = {reader.name: reader for reader in READERS}
