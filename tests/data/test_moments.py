"""Moments against a two-pass float64 reference, however the rows are cut, typed or carried."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from isthmus.data import chunk_sums
from isthmus.data import moments as moments_module
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import ValuesError
from refusals import refused


def two_pass(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population covariance, the obvious way, in float64."""
    exact = rows.astype(np.float64)
    mean = exact.mean(axis=0)
    centred = exact - mean
    return mean, centred.T @ centred / len(rows)


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def cut(rows: np.ndarray, edges: list[int]) -> list[np.ndarray]:
    """Blocks between sorted edges; equal edges make empty blocks."""
    bounds = [0, *sorted(edges), len(rows)]
    return [rows[i:j] for i, j in itertools.pairwise(bounds)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("precise", [False, True])
def test_mean_and_covariance_are_float64_accurate(
    dtype: str, offset: float, precise: bool, rng: np.random.Generator
) -> None:
    spread = np.exp(rng.normal(size=24))
    rows = ((rng.normal(size=(9000, 24)) + offset) * spread).astype(dtype)
    got = Moments.of(rows, precise=precise)
    mean, covariance = two_pass(rows)
    assert got.count == 9000
    assert got.mean.dtype == got.scatter.dtype == np.float64
    size = max(np.linalg.norm(mean), np.sqrt(np.trace(covariance)))  # a mean of nearly 0 is noise
    assert np.linalg.norm(got.mean - mean) <= 1e-6 * size
    assert relative(got.covariance(), covariance) <= 1e-6
    if precise or dtype == "float64":
        assert relative(got.covariance(), covariance) <= 1e-12


def test_small_directions_beside_large_ones_keep_their_digits(rng: np.random.Generator) -> None:
    """Each coordinate is as accurate as its own size, also beside one a thousand times larger."""
    scales = np.array([1000.0, 30.0, 1.0])
    rows = (rng.normal(size=(9000, 3)) * scales + 100 * scales).astype(np.float32)
    got = Moments.of(rows)
    mean, covariance = two_pass(rows)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(np.diag(got.covariance()), np.diag(covariance), rtol=1e-6)


@pytest.mark.parametrize("order", ["sorted", "two halves", "drifting"])
def test_rows_in_an_unlucky_order(order: str, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(12_000, 6))
    if order == "sorted":
        rows = np.sort(rows, axis=0) + 100
    elif order == "two halves":
        rows[6000:] += 50
    else:
        rows += np.linspace(0, 300, 12_000)[:, None]
    rows = rows.astype(np.float32)
    got = Moments.over([rows[i : i + 1000] for i in range(0, 12_000, 1000)], 6)
    mean, covariance = two_pass(rows)
    assert relative(got.mean, mean) <= 1e-6
    assert relative(got.covariance(), covariance) <= 1e-6


@given(
    edges=st.lists(st.integers(0, 40), max_size=8),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    seed=st.integers(0, 4),
)
def test_any_cut_gives_the_same_moments(edges: list[int], dtype: str, seed: int) -> None:
    rows = (np.random.default_rng(seed).normal(size=(40, 5)) + 3).astype(dtype)
    mean, covariance = two_pass(rows)
    streamed = Moments.over(cut(rows, edges), 5)
    merged = Moments.empty(5)
    for block in cut(rows, edges):
        merged = merged.merge(Moments.of(block))
    for got in (streamed, merged):
        assert got.count == 40
        np.testing.assert_allclose(got.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(got.covariance(), covariance, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(got.scatter, got.scatter.T)


def test_one_row_at_a_time(rng: np.random.Generator) -> None:
    rows = (rng.normal(size=(300, 7)) + 100).astype(np.float32)
    got = Moments.over((rows[i : i + 1] for i in range(300)), 7)
    mean, covariance = two_pass(rows)
    assert relative(got.mean, mean) <= 1e-7
    assert relative(got.covariance(), covariance) <= 1e-6


@pytest.mark.parametrize("chunk", [1, 3, 256, 257, 8192])
def test_chunk_and_subchunk_sizes_do_not_matter(
    chunk: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    rows = rng.normal(size=(700, 4)).astype(np.float32)
    expected = Moments.of(rows, precise=True)
    monkeypatch.setattr(moments_module, "CHUNK", chunk)
    monkeypatch.setattr(chunk_sums, "SUBCHUNK", max(1, chunk // 2))
    got = Moments.of(rows)
    assert relative(got.covariance(), expected.covariance()) <= 1e-6
    np.testing.assert_allclose(got.mean, expected.mean, atol=1e-7)


@given(
    sizes=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    seed=st.integers(0, 9),
    shift=st.sampled_from([0.0, 1.0, 1000.0]),
)
def test_merge_is_associative_and_commutative(
    sizes: tuple[int, int, int], seed: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = (
        PairMoments.of(rng.normal(size=(n, 3)) + i * shift, rng.normal(size=(n, 2)) - i * shift)
        for i, n in enumerate(sizes)
    )
    left, right = x.merge(y).merge(z), x.merge(y.merge(z))
    swapped = z.merge(x).merge(y)
    size = 1 + shift**2
    for other in (right, swapped):
        assert other.count == left.count == sum(sizes)
        for one, two in ((left.a, other.a), (left.b, other.b)):
            np.testing.assert_allclose(one.mean, two.mean, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(one.scatter, two.scatter, rtol=1e-9, atol=1e-9 * size)
        np.testing.assert_allclose(left.cross, other.cross, rtol=1e-9, atol=1e-9 * size)


def test_no_rows_are_the_neutral_element(rng: np.random.Generator) -> None:
    some = Moments.of(rng.normal(size=(9, 4)))
    for both in (some.merge(Moments.empty(4)), Moments.empty(4).merge(some)):
        assert both.count == 9
        np.testing.assert_array_equal(both.scatter, some.scatter)
    nothing = Moments.over([], 4)
    assert (nothing.count, nothing.total_variance, nothing.rank) == (0, 0.0, 0)
    assert Moments.over([np.zeros((0, 4), np.float32)], 4).count == 0
    assert nothing.effective_rank == nothing.participation_ratio == 0.0


@pytest.mark.parametrize("bits", [8, 11])
@pytest.mark.parametrize("size", [1.0, 0.05])
def test_float32_rows_decoded_from_half_precision(
    bits: int, size: float, rng: np.random.Generator
) -> None:
    """Decoded bfloat16 (8 bits) and float16 (11 bits) rows lie on a grid, so that float32 products
    round alike: a few 1e-6 are lost there, and nothing with ``precise``."""
    rows = rng.normal(size=(3000, 6)) * size + 10
    exponent = np.floor(np.log2(np.abs(rows)))
    step = 2.0 ** (exponent - bits + 1)
    stored = (np.round(rows / step) * step).astype(np.float32)
    mean, covariance = two_pass(stored)
    for precise, bound in ((False, 5e-6), (True, 1e-12)):
        got = Moments.of(stored, precise=precise)
        assert relative(got.mean, mean) <= 1e-7
        assert relative(got.covariance(), covariance) <= bound


def test_rows_are_not_changed(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(50, 4)).astype(np.float32)
    before = rows.copy()
    rows.flags.writeable = False
    Moments.of(rows)
    PairMoments.of(rows, rows[::-1])
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("precise", [False, True])
def test_cross_scatter_of_pairs(dtype: str, precise: bool, rng: np.random.Generator) -> None:
    a = (rng.normal(size=(9000, 6)) + 100).astype(dtype)
    b = (a[:, :4] * 0.5 + rng.normal(size=(9000, 4)) - 50).astype(dtype)
    got = PairMoments.of(a, b, precise=precise)
    exact_a, exact_b = a.astype(float), b.astype(float)
    cross = (exact_a - exact_a.mean(0)).T @ (exact_b - exact_b.mean(0))
    assert relative(got.cross, cross) <= 1e-6
    alone = Moments.of(a, precise=precise)
    np.testing.assert_array_equal(got.a.scatter, alone.scatter)
    assert relative(got.b.covariance(), two_pass(b)[1]) <= 1e-6
    blocks = [(a[i : i + 100], b[i : i + 100]) for i in range(0, 9000, 100)]
    streamed = PairMoments.over(blocks, 6, 4, precise=precise)
    assert relative(streamed.cross, cross) <= 1e-6


def test_matched_dot_is_the_mean_over_pairs(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(70, 5)) + 2, rng.normal(size=(70, 5)) - 1
    expected = np.mean([x @ y for x, y in zip(a, b, strict=True)])
    assert PairMoments.of(a, b).matched_dot == pytest.approx(expected, rel=1e-12)


def test_sides_of_different_dtype_form_pairs(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)).astype(np.float16)
    expected = PairMoments.of(a, b.astype(float)).cross
    np.testing.assert_allclose(PairMoments.of(a, b).cross, expected, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    with refused("unequal-dimensions", "moments of 3 dimensions cannot take rows of 4"):
        Moments.over([np.ones((2, 3)), np.ones((2, 4))], 3)
    with refused("unequal-dimensions", "moments of 3 dimensions cannot take rows of 2"):
        Moments.empty(3).merge(Moments.empty(2))
    with refused("unequal-lengths", "5 rows on one side and 4 on the other"):
        PairMoments.of(np.ones((5, 3)), np.ones((4, 3)))
    with refused("unequal-dimensions", "2 dimensions cannot take rows of 3"):
        PairMoments.empty(3, 2).merge(PairMoments.empty(3, 3))


@pytest.mark.parametrize("known", [True, False, None])
def test_whether_rows_were_normalised_is_remembered(
    known: bool | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    a, b = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    pair = PairMoments.of(a, b, normalised=known)
    pair.save(tmp_path / "pair.safetensors")
    pair.a.save(tmp_path / "a.safetensors")
    alike = (
        pair,
        pair.merge(pair),
        pair.merge(PairMoments.empty(4, 3)),
        PairMoments.over([(a, b)], 4, 3, normalised=known).reversed(),
        PairMoments.load(tmp_path / "pair.safetensors"),
        Moments.load(tmp_path / "a.safetensors"),
        Moments.empty(4).merge(Moments.of(a, normalised=known)),
    )
    assert [moments.normalised for moments in alike] == [known] * len(alike)
    mixed = PairMoments(pair.a, Moments.of(b, normalised=not known), pair.cross)
    assert mixed.normalised is None


def test_normalised_and_raw_rows_are_not_summed_together(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(9, 4))
    unit, raw, old = (Moments.of(rows, normalised=known) for known in (True, False, None))
    for one, other in ((unit, raw), (raw, unit)):
        with refused("normalised-differs", kind=ValuesError):
            one.merge(other)
    assert unit.merge(old).normalised is None
    assert old.merge(raw).normalised is None


# --- derived numbers --------------------------------------------------------------------------


def test_spectrum_ranks_and_variances_agree_with_sklearn(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(200, 12)) * np.geomspace(1, 0.01, 12) + 5
    got = Moments.of(rows)
    values = PCA().fit(rows).explained_variance_
    np.testing.assert_allclose(got.spectrum[0] * 200 / 199, values, rtol=1e-9)
    share = values / values.sum()
    assert got.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)
    assert got.participation_ratio == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-9)
    assert got.total_variance == pytest.approx(rows.var(axis=0).sum(), rel=1e-12)
    np.testing.assert_allclose(got.covariance(ddof=1), np.cov(rows.T), rtol=1e-9)
    direction = rng.normal(size=12) * 7
    along = rows @ direction / np.linalg.norm(direction)
    assert got.variance_along(direction) == pytest.approx(along.var(), rel=1e-9)
    assert got.variance_along(np.zeros(12)) == 0


@pytest.mark.parametrize(("n", "rank"), [(2, 1), (5, 4), (9, 6), (50, 6)])
def test_rank_is_that_of_the_affine_hull(n: int, rank: int, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(n, 6)) @ rng.normal(size=(6, 20)) + 10
    assert Moments.of(rows).rank == rank == np.linalg.matrix_rank(rows - rows.mean(0), tol=1e-8)
    assert Moments.of(rows.astype(np.float32), precise=True).rank >= rank


def test_n_rows_span_at_most_n_minus_1_directions_whatever_rounding_says() -> None:
    assert Moments(3, np.zeros(6), np.eye(6)).rank == 2
    assert Moments(0, np.zeros(6), np.eye(6)).rank == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("precise", [False, True])
def test_equal_rows_have_no_directions(dtype: str, precise: bool) -> None:
    rows = np.tile(np.array([0.1, -0.7, 0.3, 1 / 3]), (1001, 1)).astype(dtype)
    got = Moments.of(rows, precise=precise)
    assert got.rank == 0
    assert got.total_variance <= 1e-12
    assert got.effective_rank == got.participation_ratio == 0.0


def test_equal_spectrum_gives_full_effective_rank() -> None:
    rows = np.vstack([np.eye(5), -np.eye(5)])
    got = Moments.of(rows)
    assert got.effective_rank == pytest.approx(5)
    assert got.participation_ratio == pytest.approx(5)


# --- one code path for every array library ----------------------------------------------------


def test_array_api_strict_takes_the_same_path(rng: np.random.Generator) -> None:
    strict = pytest.importorskip("array_api_strict")
    a = (rng.normal(size=(500, 6)) + 10).astype(np.float32)
    b = rng.normal(size=(500, 6)).astype(np.float32)
    got, expected = PairMoments.of(strict.asarray(a), strict.asarray(b)), PairMoments.of(a, b)
    _same(got, expected)
    precise = PairMoments.of(strict.asarray(a), strict.asarray(b), precise=True)
    _same(precise, PairMoments.of(a, b, precise=True))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_takes_the_same_path(dtype: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    a = torch.tensor(rng.normal(size=(500, 6)) + 10).to(getattr(torch, dtype))
    b = torch.tensor(rng.normal(size=(500, 6))).to(getattr(torch, dtype))
    host_a, host_b = (x.float().numpy() if dtype == "bfloat16" else x.numpy() for x in (a, b))
    _same(PairMoments.of(a, b), PairMoments.of(host_a, host_b))
    _same(PairMoments.of(a, b, precise=True), PairMoments.of(host_a, host_b, precise=True))


def _same(got: PairMoments, expected: PairMoments) -> None:
    for one, two in ((got.a, expected.a), (got.b, expected.b)):
        assert isinstance(one.mean, np.ndarray)
        np.testing.assert_allclose(one.mean, two.mean, rtol=1e-6, atol=3e-7)
        assert relative(one.scatter, two.scatter) <= 5e-6
        assert one.resolution == two.resolution
    assert relative(got.cross, expected.cross) <= 1e-5


# --- files ------------------------------------------------------------------------------------


def test_saved_moments_are_the_same_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    pair = PairMoments.of(rng.normal(size=(30, 4)), rng.normal(size=(30, 3)))
    pair.save(tmp_path / "pair.safetensors")
    back = PairMoments.load(tmp_path / "pair.safetensors")
    pair.a.save(tmp_path / "a.safetensors")
    alone = Moments.load(tmp_path / "a.safetensors")
    for got, expected in ((back.a, pair.a), (back.b, pair.b), (alone, pair.a)):
        assert (got.count, got.resolution) == (expected.count, expected.resolution)
        np.testing.assert_array_equal(got.mean, expected.mean)
        np.testing.assert_array_equal(got.scatter, expected.scatter)
    np.testing.assert_array_equal(back.cross, pair.cross)
