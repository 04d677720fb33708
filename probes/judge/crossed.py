"""Rules over images and over draws that all images share: the mean draw, and the typical one."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from probes.judge.rules import TRIM, hall, skewness, student
from probes.judge.ruling import (
    Ruling,
    first_true,
    named_same,
    ruling,
    same,
    second_group,
)

FEWEST = (200, 20)
"""Images and draws from which a rule over both decides."""


def two_way(y: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """Mean over images x draws, where the draws are common to all images: the less favourable of
    Student's t on the two-way variance, and of it corrected for the draws' skewness (Hall 1992).

    ``y`` has a row per image and a column per draw. The degrees of freedom are those of the fewer
    of the two, less one; the variance of the mean is va/n + vb/J - ve/(nJ), and no less than either
    of its first two terms. From 200 images and 20 draws. Generalises over both; with images as
    units the answer would be about these very draws.

    >>> y = np.sin(np.arange(200.0))[:, None] + np.cos(np.arange(20.0))
    >>> two_way(y, -1.0).p_up < 0.001
    True
    """
    y = np.asarray(y, float)
    n, draws = y.shape[-2:]
    m, columns = y.mean((-2, -1)), y.mean(-2)
    if min(n, draws) < 2:
        return _open(y, m)
    va, vb, ve, left = _variances(y)
    flat = y.reshape(*y.shape[:-2], -1)
    alike = same(flat)
    se, df = np.sqrt(np.maximum(va + vb - ve, np.maximum(va, vb))), min(n, draws) - 1
    return hall(
        m,
        se,
        skewness(columns),
        delta,
        alpha,
        (df, draws),
        n,
        se * math.sqrt(n),
        alike,
        first_true(y.shape[:-2], (_few(y), _said(y)), (alike, named_same(flat))),
        _components(va, vb, left, n, draws),
    )


def typical_draw(y: np.ndarray, delta: float, alpha: float = 0.05) -> Ruling:
    """The typical draw: the 20 % trimmed mean over draws of their means over images, Student's t
    with the winsorised variance over draws and the images' own.

    It is another number than the mean over draws: one draw in ten that is catastrophic does not
    count. ``y`` as in :func:`two_way`; from 200 images and 20 draws, and with the guard of the
    trimmed mean.

    >>> y = np.sin(np.arange(200.0))[:, None] + np.append(np.cos(np.arange(19.0)), -100)
    >>> two_way(y, -1.0).p_up > 0.05 > typical_draw(y, -1.0).p_up
    True
    """
    y = np.asarray(y, float)
    n, draws = y.shape[-2:]
    columns = np.sort(y.mean(-2), -1)
    k = int(TRIM * draws)
    h = draws - 2 * k
    m = columns[..., k : draws - k].mean(-1)
    if min(n, draws) < 3:
        return _open(y, m)
    va, vb, ve, left = _variances(y)
    winsorised = np.clip(columns, columns[..., k, None], columns[..., draws - k - 1, None])
    alike = same(y.reshape(*y.shape[:-2], -1))
    over = winsorised.var(-1, ddof=1) * (draws - 1) / (h * (h - 1))
    se = np.sqrt(over + np.maximum(va - ve, 0.0))
    obstacle = first_true(
        y.shape[:-2],
        (_few(y), _said(y)),
        (alike, named_same(y.reshape(*y.shape[:-2], -1))),
        (
            second_group(columns, k, winsorised, TRIM),
            "a second group of draws begins at the trimming point, so that chance says whether it"
            " counts; judge the mean over draws",
        ),
    )
    found = student(m, se, delta, alpha, h - 1, n, alike, obstacle)
    return dataclasses.replace(found, components=_components(va, vb, left, n, draws))


def _variances(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The variance of the mean over images, over draws, and what is left; and the variance of what
    is left itself.
    """
    n, draws = y.shape[-2:]
    rows, columns, m = y.mean(-1), y.mean(-2), y.mean((-2, -1))
    rest = y - rows[..., :, None] - columns[..., None, :] + np.asarray(m)[..., None, None]
    left = (rest**2).sum((-2, -1)) / ((n - 1) * (draws - 1))
    return rows.var(-1, ddof=1) / n, columns.var(-1, ddof=1) / draws, left / (n * draws), left


def _components(va, vb, left, n, draws):  # type: ignore[no-untyped-def]
    return np.maximum(0.0, n * va - left / draws), np.maximum(0.0, draws * vb - left / n), left


def _few(y: np.ndarray) -> bool:
    n, draws = y.shape[-2:]
    return n < FEWEST[0] or draws < FEWEST[1]


def _said(y: np.ndarray) -> str:
    return (
        f"the two-way rule decides from {FEWEST[0]} images and {FEWEST[1]} draws, there are"
        f" {y.shape[-2]} and {y.shape[-1]}"
    )


def _open(y: np.ndarray, m: np.ndarray) -> Ruling:
    every = np.ones(y.shape[:-2], bool)
    return ruling(
        y.shape[-2],
        p_up=1.0,
        p_down=1.0,
        low=0.0,
        high=0.0,
        estimate=m,
        spread=0.0,
        alike=every,
        obstacle=first_true(y.shape[:-2], (every, _said(y))),
    )
