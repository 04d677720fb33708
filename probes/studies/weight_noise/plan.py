"""What a study of weight noise trains, sweeps and judges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property

import pandas as pd

from probes.errors import BadInput
from probes.perturb import weight_noise
from probes.subjects.recipes import REGIMES, WEIGHT_NOISE, Recipe

MAIN = 0.1
"""The strength of the study's own summary. Its drop stays in the tables."""
NETS = ("mlp_small", "mlp_medium", "mlp_large", "cnn", "resnet18")


ALPHAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


PRIMARY = (0.1, 0.2, 0.5, 1.0)


LOST = 0.05
"""The primary alpha of a network is the smallest of ``PRIMARY`` at which its clean regime loses
this much, on other seeds.
"""


OTHER_SEEDS = (1000, 1001)
"""The default seeds for calibration. They are never judged."""


QUICK = {"seeds": tuple(range(8)), "alphas": (0.0, MAIN), "epochs": 1}


Say = Callable[[str], None]


Rows = dict[str, pd.DataFrame]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of training and sweeping: see ``probes run weight-noise --help``. Raises BadInput
    for impossible values.
    """

    alphas: tuple[float, ...] = ALPHAS
    draws: int = 5
    alpha_train: float = 0.2
    epochs: int = WEIGHT_NOISE.epochs
    lr: float = WEIGHT_NOISE.max_lr
    batch_size: int = WEIGHT_NOISE.batch_size
    seeds: tuple[int, ...] = (0, 1, 2)
    others: tuple[int, ...] = OTHER_SEEDS
    quick: bool = False

    def __post_init__(self) -> None:
        weight_noise(*self.alphas)  # an error before the work
        if self.draws < 1 or not self.seeds or not self.others:
            raise BadInput(
                f"{self.draws} draws, seeds {self.seeds}, {self.others} to calibrate: one of each"
                " at least"
            )
        if both := sorted({*self.seeds} & {*self.others}):
            raise BadInput(
                f"seed {both[0]} is to be judged and to calibrate: name others with --calibrate-on"
            )
        object.__setattr__(self, "alphas", tuple(sorted(_short(a) for a in self.alphas)))
        for name in ("alpha_train", "lr"):
            object.__setattr__(self, name, _short(getattr(self, name)))
        assert len(self.recipes) == 2  # an error before the work

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each regime. They differ in the noise only."""
        return {
            regime: dataclasses.replace(
                WEIGHT_NOISE,
                name=regime,
                regime=regime,
                alpha_train=self.alpha_train if regime == "noisy" else 0.0,
                epochs=self.epochs,
                max_lr=self.lr,
                batch_size=self.batch_size,
            )
            for regime in REGIMES
        }


def _short(value: float) -> float:
    """A number as the CSV files hold it: nine significant digits."""
    return float(f"{value:.9g}")
