"""Hostile input: what fuzzing found, and what people have lost data to. The whole table is
``reports/reliability/fuzz.md``, made by ``fuzz.py``.
"""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from probes import cli, reading, table
from probes.claims import declaring, ledger
from probes.comparing import baseline
from probes.errors import BadInput, ProbesError, UnknownName
from probes.judge.unseen import disclosures
from probes.judge.wording import shown
from probes.perturb import asked, onfile
from probes.registry import Registry
from probes.stacking import stacked
from probes.store import Store
from probes.studies.weight_noise.networks import card_of
from probes.subjects import builtin, checkpoints
from probes.subjects.configured import configuration
from probes.subjects.imagefiles import read_image
from probes.subjects.spec import parse
from probes.tell import evidence, origins, report
from probes.tell.verify import verify

FUZZ = Path(__file__).with_name("fuzz.py")
REPORT = Path(__file__).parents[2] / "reports" / "dynamics"
NET = torch.nn.Sequential(torch.nn.Linear(3, 4))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_every_reader_reads_or_refuses(child):
    code, out, err = child([FUZZ, "--together", "--inputs", "300"]).told()

    assert code == 0, out + err


@pytest.fixture
def line():
    return json.loads((REPORT / "evidence.jsonl").read_text().splitlines()[0])


def written(folder, line):
    (folder / "evidence.jsonl").write_text(json.dumps(line) + "\n")
    return folder / "evidence.jsonl"


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 150 + "1" + "}" * 150])
def test_json_that_is_nested_too_deep_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match="nested too deep"):
        reading.loads(text)
    for name, read in (
        ("evidence.jsonl", evidence.read),
        ("run.json", lambda p: evidence.run_of(p.parent)),
        ("config.json", configuration),
        ("m.index.json", checkpoints.read),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ProbesError):
            read(tmp_path / name)
    (tmp_path / "looks.jsonl").write_text(text)
    assert "line 1: damaged" in ledger.read(tmp_path / "looks.jsonl")[1][0]


@pytest.mark.parametrize("text", ['"\\ud800"', '{"a": ["\\uDFFF"]}', b'["\\ud83d"]'])
def test_half_a_character_is_refused(text):
    with pytest.raises(ValueError, match="surrogates not allowed"):
        reading.loads(text)
    assert reading.loads('"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_a_key_that_stands_twice_is_refused(line, tmp_path):
    text = json.dumps(line)[:-1] + ', "overall": "supported"}\n'
    (tmp_path / "evidence.jsonl").write_text(text)
    with pytest.raises(ProbesError, match=r"line 1: no evidence .*'overall' stands twice"):
        evidence.read(tmp_path / "evidence.jsonl")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "tables/../../x", "a\0b"])
