"""The laboratory: what a test, a script or a notebook asks for tables, verdicts and a page."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager as ContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes import studies
from probes.claims import declaring
from probes.errors import BadInput
from probes.judge import Verdicts
from probes.registry import unknown
from probes.run.bench import Bench
from probes.run.console import say as print_line
from probes.run.judging import told
from probes.run.settings import Options
from probes.store import Store
from probes.studies.masking.claims import Masked, Masking
from probes.studies.sensitivity.claims import Sensed
from probes.studies.sensitivity.plan import Plan
from probes.subjects.objects import subjects_of
from probes.subjects.spec import Pair, Spec, parse
from probes.subjects.subject import Subject
from probes.tell import origins, report

if TYPE_CHECKING:
    from torch import nn

Asked = str | Spec | Pair | Sequence[str | Spec | Pair]
FIELDS = tuple(field.name for field in dataclasses.fields(Options))


class Lab(Bench):
    """A laboratory for one or several subjects. It gives tables, keeps the claims made about them,
    and writes the page.

    ``subjects`` are one name ``net[:weights]@dataset[#seed]`` or several; or a network that is in
    memory, or several by name, with its images: ``Lab(model, data)``, where ``data`` is a dataset,
    the name of one, images in [0, 1] (N, C, H, W), or a pair of images and labels. Such a network
    gets the images as they are: normalisation is its own affair. The options of a claim
    under pytest are arguments here: ``images``, ``levels``, ``draws``, ``device``, ``precision``,
    ``batch_size`` (or ``"auto"``), ``threads``, ``seed``, ``alpha``, ``download``; or all of them
    together as ``options``. ``store`` is a folder (by default ``PROBES_STORE``, else ``.probes``).
    ``loaded`` are networks that are in memory already, by name. Raises UnknownName for another
    argument, BadInput for a value out of range.

    >>> from probes.judge import rises
    >>> from probes.measure import block_metrics
    >>> from probes.perturb import gaussian
    >>> lab = Lab("resnet20@mnist5k", images=200, quiet=True)
    >>> found = rises(lab.sweep(block_metrics, under=gaussian(0, 0.2)), "var_h", by="site",
    ...     sesoi="1 %")
    >>> found.overall, len(found)  # over the nine blocks
    ('mixed', 9)
    """

    def __init__(
        self,
        subjects: Asked | nn.Module | Mapping[str, nn.Module],
        *rest: Any,
        store: Store | Path | str | None = None,
        options: Options | None = None,
        quiet: bool = False,
        say: Callable[[str], None] = print_line,
        watched: Callable[[], ContextManager] = contextlib.nullcontext,
        loaded: Mapping[str, Subject] | None = None,
        **given: Any,
    ) -> None:
        for name in given:
            if name not in (*FIELDS, "data"):
                raise unknown("argument of Lab(...)", name, ("store", "options", "quiet", *FIELDS))
        asked: Any = subjects
        objects = isinstance(asked, Mapping) or hasattr(asked, "state_dict")
        names = ("data", "store", "options") if objects else ("store", "options")
        if len(rest) > len(names):
            raise BadInput(f"Lab(subjects, {', '.join(names)}): {len(rest)} more were given")
        placed = dict(zip(names, rest, strict=False))
        store, options = placed.get("store", store), placed.get("options", options)
        if objects:
            loaded = subjects_of(asked, placed.get("data", given.pop("data", None)), given)
            asked = list(loaded)
        specs: list[Spec] = []
        every = [asked] if isinstance(asked, str | Spec | Pair) else asked
        for one in (parse(s) if isinstance(s, str) else s for s in every):
            specs += declaring.specs(one)
        if not specs:
            raise BadInput("Lab([]) needs a subject, e.g. Lab('resnet20@mnist5k')")
        place = (
            store if isinstance(store, Store) else Store(Path(store)) if store else Store.default()
        )
        super().__init__(
            specs,
            place,
            dataclasses.replace(options or Options(), **given),
            quiet,
            say,
            watched,
            loaded,
        )
        self.claims: list[dict[str, Any]] = []

    def sensitivity(
        self,
        rows: int = 128,
        groups: int = 20,
        which: str = "1",
        modules: Sequence[str] | None = None,
        maps: bool = False,
    ) -> Sensed:
        """A table about the sensitivity of units. It has a row for each module and each disjoint
        random group of images.

        Each group has ``rows`` base points, on the augmentations of a set. ``maps`` asks how well
        maps tell their augmentation. Judge the table with ``unit="image group"``. See
        :mod:`probes.studies.sensitivity.claims`.
        """
        names = tuple(modules) if modules is not None else None
        return Sensed(self, Plan(which, rows=rows, names=names), groups, maps)

    def masking(self, **asked: Any) -> Masked:
        """Masks of the units with the largest index, compared with random masks
        (:class:`probes.studies.masking.claims.Masked`).

        ``asked`` are fields of :class:`probes.studies.masking.claims.Masking`: ``which``
        augmentations, ``measure``, ``q``, ...
        """
        return Masked(self, Masking(**asked))

    def claim(self, sentence: str, found: Verdicts, id: str = "", family: str = "") -> Verdicts:
        """Add a judged claim to the report that :meth:`report` writes. Returns the verdicts.

        ``id`` is the name of the claim on the page (default: ``CLAIM-1``, ``CLAIM-2``, ...).
        """
        if not found.asked or any(table is None for table in found.asked):
            raise BadInput(
                f"{sentence!r} was judged on a DataFrame that has lost its design: hand the table"
                " of lab.sweep() itself to the question, or narrow it with table.where(...)"
            )
        name = id or f"CLAIM-{len(self.claims) + 1}"
        self.claims.append(
            told(self, found, (name, sentence, family), " + ".join(map(str, self.specs)))
        )
        return found

    def report(self, folder: Path | str, *found: Verdicts) -> Path:
        """Write the claims, and the verdicts given here, as a report: page, figures, tables,
        evidence.

        Returns the path of the page. ``probes verify FOLDER`` checks it, ``probes report FOLDER``
        draws it again. Raises BadInput if nothing was claimed, ProbesError for a folder that holds
        something else.
        """
        for one in found:
            self.claim(
                "; ".join(dict.fromkeys(leaf.question for member in one for leaf in member.leaves)),
                one,
            )
        if not self.claims:
            raise BadInput(
                "nothing to report: lab.claim('sentence', rises(...)) first, or lab.report(folder,"
                " rises(...))"
            )
        run = origins.provenance(
            Path.cwd(), [Path(sys.argv[0]).name or "python", *sys.argv[1:]], {}
        )
        return (
            report.assemble(self.claims, run, Path(folder), sections=studies.sections())
            / "report.md"
        )
