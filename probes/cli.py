"""The command line ``probes``: ``list``, ``check``, ``train``, ``run``, ``verify`` and others."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes import __version__, studies
from probes.commands import baseline, compare, explain, export, holding, summary, train
from probes.errors import BadInput, ProbesError, Unavailable, Unfinished
from probes.run.console import (
    evidence_lines,
    left_over,
    store_of,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if all went well, 1 if a report does not verify, and 2 if the
    input can't be used.
    """
    parser = argparse.ArgumentParser(
        prog="probes",
        description="Test claims about neural networks. The claims themselves run under pytest.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser(
        "list", help="list networks, datasets and weights, and what is on this machine"
    )
    listing.add_argument("--store", help="the store (default: PROBES_STORE, else .probes)")
    listing.add_argument("--data", help="folder with datasets (default: PROBES_DATA)")
    checking = commands.add_parser(
        "check",
        help="what can be measured of a network: its residual sums, norms, outputs, instruments",
    )
    checking.add_argument(
        "net", help="net[:weights][@dataset]; 'timm:*' for a network of each family of timm"
    )
    checking.add_argument("--dataset", default="mnist5k", help="its images (default: mnist5k)")
    checking.add_argument("--all", action="store_true", help="show every residual sum")
    checking.add_argument("--out", type=Path, help="folder for the table of families")
    checking.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    checking.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    checking.add_argument("--data", help="folder with datasets (default: PROBES_DATA)")
    checking.add_argument("--store", help="the store (default: PROBES_STORE, else .probes)")
    train.add_to(commands)
    compare.add_to(commands)
    baseline.add_to(commands)
    fetching = commands.add_parser(
        "fetch", help="download a dataset into PROBES_DATA, or the published weights of a network"
    )
    fetching.add_argument(
        "thing",
        help="cifar10, mnist, or e.g. resnet18:imagenet1k_v1, timm:resnet18:pretrained, hf:NAME",
    )
    fetching.add_argument("--data", help="folder to download datasets into (default: PROBES_DATA)")
    running = commands.add_parser(
        "run", help="run a study without pytest on any network; writes a report into a folder"
    )
    studies.add_to(running.add_subparsers(dest="study", required=True, metavar="STUDY"))
    report = commands.add_parser("report", help="draw a report again from its files")
    report.add_argument("folder", type=Path)
    report.add_argument(
        "--again",
        action="store_true",
        help="first judge every claim again from its tables, e.g. after an upgrade",
    )
    report.add_argument(
        "--changed",
        action="store_true",
        help="with --again: take verdicts that come out otherwise by the rules of this version",
    )
    report.add_argument(
        "--figures",
        action="store_true",
        help="draw the figures of every claim, also where there are more than 40",
    )
    looks = commands.add_parser("ledger", help="the looks that claims have had, by claim")
    looks.add_argument(
        "file", nargs="?", type=Path, default=Path("probes-looks.jsonl"), help="a ledger of looks"
    )
    holding.add_to(commands)
    summary.add_to(commands)
    export.add_to(commands)
    explain.add_to(commands)
    verify = commands.add_parser(
        "verify",
        help="check a report or all reports below a folder: manifest, verdicts, cited expectations",
    )
    verify.add_argument("folder", type=Path, nargs="+")
    given = _parsed(parser, argv)
    sys.path.insert(0, str(Path.cwd()))  # a network of one's own, as module:builder
    try:
        given.argv = list(sys.argv[1:] if argv is None else argv)
        for module in getattr(given, "imports", ()):
            importlib.import_module(module)
        if getattr(given, "data", None):
            os.environ["PROBES_DATA"] = given.data
        return {
            "list": _list,
            "check": _check,
            "train": train.run,
            "compare": compare.run,
            "baseline": baseline.run,
            "summary": summary.run,
            "export": export.run,
            "explain": explain.run,
            "fetch": _fetch,
            "run": studies.run,
            "report": _report,
            "verify": _verify,
            "ledger": _ledger,
            "status": holding.status,
            "store": holding.run,
        }[given.command](given)
    except Unfinished as e:
        return left_over(e, ["probes", *given.argv])
    except ProbesError as e:
        more = f"\nmore: probes explain {e.topic}" if e.topic else ""
        print(f"probes: {e}{more}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("probes: interrupted; the same command resumes from here", file=sys.stderr)
        return 130


def _parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. What can't be read ends with 2, and with 3 in a comparison, where 2 is an
    answer.
    """
    try:
        return parser.parse_args(argv)
    except SystemExit as e:
        typed = sys.argv[1:] if argv is None else argv
        if e.code == 2 and list(typed[:1]) == ["compare"]:
            raise SystemExit(compare.TROUBLE) from None
        raise


def _list(given: argparse.Namespace) -> int:
    from probes.run.device import best_device
    from probes.subjects import data, nets, pretrained, training
    from probes.subjects.recipes import run_name

    store = store_of(given)
    print(f"device: {best_device()}\nnetworks:")
    for name in nets.nets:
        print(f"  {name:14} {first_line(nets.nets[name])}")
    print("  torchvision:NAME, timm:NAME, hf:FOLDER of other libraries; module:builder of your own")
    print("datasets:")
    for name in data.datasets:
        place = "here    " if data.here(name) else "not here"
        print(f"  {name:14} {place} {first_line(data.datasets[name])}")
    print(
        f"  {'imagefolder:PATH':14} a folder of images of your own: PATH/CLASS/*.jpg, or"
        " PATH/{train,val,test}/CLASS/*.jpg"
    )
    print(
        "  module:function     your own: function(split, store) -> probes.subjects.dataset.Dataset"
    )
    print("  NAME@28px           a view: the images of a dataset at another size")
    print(f"recipes: {', '.join(training.recipes)}\nweights on this machine:")
    shown = set()
    for w in sorted(
        pretrained.available(store), key=lambda w: (w.net, w.dataset, w.seed, w.origin)
    ):
        name = run_name(w.net, w.dataset, w.seed, w.card["recipe"]["name"])
        if (name, w.card["sha256"]) in shown:  # trained again to the same bytes
            continue
        shown.add((name, w.card["sha256"]))
        print(
            f"  {name:24} {w.origin:8} {w.card['test_accuracy']:.1%} of"
            f" {w.card['test_images']:,} test images  sha256 {w.card['sha256'][:12]}"
        )
    return 0


def _check(given: argparse.Namespace) -> int:
    from probes.check import command

    return command.run(given)


def _fetch(given: argparse.Namespace) -> int:
    from probes.subjects import data, hub
    from probes.subjects.spec import parse

    spec = parse(given.thing)
    known = spec.weights or spec.net.startswith("hf:")
    place = hub.fetch(spec) if known else data.fetch(given.thing)
    print(f"{given.thing} is in {place}")
    return 0


def _report(given: argparse.Namespace) -> int:
    from probes.comparing.pages import sections
    from probes.tell import report

    if given.changed and not given.again:
        raise BadInput("--changed takes verdicts that are judged again: give --again with it")
    report.draw(given.folder, given.again, given.changed, sections(), given.figures)
    print(f"drawn again: {given.folder / 'report.md'}")
    return 0


def first_line(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((thing.__doc__ or "").strip().partition("\n\n")[0].split())


def _ledger(given: argparse.Namespace) -> int:
    from probes.claims import ledger

    if not given.file.is_file():
        raise Unavailable(
            f"{given.file}: no such file; pytest writes one beside the claims that it judges"
        )
    for line in ledger.shown(given.file):
        print(line)
    return 0


def _verify(given: argparse.Namespace) -> int:
    from probes.judge.wording import counted
    from probes.tell.reportfolder import reports_in
    from probes.tell.verify import verify

    bad = 0
    for folder in [report for asked in given.folder for report in reports_in(asked)]:
        problems = verify(folder)
        for problem in problems:
            print(f"{folder}: {problem}")
        if not problems:
            lines = evidence_lines(folder) if (folder / "evidence.jsonl").exists() else []
            cited = sum(bool(line["expect"]) for line in lines)
            judged, as_cited = counted(len(lines), "claim"), counted(cited, "expectation")
            print(
                f"{folder}: verified; manifest, {judged} judged again from their tables, {as_cited}"
                " as cited"
            )
        bad += bool(problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