@pytest.mark.parametrize("field", ["inputs", "summary", "examples"])
def test_evidence_that_names_a_file_outside_its_report_is_refused(line, tmp_path, field, name):
    entry = {"file": name, "sha256": "0" * 64}
    path = written(tmp_path, line | {field: [entry] if field == "inputs" else entry})
    with pytest.raises(ProbesError, match=r"line 1: no evidence .*(the report|control char)"):
        evidence.read(path)
    with pytest.raises(ProbesError):
        report.draw(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evidence.jsonl"]


@pytest.mark.parametrize(
    "change",
    [
        {"notes": "x"},
        {"estimate": "1"},
        {"n": 1.5},
        {"outcome": "true"},
        {"kind": "<b>"},
        {"n": True},
    ],
)
def test_a_verdict_that_is_no_verdict_is_refused(line, tmp_path, change):
    line["verdicts"][0] |= change
    with pytest.raises(ProbesError, match="line 1: no evidence"):
        evidence.read(written(tmp_path, line))


@pytest.mark.parametrize("alpha", ["1e-400", "0.0", "1.0", "-0.05", "NaN"])
def test_an_alpha_that_is_none_is_refused(line, tmp_path, alpha):
    text = json.dumps(line | {"alpha": 0.123456}).replace("0.123456", alpha)
    (tmp_path / "evidence.jsonl").write_text(text + "\n")
    with pytest.raises(ProbesError, match="line 1: no evidence"):
        evidence.read(tmp_path / "evidence.jsonl")


@pytest.mark.parametrize("question", [{"by": {}}, {"sesoi": 5e-324}, {"sesoi": 1e-310}])
def test_a_question_that_nobody_can_judge_is_named_by_verify(line, tmp_path, question):
    line["question"] |= question
    shutil.copytree(REPORT / "tables", tmp_path / "tables")
    problems = verify(written(tmp_path, line).parent)

    assert any(f"{line['id']} on {line['subject']}: " in problem for problem in problems)


def test_a_page_of_no_unit_says_that_nothing_was_excluded(line):
    members = line["verdicts"]
    for member in members:
        member |= {"n": 0, "rule": "mean"}
        member["notes"].pop("draws", None)
    told = disclosures(evidence.members(line), 0.05)

    assert any("0 images do not exclude that up to 100 %" in text for text in told)


def test_a_manifest_that_lists_a_file_outside_reads_nothing_there(tmp_path):
    for name in ("evidence.jsonl", "run.json"):
        (tmp_path / name).write_bytes((REPORT / name).read_bytes())
    (tmp_path.parent / "x").write_text("a secret")
    (tmp_path / "manifest.json").write_text(json.dumps({"../x": "0" * 64}))

    assert "../x is in the manifest and not in the folder" in verify(tmp_path)


@pytest.mark.parametrize("commit", ["--output=/tmp/x", "HEAD\0", "-" * 40, "main", ""])
def test_a_commit_of_a_stranger_is_no_word_of_a_command(commit, monkeypatch):
    monkeypatch.setattr(origins, "git", lambda *_: pytest.fail("git was called"))

    assert origins.commits_since(commit, Path(".")) is None


class Evil:
    def __reduce__(self):
        return os.system, ("echo run > ran",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(BadInput, match="can't be read"):
            checkpoints.opened_file(str(tmp_path / name), NET)
    np.save(tmp_path / "fog.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "labels.npy", np.zeros(1))
    with pytest.raises(BadInput, match="no array that can be read"):
        onfile._arrays(tmp_path, "fog", 1, np.array([0]))

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "head",
    [
        {"0.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {"0.weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 2**63]}},
        {"0.weight": {"dtype": "F32", "shape": [-4, 3], "data_offsets": [0, 48]}},
        {"0.weight": {"dtype": "X", "shape": [4, 3], "data_offsets": [0, 48]}},
    ],
)
def test_a_safetensors_header_that_lies_is_refused(head, tmp_path):
    text = json.dumps(head).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(48))
    with pytest.raises(BadInput, match="can't be read"):
        checkpoints.opened_file(str(tmp_path / "w.safetensors"), NET)
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 2**62))
    with pytest.raises(BadInput, match="can't be read"):
        checkpoints.opened_file(str(tmp_path / "w.safetensors"), NET)


@pytest.mark.parametrize("data", [b"", b"\x80\x02.", bytes(range(256)) * 4])
def test_bytes_that_are_no_weights_are_told_as_such(data, tmp_path):
    (tmp_path / "w.pt").write_bytes(data)
    with pytest.raises(BadInput, match="can't be read: it is no whole file of weights"):
        checkpoints.opened_file(str(tmp_path / "w.pt"), NET)


def test_an_index_names_no_shard_outside_its_folder(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"0.weight": "../a.safetensors"}}))
    with pytest.raises(BadInput, match="no file beside it"):
        checkpoints.opened_file(str(index), NET)


