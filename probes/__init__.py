"""Claims about neural networks as pytest cases: measured on the right tensors, judged on the right
unit, reported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from probes.subjects.spec import pair

if TYPE_CHECKING:
    from probes.batch import Batch
    from probes.comparing.answers import not_worse
    from probes.comparing.running import compare
    from probes.judge import (
        below,
        both,
        calibration,
        decreases,
        equivalent,
        exceeds,
        falls,
        increases,
        rises,
    )
    from probes.lab import Lab
    from probes.measure import (
        BlockAdapter,
        BlockMetrics,
        FeatureMetrics,
        Measure,
        Predictions,
        accuracy,
        agreement,
        block_metrics,
        certainty,
        error,
        extract,
        feature_metrics,
        register_block,
        residuals,
        tap,
    )
    from probes.perturb import (
        Draw,
        Pass,
        Perturbation,
        attacked,
        augmentation,
        augmented,
        bit_flips,
        corrupted,
        corruption,
        corruptions,
        dropout,
        fgsm,
        gaussian,
        inject,
        layer_noise,
        masked,
        pgd,
        pruned,
        quantised,
        transform,
        weight_noise,
    )
    from probes.run.settings import Options
    from probes.studies.study import Study
    from probes.tell.loading import load

_PLACES = {
    "probes.batch": ("Batch",),
    "probes.judge": (
        "below",
        "both",
        "calibration",
        "decreases",
        "equivalent",
        "exceeds",
        "falls",
        "increases",
        "rises",
    ),
    "probes.comparing.answers": ("not_worse",),
    "probes.comparing.running": ("compare",),
    "probes.lab": ("Lab",),
    "probes.measure": (
        "BlockAdapter",
        "BlockMetrics",
        "FeatureMetrics",
        "Measure",
        "Predictions",
        "accuracy",
        "agreement",
        "block_metrics",
        "certainty",
        "error",
        "extract",
        "feature_metrics",
        "register_block",
        "residuals",
        "tap",
    ),
    "probes.perturb": (
        "Draw",
        "Pass",
        "Perturbation",
        "attacked",
        "augmentation",
        "augmented",
        "bit_flips",
        "corrupted",
        "corruption",
        "corruptions",
        "dropout",
        "fgsm",
        "gaussian",
        "inject",
        "layer_noise",
        "masked",
        "pgd",
        "pruned",
        "quantised",
        "transform",
        "weight_noise",
    ),
    "probes.run.settings": ("Options",),
    "probes.studies.study": ("Study",),
    "probes.tell.loading": ("load",),
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names}
__all__ = [
    "Batch",
    "BlockAdapter",
    "BlockMetrics",
    "Draw",
    "FeatureMetrics",
    "Lab",
    "Measure",
    "Options",
    "Pass",
    "Perturbation",
    "Predictions",
    "Study",
    "accuracy",
    "agreement",
    "attacked",
    "augmentation",
    "augmented",
    "below",
    "bit_flips",
    "block_metrics",
    "both",
    "calibration",
    "certainty",
    "compare",
    "corrupted",
    "corruption",
    "corruptions",
    "decreases",
    "dropout",
    "equivalent",
    "error",
    "exceeds",
    "extract",
    "falls",
    "feature_metrics",
    "fgsm",
    "gaussian",
    "increases",
    "inject",
    "layer_noise",
    "load",
    "masked",
    "not_worse",
    "pair",
    "pgd",
    "pruned",
    "quantised",
    "register_block",
    "residuals",
    "rises",
    "tap",
    "transform",
    "weight_noise",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: torch loads only where something of it is."""
    if name not in _WHERE:
        raise AttributeError(f"module 'probes' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
