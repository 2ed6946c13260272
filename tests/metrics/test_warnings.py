"""Warnings that need both sides: each on rows made to deserve it, none on rows that do not."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.metrics.gap_report import measure
from isthmus.search.pair_warnings import pair_signal
from worlds import two_modalities, unit_rows


def found(a: np.ndarray, b: np.ndarray, *, paired: bool = True) -> dict[str, str]:
    """Code -> text of everything the two sides say together."""
    warnings = measure(a, b, paired=paired, names=("image", "text")).warnings
    assert len({c.code for c in warnings}) == len(warnings)
    return {c.code: c.text for c in warnings if c.code != "fewer-rows-than-dimensions"}


def test_sound_pairs_are_quiet() -> None:
    for seed in range(5):
        assert found(*two_modalities(200, 64, seed=seed)) == {}


def test_shuffled_pairs_are_called_rows_out_of_order() -> None:
    for seed in range(5):
        a, b = two_modalities(300, 256, seed=seed)
        got = found(a, b[np.random.default_rng(seed).permutation(300)])
        assert set(got) == {"pairs-without-signal", "rows-out-of-order"}
        assert (
            "row i of image does not seem to belong to row i of text"
            in (got["pairs-without-signal"])
        )
        assert "are not together in the pairs" in got["rows-out-of-order"]


def test_two_models_are_called_different_models() -> None:
    for seed in range(2):
        a, _ = two_modalities(300, 256, seed=seed)
        _, b = two_modalities(300, 256, seed=seed + 100)
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(256, 256)))[0]
        got = found(a, b @ turn)
        assert set(got) == {"pairs-without-signal", "different-models"}
        assert "look like different models, or an untrained network" in got["different-models"]


def test_unpaired_sides_say_nothing_of_pairs() -> None:
    a, b = two_modalities(100, 64)
    assert found(a, b[::-1], paired=False) == {}


def test_one_modality_twice_is_named() -> None:
    a, _ = two_modalities(200, 64, seed=1)
    again = unit_rows(a + 0.05 * np.random.default_rng(0).normal(size=a.shape) / 8)
    got = found(a, again)
    assert set(got) == {"same-modality"}
    assert "their means have cosine 0.9" in got["same-modality"] or "1.000" in got["same-modality"]
    assert "a difference of prompts or sources is no modality gap" in got["same-modality"]


def test_a_collapsed_side_is_named() -> None:
    rng = np.random.default_rng(0)
    a, _ = two_modalities(200, 64, seed=1)
    narrow = unit_rows(rng.normal(size=64) * 3 + a)
    got = found(a, narrow)
    assert "collapsed" in got
    assert got["collapsed"].startswith("text: all rows point nearly the same way (mean cosine 0.9")
    assert "collapsed" not in found(a, unit_rows(rng.normal(size=64) * 0.12 + a))


@pytest.mark.parametrize(("common", "told"), [(0.96, True), (0.95, True), (0.93, False)])
def test_a_component_that_all_rows_share_is_collapse(common: float, told: bool) -> None:
    """Pairwise cosines of .82 to .94 only; no trained model is so narrow."""
    rng = np.random.default_rng(1)
    own = unit_rows(rng.normal(size=(300, 128)) * np.r_[0, np.ones(127)])
    rows = common * np.eye(128)[0] + np.sqrt(1 - common**2) * own
    other, _ = two_modalities(300, 128, seed=2)
    assert ("collapsed" in found(other, rows, paired=False)) is told


def test_a_high_mean_of_scattered_cosines_is_not_collapse() -> None:
    """Most rows alike and some far off: a mean cosine of .9 alone does not say it."""
    rng = np.random.default_rng(1)
    own = rng.normal(size=(300, 64)) * 0.02
    own[:12] = 0.2 * rng.normal(size=(12, 64))
    rows = unit_rows(np.eye(64)[0] + own)
    other, _ = two_modalities(300, 64, seed=2)
    assert "collapsed" not in found(other, rows, paired=False)


def test_pair_signal_by_brute_force(rng: np.random.Generator) -> None:
    a, b = two_modalities(40, 16, seed=2)
    matched, unmatched, errors = pair_signal(a, b)
    dots = a @ b.T
    assert matched == pytest.approx(np.diag(dots).mean(), rel=1e-10)
    off = dots[~np.eye(40, dtype=bool)].mean()
    assert unmatched == pytest.approx(off, rel=1e-10)
    assert errors > 10
    scores = [pair_signal(a, b[rng.permutation(40)])[2] for _ in range(400)]
    assert abs(np.mean(scores)) < 0.25
    assert np.std(scores) == pytest.approx(1, abs=0.2)  # so 3 errors is a rare accident
    assert pair_signal(np.ones((5, 3)), np.ones((5, 3)))[2] == 0
