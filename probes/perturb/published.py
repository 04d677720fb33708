"""The parameters of Hendrycks and Dietterich (2019), at severities 1 to 5: those of CIFAR-10-C for
images of 32 px, those of ImageNet-C for images of 224 px.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TABLES = (32, 224)
"""The sides, in pixels, that parameters were published for."""
SMALL = 64
"""Images up to this side get the parameters of 32 px, larger ones those of 224 px."""


def table_of(side: int) -> int:
    """Which of the published tables images of a side get.

    >>> [table_of(side) for side in (28, 32, 64, 96, 224)]
    [32, 32, 32, 224, 224]
    """
    return TABLES[0] if side <= SMALL else TABLES[1]


def _zooms(*ends: tuple[float, float]) -> list[np.ndarray]:
    return [np.arange(1, end, step) for end, step in ends]


EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four that were published beside the fifteen."""
PARAMETERS: dict[str, dict[int, list[Any]]] = {
    # standard deviation
    "gaussian_noise": {32: [0.04, 0.06, 0.08, 0.09, 0.10], 224: [0.08, 0.12, 0.18, 0.26, 0.38]},
    # photons of a white pixel
    "shot_noise": {32: [500, 250, 100, 75, 50], 224: [60, 25, 12, 5, 3]},
    # share of values
    "impulse_noise": {32: [0.01, 0.02, 0.03, 0.05, 0.07], 224: [0.03, 0.06, 0.09, 0.17, 0.27]},
    # radius, antialiasing
    "defocus_blur": {
        32: [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        224: [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    },
    # sigma, reach, rounds
    "glass_blur": {
        32: [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        224: [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    },
    # radius, sigma
    "motion_blur": {
        32: [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        224: [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    },
    # the factors that are averaged
    "zoom_blur": {
        32: _zooms((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        224: _zooms((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    },
    # mean, deviation, zoom, threshold, radius, sigma, share of the image
    "snow": {
        32: [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
        224: [
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ],
    },
    # share of the image, share of the photograph
    "frost": {
        32: [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        224: [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    },
    # thickness, decay of roughness
    "fog": {
        32: [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        224: [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    },
    # added to the value of HSV
    "brightness": {32: [0.05, 0.1, 0.15, 0.2, 0.3], 224: [0.1, 0.2, 0.3, 0.4, 0.5]},
    # factor
    "contrast": {32: [0.75, 0.5, 0.4, 0.3, 0.15], 224: [0.4, 0.3, 0.2, 0.1, 0.05]},
    # size of the shifts, their smoothness, reach of the affine map: in pixels; 244 is as published
    "elastic_transform": {
        32: [
            tuple(32 * v for v in c)
            for c in ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05))
        ]
        + [(32 * 0.1, 32 * 0.03, 32 * 0.03)],
        224: [
            tuple(244 * v for v in c)
            for c in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02))
        ]
        + [(244 * 0.12, 244 * 0.01, 244 * 0.02)],
    },
    # share of the side
    "pixelate": {32: [0.95, 0.9, 0.85, 0.75, 0.65], 224: [0.6, 0.5, 0.4, 0.3, 0.25]},
    # quality
    "jpeg_compression": {32: [80, 65, 58, 50, 40], 224: [25, 18, 15, 10, 7]},
    # standard deviation, of a pixel's value
    "speckle_noise": {32: [0.06, 0.1, 0.12, 0.16, 0.2], 224: [0.15, 0.2, 0.35, 0.45, 0.6]},
    # sigma
    "gaussian_blur": {32: [0.4, 0.6, 0.7, 0.8, 1], 224: [1, 2, 3, 4, 6]},
    # mean, deviation, sigma, threshold, strength, whether it is mud
    "spatter": {
        32: [
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ],
        224: [
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ],
    },
    # factor and addend of the saturation of HSV
    "saturate": {
        32: [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        224: [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    },
}
