"""Closers from rows in any form, verified and applied: arrays, files and moments say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus as im
from isthmus.closers import METHODS, apply_to_file, fit, verify
from isthmus.closers.closer import Closer
from isthmus.closers.fitting import options_of
from isthmus.data import write_rows
from isthmus.data.moments import Moments, PairMoments
from isthmus.engines import SerialExecutor
from isthmus.perturb.codecs import held_out_error
from refusals import refused
from worlds import fitted, two_modalities, unit_rows


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray]:
    a, b = two_modalities(60, 12, seed=3)
    return 2 * a, 3 * b[:40]


def same(one: Closer, other: Closer, rows: np.ndarray) -> None:
    for role in ("query", "candidate"):
        np.testing.assert_allclose(one.apply(rows, role), other.apply(rows, role), atol=1e-12)
    np.testing.assert_allclose(one.candidate_bias(rows), other.candidate_bias(rows), atol=1e-12)
    assert one.to_dict().keys() == other.to_dict().keys()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("normalised", [True, False])
def test_rows_and_moments_give_the_same_closer(name: str, normalised: bool, sides: Any) -> None:
    q, c = sides[0][:40], sides[1]
    score = "dot" if METHODS[name].has_own_score else None
    by_hand = fitted(name, q, c, score=score, normalised=normalised)
    same(fit(name, q, c, score=score, normalised=normalised), by_hand, q)


def test_each_side_may_be_a_file_shards_or_moments(sides: Any, tmp_path: Path) -> None:
    q, c = sides
    for part in range(2):
        write_rows(tmp_path / f"q-{part}.npy", q[30 * part :][:30])
    write_rows(tmp_path / "c.npy", c)
    moments = Moments.of(unit_rows(c), precise=True, normalised=True)
    for queries, candidates in (
        (str(tmp_path / "q-*.npy"), tmp_path / "c.npy"),
        (im.open_rows(tmp_path / "q-*.npy"), moments),
        (q, moments),
    ):
        same(im.fit("center-both", queries, candidates), fitted("center-both", q, c), q)


@pytest.mark.parametrize("of_unit", [True, False])
def test_moments_of_other_rows_are_refused(of_unit: bool, sides: Any) -> None:
    """A closer of unit rows fitted on raw moments would be poor without a word."""
    q, c = (Moments.of(side, precise=True, normalised=of_unit) for side in sides)
    with refused("moments-of-other-rows", f"normalised={of_unit}", f"normalised={not of_unit}"):
        fit("center-queries", q, c, normalised=not of_unit)
    assert fit("center-queries", q, c, normalised=of_unit).query.normalised is of_unit
    rows = np.eye(12)
    pairs = PairMoments.of(rows, rows, precise=True, normalised=not of_unit)
    with refused("moments-of-other-rows", "procrustes"):
        fit("procrustes", q, c, normalised=of_unit, pairs=pairs)


def test_what_is_right_makes_the_pairs(sides: Any) -> None:
    q, c = sides
    right = np.random.default_rng(0).integers(40, size=60)
    unit_q, unit_c = unit_rows(q), unit_rows(c)
    pairs = PairMoments.of(unit_q, unit_c[right], precise=True)
    by_hand = fit("procrustes", Moments.of(unit_q), Moments.of(unit_c), pairs=pairs)
    said = np.column_stack([np.arange(60), right])
    for how in ({"labels": right}, {"relevance": said}, {"pairs": pairs}):
        np.testing.assert_allclose(fit("procrustes", q, c, **how).queries(q), by_hand.queries(q))
    with refused("unequal-lengths", "60", "40"):
        fit("procrustes", q, c)
    with refused("needs-pairs"):
        fit("procrustes", Moments.of(unit_q), c)


@pytest.mark.parametrize("normalised", [True, False])
def test_noise_of_a_codec_is_measured_on_candidates(normalised: bool, sides: Any) -> None:
    q, c = sides
    entering = unit_rows(c) if normalised else c
    entering = entering - entering.mean(axis=0)
    order = np.random.default_rng(0).permutation(40)
    halves = entering[np.sort(order[:20])], entering[np.sort(order[20:])]
    error = held_out_error("sq4", *halves).per_dimension
    made = fit("ridge-shift", q, c, noise="sq4", normalised=normalised)
    assert made.facts["noise"] == pytest.approx(error, rel=1e-9)
    with refused("unknown-codec", "'sq5'"):
        fit("ridge-shift", q, c, noise="sq5")


def test_rows_that_cannot_be_fitted_on(sides: Any, tmp_path: Path) -> None:
    q, c = sides
    with refused("unequal-dimensions"):
        fit("none", q, c[:, :5])
    for bad, code in ((np.nan, "not-finite"), (0.0, "zero-rows")):
        broken = c.copy()
        broken[7] = bad
        with refused(code, "candidates", "row 7"):
            fit("none", q, broken)
    assert fit("none", q, np.where(np.eye(40, 12) < 0, 0, c), normalised=False, score="dot")
    with refused("bad-option", "rank"):
        options_of(["rank"])


def test_verify_takes_files_and_samples_evenly(sides: Any, tmp_path: Path) -> None:
    q, c = sides
    for name, rows in (("q", q), ("c", c)):
        write_rows(tmp_path / f"{name}.npy", rows)
    closer = fit("mean-shift", q, c)
    whole = verify(closer, q, c)
    assert im.verify(closer, str(tmp_path / "q.npy"), tmp_path / "c.npy") == whole
    assert (whole.queries, whole.candidates) == (60, 40)
    some = verify(closer, q, c, max_queries=7, max_candidates=5)
    spread = np.linspace(0, 59, 7).astype(int), np.linspace(0, 39, 5).astype(int)
    assert some == verify(closer, q[spread[0]], c[spread[1]])
    assert whole.to_frame().shape == (1, 9)
    assert whole.rows()[0]["holds"] is None


def test_a_closer_gives_rows_and_biases(sides: Any, tmp_path: Path) -> None:
    q, c = sides
    closer = fit("center-queries", q, c)
    write_rows(tmp_path / "c.npy", c)
    stored = closer.candidates(c)
    np.testing.assert_array_equal(stored.rows, closer.apply(c, "candidate"))
    np.testing.assert_array_equal(stored.bias, closer.candidate_bias(c))
    np.testing.assert_array_equal(closer.candidates(tmp_path / "c.npy").bias, stored.bias)
    np.testing.assert_array_equal(closer.queries(q), closer.apply(q, "query"))
    scores = closer.queries(q) @ stored.rows.T + stored.bias
    np.testing.assert_allclose(scores, unit_rows(q) @ unit_rows(c).T, atol=1e-12)
    assert closer.to_dict()["guarantee"]["kind"] == "exact"
    assert "exact: " in closer._repr_html_()
    assert len(fit("subspace", q, c)._repr_html_()) < 30_000
    assert closer.save(tmp_path / "c.safetensors") == tmp_path / "c.safetensors"
    with refused("unknown-suffix", ".safetensors"):
        closer.save(tmp_path / "c.npy")


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_files_are_applied_block_by_block(
    suffix: str, sides: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.closers.application.BLOCK", 7)
    q, c = sides
    closer = fit("center-both", q, c)
    seen: list[tuple[str, int, int]] = []
    done = apply_to_file(
        closer, c, "candidate", tmp_path / f"x{suffix}", progress=lambda *told: seen.append(told)
    )
    stored = closer.candidates(c)
    np.testing.assert_allclose(im.open_rows(tmp_path / f"x{suffix}").read(), stored.rows)
    assert (done.closer, done.rows, done.dim, done.score) == ("center-both", 40, 12, "dot")
    assert seen[0] == ("candidate", 7, 40)
    assert seen[-1] == ("candidate", 40, 40)
    if suffix == ".npy":
        assert done.bias == str(tmp_path / "x.bias.npy")
        np.testing.assert_allclose(np.load(tmp_path / "x.bias.npy"), stored.bias, rtol=1e-12)
    else:
        assert done.bias == f"{tmp_path / 'x.parquet'}:bias"
    closer.save(tmp_path / "c.safetensors")
    rows = apply_to_file(tmp_path / "c.safetensors", q, "query", tmp_path / "q.npy")
    assert rows.bias is None
    np.testing.assert_allclose(np.load(tmp_path / "q.npy"), closer.queries(q))
    with refused("no-bias"):
        apply_to_file(closer, q, "query", tmp_path / "q.npy", bias_out=tmp_path / "b.npy")
    with refused("wrong-dim", "5", "12"):
        apply_to_file(closer, q[:, :5], "query", tmp_path / "q.npy")


BROKEN = {
    "nan": (np.nan, "not-finite", "row 9"),
    "infinity": (np.inf, "not-finite", "row 9"),
    "zero": (0.0, "zero-rows", "row 9"),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors"])
@pytest.mark.parametrize("engine", [None, SerialExecutor()])
def test_rows_that_cannot_be_mapped_are_refused_or_left_out(
    fault: str,
    suffix: str,
    engine: Any,
    sides: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isthmus.closers.application.BLOCK", 7)
    monkeypatch.setattr("isthmus.closers.application.PART_BLOCKS", 2)
    q, c = sides
    closer = fit("center-both", q, c)
    value, code, row = BROKEN[fault]
    bad = c.copy()
    bad[9] = value
    out = tmp_path / f"x{suffix}"
    with refused(code, row, "--skip-invalid"):
        apply_to_file(closer, bad, "candidate", out, engine=engine)
    with refused(code, row):
        closer.candidates(bad)
    with refused(code, row):
        closer.queries(bad)
    assert list(tmp_path.iterdir()) == []
    done = apply_to_file(closer, bad, "candidate", out, skip_invalid=True, engine=engine)
    assert (done.rows, done.skipped) == (39, (9,))
    assert (tmp_path / "x.skipped.txt").read_text() == "9\n"
    sound = closer.candidates(np.delete(c, 9, axis=0))
    np.testing.assert_allclose(im.open_rows(out).read(), sound.rows)
    if suffix != ".parquet":
        np.testing.assert_allclose(np.load(tmp_path / "x.bias.npy"), sound.bias)
    bad[:] = value
    with refused(code, "40 rows"):
        apply_to_file(
            closer, bad, "candidate", tmp_path / f"y{suffix}", skip_invalid=True, engine=engine
        )
    assert not (tmp_path / f"y{suffix}").exists()


def test_a_zero_row_is_a_row_where_nothing_is_normalised(sides: Any, tmp_path: Path) -> None:
    q, c = sides
    closer = fit("center-queries", q, c, normalised=False)
    bad = q.copy()
    bad[3] = 0
    assert apply_to_file(closer, bad, "query", tmp_path / "q.npy").rows == len(q)
