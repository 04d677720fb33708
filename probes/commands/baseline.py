"""The command ``probes baseline``: keep what a network answers, for a later comparison."""

from __future__ import annotations

import argparse
from typing import Any

from probes.commands.compare import arm, seeds_of
from probes.cost import size
from probes.judge.wording import counted
from probes.run.console import Asked, common, say
from probes.run.parsing import command


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "baseline",
        "keep a network's answers in one file, for `probes compare --baseline`",
        ("probes baseline save main resnet20#0 --images 300", "probes baseline show main"),
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    saving = command(
        actions,
        "save",
        "measure a network, and write the file",
        (
            "probes baseline save main resnet20#0 --images 300",
            "probes baseline save ci/main.parquet resnet20#0 --under noise:0,.1",
        ),
    )
    saving.add_argument("name", help="a name (baselines/NAME.parquet), or a .parquet file")
    saving.add_argument("net", help="net[:weights][#seed], or a version of it: net+quantised:8")
    arm(saving)
    saving.add_argument("--replace", action="store_true", help="replace a baseline of this name")
    common(saving)
    showing = command(
        actions,
        "show",
        "say what a baseline is of, and what it found",
        ("probes baseline show main", "probes baseline show ci/main.parquet"),
    )
    showing.add_argument("name", help="its name, or its file")


def run(given: argparse.Namespace) -> int:
    """Save a baseline, or show one."""
    return {"save": _save, "show": _show}[given.action](given)


def _save(given: argparse.Namespace) -> int:
    from probes.comparing import baseline

    asked = Asked(given, ["probes", *given.argv], say)
    path = baseline.save(
        given.name,
        given.net,
        given.dataset,
        under=() if given.under is None else " ".join(given.under),
        draws=1 if given.draws is None else given.draws,
        seeds=seeds_of(given),
        replace=given.replace,
        store=asked.store,
        options=asked.options,
        quiet=given.quiet,
        command=asked.command,
    )
    return _shown(str(path))


def _show(given: argparse.Namespace) -> int:
    return _shown(given.name)


def _shown(name: str) -> int:
    from probes.comparing import baseline

    found = baseline.load(name)
    facts = found.facts
    say(f"baseline {found.name}: {found.age()}")
    say(
        f"{counted(facts['images'], 'image')} of {facts['dataset']}"
        f" (SHA-256 {facts['images_sha256'][:12]}),"
        f" noise seed {facts['seed']}, {size(baseline.path_of(name).stat().st_size)}"
    )
    for net, one in facts["weights"].items():
        say(f"{net}: {one['accuracy']}, weights SHA-256 {one['sha256'][:12]}")
    rows = [row for row in facts["verdicts"] if row["metric"] in ("correct", "loss")]
    wide = max(len(row["condition"]) for row in rows)
    for row in rows:
        many = f" seed {row['train_seed']}" if len(facts["weights"]) > 1 else ""
        say(
            f"  {row['condition']:{wide}}{many}  {row['metric']:7}  {row['mean']:.4g}"
            f" [{row['low']:.4g}, {row['high']:.4g}]"
        )
    return 0