def png(wide, high):
    """A PNG that claims a size; its rows are not there."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("wide", "high"), [(2**16, 2**16), (10_000, 8_000), (2**31 - 1, 1)])
def test_an_image_that_claims_a_huge_size_is_refused_before_it_is_read(wide, high, tmp_path):
    (tmp_path / "a.png").write_bytes(png(wide, high))
    with pytest.raises(BadInput, match="no image that can be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "kind"), [("../../x.jpg", "file"), ("/x.jpg", "link")])
def test_an_archive_writes_nothing_where_it_says(name, kind, tmp_path, monkeypatch):
    path = tmp_path / "data" / "cifar10-jpeg.tar.xz"
    path.parent.mkdir()
    with tarfile.open(path, "w:xz") as made:
        for inner in (name, f"x/test/cat/{name}"):
            info = tarfile.TarInfo(inner)
            if kind == "link":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                made.addfile(info)
            else:
                info.size = 4
                made.addfile(info, io.BytesIO(b"evil"))
    monkeypatch.setenv("PROBES_DATA", str(path.parent))
    with pytest.raises(BadInput):
        builtin.cifar10_jpeg("test", Store(tmp_path / "store"))

    assert not list(tmp_path.rglob("x.jpg"))
    assert not Path("/x.jpg").exists()


def test_a_table_or_a_baseline_that_is_none_is_refused(tmp_path):
    frame = pd.DataFrame({"a": [1]})
    for meta in (b'{"schema": 99999999999999999999999}', b"[" * 100_000, b"not JSON"):
        made = pa.Table.from_pandas(frame).replace_schema_metadata(
            {b"pandas": meta, baseline.ENTRY: meta}
        )
        pq.write_table(made, tmp_path / "b.parquet")
        with pytest.raises(ProbesError):
            baseline.load(str(tmp_path / "b.parquet"))
        with pytest.raises(ProbesError):
            table.read(tmp_path / "b.parquet")
    (tmp_path / "t.csv").write_bytes(b"\x00\xff" * 99)
    with pytest.raises(ProbesError, match="no table"):
        table.read(tmp_path / "t.csv")


def test_a_table_that_claims_more_rows_than_it_has_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    data = path.read_bytes()
    count = b"\x16\xd0\x0f"  # 1,000 as a number of rows in the footer, zigzag and in sevens of bits
    assert count in data
    path.write_bytes(data.replace(count, b"\x16\x80\x80\x80\x80\x80\x80\x01"))
    with pytest.raises(ProbesError, match="no table"):
        table.read(path)


@pytest.mark.parametrize("kind", ["category", "str"])
@pytest.mark.parametrize("name", ["site", "net"])
def test_a_table_whose_names_are_no_text_is_refused(name, kind, tmp_path):
    """Arrow reads any bytes as text, and finds out where somebody asks for the text."""
    path, names = tmp_path / "t.parquet", ("net", "weights", "dataset")
    numbers = dict.fromkeys(("train_seed", "draw", "level", "loss"), 0)
    frame = pd.DataFrame({**dict.fromkeys((*names, "site"), "thing"), **numbers, "image": [1, 2]})
    frame[name] = frame[name].str.replace("thing", "that thing").astype(kind)
    frame.to_parquet(path, index=False, compression=None)
    assert len(table.read(path)) == len(stacked([path], [{}], names)) == 2

    path.write_bytes(path.read_bytes().replace(b"that thing", b"that thin\xff"))
    with pytest.raises(ProbesError, match="no table"):
        table.read(path)
    with pytest.raises(ProbesError, match="no table"):
        stacked([path], [{}], names)
    with pytest.raises(ProbesError, match="no baseline"):
        baseline.load(str(path))


@pytest.mark.parametrize("name", [".:x", "..a:b", "a b:c", "os:", ":x", "a:b.c", "a\n:b"])
def test_a_name_that_is_no_module_is_an_unknown_name(name):
    with pytest.raises(UnknownName):
        Registry("perturbation")[name]


def test_levels_without_an_end_are_refused():
    with pytest.raises(BadInput):
        asked.asked("fog:1e400")
    assert shown(1e308, "ratio").endswith(" %")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": 3}', '{"recipe": {', "\x00"])
def test_a_card_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "e3.json").write_text(text)
    with pytest.raises(BadInput, match="no card of a checkpoint"):
        card_of(tmp_path / "e3.pt")


@pytest.mark.parametrize(
    "text", ["[]", '{"id2label": 3}', '{"image_mean": ["a"]}', '{"id2label": {"a": "b"}}', "\x00"]
)
def test_a_configuration_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match="no configuration of transformers"):
        configuration(tmp_path / "config.json")


@pytest.mark.parametrize("text", ["3", "[]", '{"sha256": null}', '{"kind": "../..", "file": "/x"}'])
def test_a_sidecar_that_is_none_is_no_entry(text, tmp_path):
    store = Store(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "a.json").write_text(text)
    (tmp_path / "cells" / "a.parquet").write_bytes(b"x")

    assert store.entry("cells", "a.parquet") is None


ESCAPES = ("\x1b[31mred", "a\x07", "gnp\u202e.exe", "\x9b2J", "\x7f")


@pytest.mark.parametrize("text", ESCAPES)
def test_a_control_character_reaches_no_terminal_and_no_page(text, tmp_path, capsys):
    with pytest.raises(ValueError, match="control character"):
        reading.loads(json.dumps({"sentence": text}))
    with pytest.raises(ValueError, match="control character"):
        reading.loads(json.dumps({text: 1}, ensure_ascii=False))
    with pytest.raises(BadInput, match="which is no text"):
        parse(f"resnet20@mnist5k{text}")

    shutil.copytree(REPORT, tmp_path / "r")
    (tmp_path / "r" / "figures" / text).write_text("x")
    cli.main(["verify", str(tmp_path / "r")])
    told = capsys.readouterr().out
    assert "is in the folder and not in the manifest" in told
    assert not reading.CONTROL.search(told)


def test_a_claim_is_made_of_text():
    with pytest.raises(BadInput, match="which is no text"):
        declaring.declared(["It \x1b[31mrises."], {"id": "H1"})


def test_lines_and_tabs_are_text():
    assert reading.loads('{"a": "one\\n\\ttwo\\r"}') == {"a": "one\n\ttwo\r"}
