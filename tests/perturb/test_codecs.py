"""Codecs of vector stores, each against its own arithmetic written out again."""

from __future__ import annotations

import importlib.metadata
import os
import re
import struct
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.perturb.codecs import (
    CODECS,
    Codec,
    MinMaxBytes,
    RangedCodec,
    SignBits,
    UniformQuantiser,
    coded_ranking,
    find_codec,
    fit_codec,
    measure_error,
    random_rotation,
    range_lints,
    recall_of,
    rescore,
    search_through,
)
from isthmus.perturb.families import FAMILIES, codec_of
from isthmus.search.scores import Ranking, top_k
from refusals import refused
from worlds import two_modalities

DIM = 24
EASY = (
    "fp16",
    "bf16",
    "sq8",
    "sq6",
    "sq4",
    "int8",
    "uint8",
    "int8-codes",
    "uint8-codes",
    "sign",
    "bins-64",
    "pq6x4",
    "opq6x4",
    "rabitq",
    "rabitq4",
    "rotated-sign",
    "rotated-sq4",
    "rotated-rabitq",
)
RANGED = ("sq8", "sq6", "sq4", "int8", "uint8", "bins-256", "bins-32")


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray]:
    """Two modalities (300, 24), unit rows far apart."""
    return two_modalities(300, DIM, seed=5)


@pytest.fixture(scope="module")
def split(sides: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one modality: to fit on, and others."""
    return sides[1][::2], sides[1][1::2]


def fitted(name: str, rows: np.ndarray, **options: Any) -> Any:
    return fit_codec(name, rows, **(({"rounds": 2} if "opq" in name else {}) | options))


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EASY)
def test_every_codec_keeps_its_name_and_shape(name: str, split: Any) -> None:
    codec = fitted(name, split[0])
    assert isinstance(codec, Codec)
    assert codec.name == name
    out = codec.through(split[1])
    assert out.shape == split[1].shape
    assert out.dtype in (np.float32, np.float64)
    again = fitted(name, split[0])
    np.testing.assert_array_equal(out, again.through(split[1]))
    np.testing.assert_allclose(out[:7], codec.through(split[1][:7]), atol=1e-7)
    with pytest.raises((AttributeError, TypeError)):
        codec.name = "other"


def test_the_table_names_what_is_tested() -> None:
    seen = {find_codec(name)[0].pattern for name in EASY}
    assert seen == {family.pattern for family in CODECS.values()}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fp16", 1024),
        ("bf16", 1024),
        ("sq8", 512),
        ("sq6", 384),
        ("sq4", 256),
        ("int8", 512),
        ("uint8", 512),
        ("sign", 64),
        ("rotated-sign", 64),
        ("bins-32", 320),
        ("pq32x4", 16),
        ("pq64x4", 32),
        ("pq32x7", 28),
        ("rabitq", 72),
        ("rabitq2", 148),
        ("rabitq4", 276),
        ("rotated-rabitq", 72),
    ],
)
def test_bytes_per_vector_of_512_dimensions(name: str, size: int) -> None:
    rows = np.random.default_rng(0).standard_normal((128, 512))
    codec = fit_codec(name, rows)
    assert codec.bytes_per_vector(512) == size
    inner = getattr(codec, "inner", codec)
    if name not in ("sign", "rotated-sign") and not name.startswith(("int8", "uint8", "bins")):
        assert inner.encode(rows[:3]).nbytes == 3 * size


def test_refusals(split: Any) -> None:
    rows = split[0]
    for name in (
        "sq5",
        "pq8",
        "pq0x",
        "rotated-",
        "bins-",
        "rotated-rotated-sign",
        "pq1x99999999999",
    ):
        with refused("unknown-codec", f"'{name}'", "fp16"):
            fit_codec(name, rows)
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("sq8", {"seed": 1}, "unknown-option", "'seed'; it takes none"),
        ("rotated-sq8", {"rounds": 1}, "unknown-option", "'rounds'; it takes seed"),
        ("pq7x4", {}, "parts-do-not-divide", "7 parts do not divide 24"),
        ("pq0x4", {}, "parts-do-not-divide", "0 parts"),
        ("pq6x8", {}, "too-few-rows", "or at most 7 bits"),
        ("pq6x13", {}, "option-range", "at most 12"),
        ("opq6x4", {"rounds": 0}, "option-range", "rounds 0"),
        ("rabitq", {"query_bits": 9}, "option-range", "query_bits 9"),
        ("rabitq1", {}, "option-range", "bits of rabitq 1"),
        ("rabitq4", {"query_bits": 4}, "unknown-option", "it takes none"),
        ("bins-1", {}, "option-range", "at most 65536"),
    ]
    for name, options, code, fact in cases:
        with refused(code, fact):
            fit_codec(name, rows, **options)
    for name in ("sq8", "int8", "pq6x4", "rabitq", "rotated-sign"):
        with refused("no-rows", "(24,)"):
            fit_codec(name, rows[0])
        with refused("not-finite", "calibration rows"):
            fit_codec(name, np.where(np.eye(len(rows), DIM) > 0, np.nan, rows))
        with refused("wrong-dim", "(2, 3)", "24 dimensions"):
            fit_codec(name, rows).through(np.ones((2, 3)))
    with refused("wrong-dim", "24 dimensions"):
        fit_codec("sq8", rows).bytes_per_vector(512)


def test_the_page_lists_every_codec_and_its_example_runs(
    sides: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "codecs.md").read_text(encoding="utf-8")
    assert [name for name in CODECS if f"`{name}`" not in page] == []
    monkeypatch.chdir(tmp_path)
    for name, side in zip(("images", "captions"), sides):
        np.save(f"{name}.npy", side.astype(np.float32))
    block = re.search(r"^<!-- runnable: codecs -->\n```python\n(.*?)^```$", page, re.M | re.S)
    assert block is not None
    exec(compile(block[1], "docs/codecs.md", "exec"), {})
    said = capsys.readouterr().out
    assert "24.0 bytes a row" in said
    assert "fit the ranges on image rows" in said


# --- half floats ------------------------------------------------------------------------------


def test_half_floats_bit_by_bit() -> None:
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((40, 16)) * 10.0 ** rng.integers(-6, 4, (40, 16))).astype("f4")
    half = [struct.unpack("<e", struct.pack("<e", float(v)))[0] for v in rows.ravel()]
    np.testing.assert_array_equal(fit_codec("fp16", rows).through(rows).ravel(), half)
    brain = []
    for value in rows.ravel():
        bits = struct.unpack("<I", struct.pack("<f", float(value)))[0]
        brain.append(struct.unpack("<f", struct.pack("<I", (bits + 0x8000) & 0xFFFF0000))[0])
    np.testing.assert_array_equal(fit_codec("bf16", rows).through(rows).ravel(), brain)


def test_half_floats_saturate_where_faiss_alone_gives_infinity() -> None:
    wild = np.array([[1e5, -1e5, 1e39, 65504.0, 65519.0, 0.0, -0.0, 3.4e38]])
    assert fit_codec("fp16", wild).through(wild).tolist() == [
        [65504.0, -65504.0, 65504.0, 65504.0, 65504.0, 0.0, 0.0, 65504.0]
    ]
    top = struct.unpack("<f", struct.pack("<I", 0x7F7F0000))[0]
    out = fit_codec("bf16", wild).through(wild)[0]
    assert out[2] == out[7] == top
    assert np.isfinite(out).all()


# --- ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "steps"), [("sq8", 255), ("sq6", 63), ("sq4", 15)])
def test_scalar_quantisers_by_hand(name: str, steps: int, split: Any) -> None:
    fit, test = (rows.astype(np.float32) for rows in split)
    codec = fit_codec(name, fit)
    low, width = fit.min(axis=0), fit.max(axis=0) - fit.min(axis=0)
    np.testing.assert_array_equal(codec.low, low)
    np.testing.assert_allclose(codec.high, fit.max(axis=0), rtol=1e-6)
    share = np.clip((test - low) / width, 0, 1)
    codes = np.floor(share * np.float32(steps))
    np.testing.assert_allclose(
        codec.through(test), low + width * ((codes + 0.5) / steps), atol=1e-6
    )
    inside = codec.through(fit)
    assert (np.abs(inside - fit) <= width / steps / 2 * 1.001 + 1e-7).all()


def by_cast(rows: np.ndarray, fit: np.ndarray, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of sentence-transformers up to 5.7 as cut, and as its cast gives them: wrapped."""
    low, high = fit.min(axis=0), fit.max(axis=0)
    numbers = (rows - low) / ((high - low) / 255) - (128 if kind is np.int8 else 0)
    return np.trunc(numbers), numbers.astype(np.int64).astype(kind)


@pytest.mark.parametrize(("name", "kind"), [("int8", np.int8), ("uint8", np.uint8)])
def test_bytes_by_hand_clip_where_a_cast_wraps(name: str, kind: Any, split: Any) -> None:
    fit, test = (rows.astype(np.float32) for rows in split)
    codec: Any = fit_codec(name, fit)
    low, high = fit.min(axis=0), fit.max(axis=0)
    cells = np.clip(np.floor((test - low) / ((high - low) / np.float32(255))), 0, 255)
    expected = (cells - (128 if kind is np.int8 else 0)).astype(kind)
    codes = codec.encode(test)
    assert codes.dtype == kind
    np.testing.assert_array_equal(codes, expected)
    middles = np.where(cells == 255, high, low + (cells + 0.5) * ((high - low) / 255))
    np.testing.assert_allclose(codec.through(test), middles, atol=1e-6)
    assert (np.abs(codec.through(fit) - fit) <= codec.step / 2 + 1e-6).all()
    raw = fit_codec(f"{name}-codes", fit)
    np.testing.assert_array_equal(raw.through(test), codes)

    numbers, cast = by_cast(test, fit, kind)
    limits = np.iinfo(kind)
    wraps = (numbers < limits.min) | (numbers > limits.max)
    assert 0 < wraps.mean() < 0.2
    assert range_lints(codec, {"text": test})[0].wrapped == wraps.mean()
    assert (np.abs(codes[wraps].astype(int) - cast[wraps].astype(int)) > 100).all()
    np.testing.assert_array_equal(
        np.unique((codes.astype(int) - cast)[~wraps]), [-1, 0] if kind is np.int8 else [0]
    )


@pytest.mark.torch
def test_bytes_and_bits_are_the_library_s_own(sides: Any) -> None:
    library = pytest.importorskip("sentence_transformers.util.quantization")
    if int(importlib.metadata.version("sentence-transformers").split(".")[0]) < 6:
        pytest.skip("sentence-transformers before 6 does not clip")
    fit, test = (side.astype(np.float32) for side in sides)
    for name in ("int8", "uint8"):
        codes = library.quantize_embeddings(test, name, calibration_embeddings=fit)
        np.testing.assert_array_equal(fit_codec(name, fit).encode(test), codes)
    bits = library.quantize_embeddings(test, "ubinary")
    np.testing.assert_array_equal(SignBits.fit(fit).encode(test), bits)


def test_bins_bytes_and_signs_are_those_of_faiss(split: Any) -> None:
    """FAISS cuts 255 or 15 steps; where it has no other top cell, decoded rows are the same."""
    import faiss

    fit, test = (rows.astype(np.float32) for rows in split)
    for kind, steps in (("8bit", 255), ("4bit", 15)):
        kind = getattr(faiss.ScalarQuantizer, f"QT_{kind}_uniform")
        theirs = faiss.ScalarQuantizer(DIM, kind)
        theirs.train(fit)
        ours: Any = fit_codec(f"bins-{steps}", fit)
        below = test < ours.high - 1e-6
        decoded = theirs.decode(theirs.compute_codes(test))
        np.testing.assert_allclose(ours.through(test)[below], decoded[below], atol=1e-6)
    ranged = fit_codec("sq8", fit).through(test)
    inside = test < fit.max(axis=0) - 1e-6
    np.testing.assert_allclose(
        fit_codec("int8", fit).through(test)[inside], ranged[inside], 0, 1e-6
    )
    bits = np.zeros((len(test), DIM // 8), np.uint8)
    faiss.fvecs2bitvecs(faiss.swig_ptr(test), faiss.swig_ptr(bits), DIM, len(test))
    np.testing.assert_array_equal(
        np.unpackbits(bits, axis=1, bitorder="little"),
        np.unpackbits(SignBits.fit(fit).encode(test), axis=1),
    )


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(RANGED), seed=st.integers(0, 50), far=st.sampled_from([1.0, 3.0, 1e6]))
def test_values_outside_the_range_take_its_ends(name: str, seed: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    codec: Any = fit_codec(name, rng.standard_normal((60, 8)).astype(np.float32))
    wild = (rng.standard_normal((30, 8)) * far).astype(np.float32)
    low, high = codec.low, codec.high
    step = np.max((high - low) / codec.last_code)  # the maximum itself may round into either cell
    np.testing.assert_allclose(
        codec.through(wild), codec.through(np.clip(wild, low, high)), atol=1.01 * step
    )
    order = np.argsort(wild, axis=0)
    lined = np.take_along_axis(codec.through(wild), order, axis=0)
    assert (np.diff(lined, axis=0) >= 0).all(), "a larger value never decodes to a smaller one"
    assert codec.through(wild).min() >= np.min(low) - 1e-5
    # FAISS's cells end half a step above the maximum
    assert codec.through(wild).max() <= np.max(high) + step / 2 + 1e-5


@pytest.mark.parametrize("name", RANGED)
def test_a_constant_coordinate_comes_back(name: str) -> None:
    rows = np.column_stack([np.full(9, 0.75), np.linspace(-1, 1, 9)]).astype(np.float32)
    codec = fit_codec(name, rows if not name.startswith("bins") else rows[:, :1])
    wild = np.array([[5.0, 0.0], [-5.0, 0.0], [0.75, 0.0]], np.float32)
    out = codec.through(wild if not name.startswith("bins") else wild[:, :1])
    np.testing.assert_array_equal(out[:, 0], 0.75)


# --- lints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANGED)
def test_range_lints_count_what_a_plain_cast_does(name: str, sides: Any) -> None:
    a, b = (side.astype(np.float32) for side in sides)
    codec: Any = fit_codec(name, a[::2])
    assert isinstance(codec, RangedCodec)
    own, other = range_lints(codec, {"image": a[1::2], "text": b})
    assert (own.modality, other.modality, own.codec) == ("image", "text", name)
    fit = a[::2].astype(np.float64)
    low, high = (
        (fit.min(), fit.max()) if name.startswith("bins") else (fit.min(axis=0), fit.max(axis=0))
    )
    for lint, rows in ((own, a[1::2]), (other, b)):
        outside = (rows < np.float32(low)) | (rows > np.float32(high))
        assert lint.outside == pytest.approx(outside.mean(), abs=2 / rows.size)
        assert lint.outside_rows == pytest.approx(outside.any(axis=1).mean(), abs=2 / len(rows))
        assert lint.values == rows.size
        shift = 128 if name == "int8" else 0
        parts = codec.last_code + (1 if name.startswith("bins") else 0)
        numbers = (rows - low) / (high - low) * parts - shift
        cut = np.trunc(numbers) if not name.startswith("bins") else np.floor(numbers)
        wrapped = (cut < -shift) | (cut > codec.last_code - shift)
        assert lint.wrapped == pytest.approx(wrapped.mean(), abs=2 / rows.size)
        assert lint.wrapped <= lint.outside + 2 / rows.size
    if not name.startswith("bins"):
        assert other.outside > 4 * own.outside
        assert not other.fits
        assert "fit the ranges on text rows" in other.words
        dimension, share = other.worst
        assert share == ((b < low) | (b > high)).mean(axis=0).max()
        assert f"dimension {dimension}" in other.words


def test_codecs_without_ranges_have_no_lint_and_rotated_ones_do(sides: Any) -> None:
    a, b = sides
    for name in ("fp16", "sign", "pq6x4", "rabitq", "rotated-sign"):
        assert range_lints(fit_codec(name, a), {"image": a}) == []
    codec: Any = fit_codec("rotated-int8", a, seed=3)
    inner = MinMaxBytes.fit(a @ codec.rotation.T)
    got = range_lints(codec, {"text": b})[0]
    assert got.outside == range_lints(inner, {"text": b @ codec.rotation.T})[0].outside
    assert got.codec == "rotated-int8"
    with refused("no-rows", "'text'"):
        range_lints(inner, {"text": b[:0]})


def test_like_rows_leave_two_in_n_plus_one_outside() -> None:
    rng = np.random.default_rng(0)
    codec = fit_codec("int8", rng.standard_normal((99, 400)))
    lint = range_lints(codec, {"image": rng.standard_normal((500, 400))})[0]
    assert lint.outside == pytest.approx(2 / 100, rel=0.1)
    assert not lint.fits


def test_the_uniform_maximum_itself_wraps_in_a_plain_cast() -> None:
    codec = UniformQuantiser.fit(np.array([[0.0, 1.0]]), 256)
    lint = range_lints(codec, {"image": np.array([[0.5, 1.0]])})[0]
    assert (lint.outside, lint.wrapped, lint.wrapped_rows) == (0, 0.5, 1)
    assert codec.encode(np.array([[1.0]])).tolist() == [[255]]


# --- codebooks --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parts", "bits"), [("pq6x4", 6, 4), ("pq3x7", 3, 7)])
def test_product_quantiser_from_its_codebooks(name: str, parts: int, bits: int, split: Any) -> None:
    import faiss

    fit, test = (rows.astype(np.float32) for rows in split)
    codec: Any = fit_codec(name, fit)
    books = faiss.vector_to_array(codec.index.pq.centroids).reshape(parts, 2**bits, DIM // parts)
    np.testing.assert_allclose(codec.through(test), by_codebook(books, test), atol=1e-6)
    assert codec.warning is None if bits == 1 else "remembers its calibration rows" in codec.warning
    assert f"{2**bits} centroids a part and was fitted on 150 rows" in codec.warning


def by_codebook(books: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Each piece of a row by its nearest centroid, one at a time."""
    out = np.empty_like(rows)
    size = books.shape[2]
    for i, row in enumerate(rows):
        for part, book in enumerate(books):
            piece = row[part * size : (part + 1) * size]
            out[i, part * size : (part + 1) * size] = book[((book - piece) ** 2).sum(1).argmin()]
    return out


def test_optimised_product_quantiser_from_its_rotation(split: Any) -> None:
    import faiss

    fit, test = (rows.astype(np.float32) for rows in split)
    codec: Any = fit_codec("opq6x4", fit, rounds=4)
    turn = faiss.downcast_VectorTransform(codec.index.chain.at(0))
    matrix = faiss.vector_to_array(turn.A).reshape(DIM, DIM)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(DIM), atol=1e-5)
    inner = faiss.downcast_index(codec.index.index)
    books = faiss.vector_to_array(inner.pq.centroids).reshape(6, 16, 4)
    expected = by_codebook(books, test @ matrix.T) @ matrix
    np.testing.assert_allclose(codec.through(test), expected, atol=1e-5)
    plain = fit_codec("pq6x4", fit)
    assert ((codec.through(fit) - fit) ** 2).sum() < ((plain.through(fit) - fit) ** 2).sum()
    assert "opq6x4 has 16 centroids" in codec.warning


def test_a_rotation_is_trained_on_fewer_rows_than_dimensions() -> None:
    """FAISS writes past its memory there; a crash of this test is that."""
    rows = np.random.default_rng(0).standard_normal((20, 64)).astype(np.float32)
    codec = fit_codec("opq8x2", rows, rounds=2)
    assert np.isfinite(codec.through(rows)).all()


def test_enough_rows_leave_no_warning() -> None:
    rows = np.random.default_rng(0).standard_normal((39 * 4, 8)).astype(np.float32)
    assert fit_codec("pq2x2", rows).warning is None  # type: ignore[attr-defined]
    assert fit_codec("pq2x2", rows[1:]).warning is not None  # type: ignore[attr-defined]
    assert fit_codec("sq8", rows[:3]).warning is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["pq6x4", "opq6x4", "sq8", "rabitq"])
def test_threads_do_not_change_a_code(name: str, split: Any) -> None:
    import faiss

    before = faiss.omp_get_max_threads()
    outs = []
    try:
        for threads in (1, 2, 3):
            faiss.omp_set_num_threads(threads)
            outs.append(fitted(name, split[0]).through(split[1]))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(outs[0], outs[1])
    np.testing.assert_array_equal(outs[0], outs[2])


def test_threads_do_not_change_a_trained_rotation() -> None:
    """Left alone, FAISS trains another rotation on two threads than on one."""
    import faiss

    rows = np.random.default_rng(0).standard_normal((300, 256)).astype(np.float32)
    before = faiss.omp_get_max_threads()
    outs = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            outs.append(fit_codec("opq8x4", rows, rounds=3).through(rows))
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(*outs)


def test_the_seed_chooses_the_codebook(split: Any) -> None:
    one, two = (fit_codec("pq6x4", split[0], seed=s).through(split[1]) for s in (0, 1))
    assert (one != two).any()


# --- bits -------------------------------------------------------------------------------------


def test_sign_bits_are_signs_and_rotated_ones_are_signs_of_turned_rows(split: Any) -> None:
    fit, test = split
    codec: Any = fit_codec("sign", fit)
    np.testing.assert_allclose(codec.through(test), np.sign(test) * np.abs(fit).mean())
    turned: Any = fit_codec("rotated-sign", fit, seed=7)
    q = random_rotation(DIM, 7)
    scale = np.abs(fit @ q.T).mean()
    np.testing.assert_allclose(turned.through(test), scale * np.sign(test @ q.T) @ q, atol=1e-12)
    assert (fit_codec("rotated-sign", fit, seed=8).through(test) != turned.through(test)).any()


@pytest.mark.parametrize("dim", [1, 2, 24])
def test_random_rotations_are_orthogonal_and_uniform(dim: int) -> None:
    q = random_rotation(dim, 3)
    np.testing.assert_allclose(q @ q.T, np.eye(dim), atol=1e-12)
    np.testing.assert_array_equal(q, random_rotation(dim, 3))
    traces = [np.trace(random_rotation(dim, s)) for s in range(400)]
    assert abs(np.mean(traces)) < 4 / np.sqrt(400)  # mean 0, variance 1 for the uniform measure
    assert np.var(traces) == pytest.approx(1, abs=0.35)


# --- RaBitQ -----------------------------------------------------------------------------------


def test_rabitq_by_hand(split: Any) -> None:
    fit, test = split
    codec: Any = fit_codec("rabitq", fit)
    centre = fit.mean(axis=0)
    np.testing.assert_allclose(codec.centroid, centre, atol=1e-7)
    residual = test - centre
    signs = np.where(residual > 0, 1.0, -1.0)
    length = (residual**2).sum(axis=1) / np.abs(residual).sum(axis=1)
    np.testing.assert_allclose(codec.through(test), centre + length[:, None] * signs, atol=1e-6)


@pytest.mark.parametrize("bits", [0, 1, 4])
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_rabitq_ranks_as_a_faiss_index_does(score: str, bits: int, sides: Any) -> None:
    import faiss

    queries, stored = (side.astype(np.float32) for side in sides)
    codec: Any = fit_codec("rabitq", stored[::2], query_bits=bits)
    metric = faiss.METRIC_INNER_PRODUCT if score == "dot" else faiss.METRIC_L2
    index = faiss.index_factory(DIM, "RaBitQ", metric)
    assert index.qb == 4, "FAISS's own default cuts the query to 4 bits"
    index.qb = bits
    index.train(stored[::2])
    index.add(stored)
    found, rows = index.search(queries, len(stored))
    expected = np.empty_like(found)
    np.put_along_axis(expected, rows, found if score == "dot" else -found / 2, axis=1)
    np.testing.assert_allclose(codec.scores(queries, stored, score), expected, atol=1e-6)
    ranking = coded_ranking(queries, stored, codec, score=score)
    mine = np.concatenate([s for _, s in ranking.score_blocks()])
    if score == "euclidean":  # FAISS takes an estimated distance below zero for zero
        centre = codec.centroid.astype(float)
        own = 0.5 * ((queries - centre) ** 2).sum(axis=1) + codec.query_through(queries) @ centre
        mine = np.minimum(mine - own[:, None] + 0.5 * centre @ centre, 0)
        assert (mine == 0).mean() < 0.1
    np.testing.assert_allclose(across(mine), across(expected), atol=5e-6)
    extra = np.random.default_rng(0).normal(size=len(stored))
    biased = coded_ranking(queries, stored, codec, score=score, bias=extra)
    np.testing.assert_allclose(biased.offset - ranking.offset, extra, atol=1e-9)
    plain = Ranking.of(queries, codec.through(stored), score)
    decoded = np.concatenate([s for _, s in plain.score_blocks()])
    assert np.abs(across(decoded) - across(expected)).max() > 0.05, "the decoded score is not it"


@pytest.mark.parametrize("bits", [2, 4, 9])
@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("dim", [DIM, 13])
def test_multi_bit_rabitq_scores_as_a_faiss_index_does(
    score: str, bits: int, dim: int, sides: Any
) -> None:
    """Whatever ``qb``, which only the first look at the signs uses: all scores are looked at."""
    import faiss

    queries, stored = (side[:, :dim].astype(np.float32) for side in sides)
    codec: Any = fit_codec(f"rabitq{bits}", stored[::2])
    metric = faiss.METRIC_INNER_PRODUCT if score == "dot" else faiss.METRIC_L2
    index = faiss.IndexRaBitQ(dim, metric, bits)
    index.train(stored[::2])
    index.add(stored)
    found, rows = index.search(queries, len(stored))
    expected = np.empty_like(found)
    np.put_along_axis(expected, rows, found if score == "dot" else -found / 2, axis=1)
    ranking = coded_ranking(queries, stored, codec, score=score)
    mine = np.concatenate([s for _, s in ranking.score_blocks()])
    np.testing.assert_allclose(across(mine), across(expected), atol=5e-6)
    np.testing.assert_allclose(codec.scores(queries, stored, score), expected, atol=1e-6)


def test_more_bits_lose_less_and_an_old_faiss_is_named(split: Any, monkeypatch: Any) -> None:
    import faiss

    fit, test = split
    errors = [
        np.linalg.norm(fit_codec(name, fit).through(test) - test)
        for name in ("rabitq", "rabitq2", "rabitq4", "rabitq8")
    ]
    assert all(later < 0.6 * earlier for earlier, later in pairwise(errors))
    assert codec_at_the_mean(fit) == pytest.approx(fit.mean(axis=0), abs=1e-6)
    monkeypatch.setattr(faiss, "RaBitQuantizer", None)
    with refused("library-too-old", "no RaBitQ of 4 bits"):
        fit_codec("rabitq4", fit)


def codec_at_the_mean(fit: np.ndarray) -> np.ndarray:
    """The mean itself, which has no direction to code."""
    return fit_codec("rabitq4", fit).through(fit.mean(axis=0, keepdims=True).astype("f4"))[0]


def across(scores: np.ndarray) -> np.ndarray:
    """Scores with what is constant for a query taken off."""
    return np.asarray(scores - scores.mean(axis=1, keepdims=True))


def test_rabitq_of_centred_rows_ranks_as_the_decoded_dot_product(sides: Any) -> None:
    queries, stored = sides
    centred = stored - stored.mean(axis=0)
    codec: Any = fit_codec("rabitq", centred)
    decoded = queries @ codec.through(centred).T
    np.testing.assert_allclose(across(codec.scores(queries, centred)), across(decoded), atol=5e-6)
    np.testing.assert_allclose(codec.offsets(centred, "dot"), 0, atol=1e-6)
    assert codec.offsets(centred, "cosine") is None
    with refused("unknown-score", "'cosine'"):
        codec.scores(queries, centred, "cosine")


def test_rotated_rabitq_is_faiss_behind_the_rotation(sides: Any) -> None:
    queries, stored = sides
    codec: Any = fit_codec("rotated-rabitq", stored[::2], seed=2, query_bits=4)
    q = random_rotation(DIM, 2)
    inner: Any = fit_codec("rabitq", stored[::2] @ q.T, query_bits=4)
    ranking = coded_ranking(queries, stored, codec)
    mine = np.concatenate([s for _, s in ranking.score_blocks()])
    theirs = inner.scores(queries @ q.T, stored @ q.T)
    np.testing.assert_allclose(across(mine), across(theirs), atol=5e-6)


# --- errors -----------------------------------------------------------------------------------


def test_the_error_by_hand(split: Any) -> None:
    fit, test = split
    codec = fit_codec("pq6x4", fit)
    found = measure_error(codec, test, full=True)
    e = codec.through(test).astype(float) - test
    np.testing.assert_allclose(found.mean, e.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(e.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(found.variance, e.var(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.shaped, found.covariance)
    assert found.per_dimension == pytest.approx(e.var(axis=0).mean())
    inner = [float(x @ y) for x, y in zip(test, e)]
    squared = [float(y @ y) for y in e]
    assert found.inner == pytest.approx(np.mean(inner))
    assert found.squared == pytest.approx(np.mean(squared))
    assert found.ratio == pytest.approx(np.mean(inner) / np.mean(squared))
    assert found.correlation == pytest.approx(np.corrcoef(inner, squared)[0, 1])
    joint = np.cov(np.hstack([test, e]).T, bias=True)
    shared, own = np.trace(joint[:DIM, DIM:]), np.trace(joint[DIM:, DIM:])
    assert found.centred_ratio == pytest.approx(shared / own)
    assert found.slope == pytest.approx(shared / np.trace(joint[:DIM, :DIM]))
    diagonal = measure_error(codec, test)
    assert diagonal.covariance is None
    np.testing.assert_array_equal(diagonal.shaped, np.diag(found.variance))
    with refused("too-few-rows", "2 rows"):
        measure_error(codec, test[:1])


def test_means_of_cells_give_minus_the_squared_error(split: Any) -> None:
    """k-means settled on its own rows: E[x | code] is the centroid, to the last iteration."""
    fit = split[0]
    found = measure_error(fit_codec("pq6x4", fit), fit)
    assert found.ratio == pytest.approx(-1, abs=0.02)
    assert found.kind == "residual"
    assert "does not apply; badly coded rows" in found.words


def test_unbiased_codecs_give_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 16))
    codec = UniformQuantiser.fit(rows, 16)
    uniform = measure_error(codec, rows)
    assert abs(uniform.ratio) < 0.1  # standard error 0.03
    assert uniform.per_dimension == pytest.approx(codec.step**2 / 12, rel=0.02)
    assert uniform.kind == "additive"
    assert "theory applies with variance" in uniform.words
    bits = measure_error(fit_codec("rabitq", rows - rows.mean(axis=0)), rows - rows.mean(axis=0))
    assert abs(bits.ratio) < 1e-6
    assert bits.kind == "additive"


def test_clipping_and_other_kinds_are_named(sides: Any) -> None:
    a, _ = sides
    tight = UniformQuantiser(256, float(np.quantile(a, 0.2)), float(np.quantile(a, 0.8)))
    found = measure_error(tight, a)
    assert found.kind == "clipped"
    assert "fit the ranges on rows like these" in found.words
    exact = measure_error(fit_codec("fp16", a), np.round(a * 64) / 64)
    assert exact.kind == "none"
    assert exact.words == "The codec gives these rows back up to a constant."
    assert np.isnan(exact.correlation)
    raw = measure_error(fit_codec("int8-codes", a), a)
    assert raw.kind == "leaning"
    assert "larger" in raw.words


# --- search -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_rescoring_by_brute_force(score: str, with_bias: bool, sides: Any) -> None:
    queries, stored = sides[0][:40], sides[1] * np.linspace(0.5, 2, 300)[:, None]
    bias = np.random.default_rng(0).normal(size=300) * 0.1 if with_bias else None
    codec = fit_codec("sign", stored[::2])
    found = search_through(queries, stored, codec, score=score, bias=bias, k=3, rescored=20)
    coded = codec.through(stored)

    def value(q: np.ndarray, x: np.ndarray, j: int) -> float:
        extra = 0.0 if bias is None else bias[j]
        if score == "dot":
            return float(q @ x) + extra
        if score == "cosine":
            return float(q @ x) / float(np.linalg.norm(x)) + extra
        return -0.5 * float((q - x) @ (q - x)) + extra

    for i, q in enumerate(queries):
        first = sorted(range(300), key=lambda j: (-round(value(q, coded[j], j), 9), j))[:20]
        best = sorted(first, key=lambda j: -value(q, stored[j], j))[:3]
        assert found.coded[i].tolist() == first[:3]
        assert found.rescored[i].tolist() == best
    exact = top_k(Ranking.of(queries, stored, score, bias), 3).rows
    np.testing.assert_array_equal(found.exact, exact)
    all_of_them = search_through(queries, stored, codec, score=score, bias=bias, k=3, rescored=300)
    np.testing.assert_array_equal(all_of_them.rescored, exact)


def test_losses_add_up_and_the_index_has_its_own(sides: Any) -> None:
    queries, stored = sides
    codec = fit_codec("sign", stored[::2])

    def every_other(ranking: Ranking, depth: int) -> np.ndarray:
        """An index that sees even rows only, and finds no more than 8."""
        keep = np.arange(0, 300, 2)
        half = Ranking(ranking.queries, ranking.candidates[keep], ranking.score)
        rows = np.full((len(queries), depth), -1)
        rows[:, :8] = keep[top_k(half, 8).rows]
        return rows

    found = search_through(queries, stored, codec, k=5, rescored=30, index=every_other)
    losses = found.losses()
    assert (found.indexed % 2 == 0).all()
    np.testing.assert_allclose(losses.codec + losses.index - losses.rescoring, losses.total)
    assert losses.exact.mean() == 1
    assert losses.codec.mean() > 0
    assert losses.index.mean() > 0.05
    assert losses.rescoring.mean() >= 0
    expected = [len(set(x) & set(y)) / 5 for x, y in zip(found.exact, found.indexed)]
    np.testing.assert_allclose(losses.indexed, expected)
    right = found.losses(lambda rows: rows[:, 0] == np.arange(300))
    assert right.exact.mean() == (found.exact[:, 0] == np.arange(300)).mean()
    plain = search_through(queries, stored, codec, k=5)
    np.testing.assert_array_equal(plain.indexed, plain.coded)
    np.testing.assert_array_equal(plain.rescored, plain.coded)
    few = search_through(queries, stored, codec, k=10, rescored=30, index=every_other)
    assert (few.rescored[:, 8:] == -1).all()
    assert (few.rescored[:, :8] >= 0).all()
    assert recall_of(np.array([[3, -1]]), np.array([[3, 4]])).tolist() == [0.5]


def test_both_coded_float_tail_and_other_truth(sides: Any) -> None:
    queries, stored = sides
    codec, own = fit_codec("sq4", stored[::2]), fit_codec("sq4", queries[::2])
    both = coded_ranking(queries, stored, codec, query_codec=own)
    np.testing.assert_allclose(both.queries, own.through(queries))
    np.testing.assert_allclose(both.candidates, codec.through(stored))
    short = fit_codec("sq4", stored[::2, :20])
    part = coded_ranking(queries, stored, short, stored=20)
    np.testing.assert_allclose(part.candidates[:, :20], short.through(stored[:, :20]))
    np.testing.assert_array_equal(part.candidates[:, 20:], stored[:, 20:])
    np.testing.assert_array_equal(part.queries, queries)
    moved = stored - stored.mean(axis=0)
    before = Ranking.of(queries, stored, "euclidean")
    found = search_through(queries, moved, fit_codec("sq4", moved), exact=before, k=2, rescored=300)
    np.testing.assert_array_equal(found.rescored, top_k(before, 2).rows)


def test_search_refusals(sides: Any) -> None:
    queries, stored = sides
    codec = fit_codec("sq8", stored)
    with refused("bad-k", "3 are rescored but 5"):
        search_through(queries, stored, codec, k=5, rescored=3)
    with refused("bad-k", "k=301 of 300"):
        search_through(queries, stored, codec, k=301)
    with refused("wrong-shape", "(300, 2)"):
        search_through(queries, stored, codec, k=5, index=lambda ranking, depth: np.zeros((300, 2)))
    exact = Ranking.of(queries, stored, "dot")
    with refused("bad-k", "k of 4 rescored candidates 0"):
        rescore(np.zeros((300, 4), int), exact, 0)
    with refused("unequal-lengths", "2 shortlists for 300"):
        rescore(np.zeros((2, 4), int), exact, 1)


# --- real embeddings --------------------------------------------------------------------------

FOUND = {
    "raw": ((0.292, 0.412), (0.152, 0.164)),
    "candidates centred": ((0.370, 0.452), (0.312, 0.388)),
    "both centred": ((0.454, 0.530), (0.402, 0.480)),
    "moved and renormalised": ((0.346, 0.408), (0.308, 0.346)),
    "ridge query shift": ((0.468, 0.568), (0.434, 0.568)),
    "query centred, candidate bias": ((0.454, 0.596), (0.434, 0.590)),
}
"""FAISS 1.15 RaBitQ, inner product, its default of 4-bit queries, no rotation, fitted on all 500:
R@1 and agreement with exact search, text to image and image to text."""
ONE_QUERY = 1 / 500 + 1e-9


@pytest.fixture(scope="module")
def coco() -> tuple[np.ndarray, np.ndarray]:
    """CLIP's unit rows of 500 COCO images and of their captions."""
    name = os.environ.get("ISTHMUS_REAL_DATA")
    if not name:
        pytest.skip("real embeddings are not here: ISTHMUS_REAL_DATA names no folder")
    rows = np.load(Path(name) / "modgap/features_clip.npy", allow_pickle=False).astype(float)
    images, captions = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return images, captions


def ways(q: np.ndarray, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray, Any]]:
    mq, mx = q.mean(axis=0), x.mean(axis=0)
    covariance = np.cov(x.T, bias=True)
    noise = 0.6 * covariance.trace() / 512
    shift = noise * np.linalg.inv(noise * np.eye(512) + covariance / 3) @ mq
    moved = x + mq - mx
    return {
        "raw": (q, x, None),
        "candidates centred": (q, x - mx, None),
        "both centred": (q - mq, x - mx, None),
        "moved and renormalised": (q, moved / np.linalg.norm(moved, axis=1)[:, None], None),
        "ridge query shift": (q - shift, x - mx, None),
        "query centred, candidate bias": (q - mq, x - mx, x @ mq),
    }


def marks(q: np.ndarray, x: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    exact = (q @ x.T).argmax(axis=1)
    return float((answers == np.arange(len(q))).mean()), float((answers == exact).mean())


def answered(codec: Any, q: np.ndarray, x: np.ndarray, bias: Any = None, **more: Any) -> np.ndarray:
    ranking = coded_ranking(q, x, codec, bias=bias, **more)
    return np.concatenate([s.argmax(axis=1) for _, s in ranking.score_blocks()])


@pytest.mark.real_data
@pytest.mark.parametrize("column", [0, 1])
def test_rabitq_on_coco(column: int, coco: Any) -> None:
    import faiss

    x, q = coco if column == 0 else coco[::-1]
    assert marks(q, x, (q @ x.T).argmax(axis=1)) == ((0.506, 1) if column == 0 else (0.552, 1))
    for way, (queries, stored, bias) in ways(q, x).items():
        codec: Any = fit_codec("rabitq", stored, query_bits=4)
        got = marks(q, x, answered(codec, queries, stored, bias))
        assert got == pytest.approx(FOUND[way][column], abs=ONE_QUERY), way
        if bias is None:  # the same by a plain index with nothing of ours
            index = faiss.index_factory(512, "RaBitQ", faiss.METRIC_INNER_PRODUCT)
            rows = np.ascontiguousarray(stored, np.float32)
            index.train(rows)
            index.add(rows)
            first = index.search(np.ascontiguousarray(queries, np.float32), 1)[1][:, 0]
            assert marks(q, x, first) == pytest.approx(FOUND[way][column], abs=ONE_QUERY), way


@pytest.mark.real_data
def test_without_a_rotation_raw_rabitq_looks_worse_than_it_is(coco: Any) -> None:
    """FAISS's ``RaBitQ`` alone does not rotate; five coordinates hold most of this gap."""
    images, captions = coco
    plain = answered(fit_codec("rabitq", captions), images, captions)
    assert marks(images, captions, plain)[0] == pytest.approx(0.162, abs=0.005)
    turned = [
        marks(
            images,
            captions,
            answered(fit_codec("rotated-rabitq", captions, seed=s), images, captions),
        )[0]
        for s in range(5)
    ]
    assert min(turned) > 0.30
    assert max(turned) < 0.41


@pytest.mark.real_data
def test_images_in_ranges_of_captions(coco: Any) -> None:
    images, captions = coco
    for name in ("int8", "sq8"):
        own, other = range_lints(
            fit_codec(name, captions[::2]), {"text": captions[1::2], "image": images[1::2]}
        )
        assert own.outside == pytest.approx(2 / 251, abs=0.001)
        assert own.fits
        assert other.outside == pytest.approx(0.032, abs=0.002)
        assert other.outside_rows > 0.95
        assert other.wrapped == pytest.approx(other.outside, abs=0.003)
        assert other.worst[1] > 0.9, "a coordinate that lies outside for nearly every image"
        assert "fit the ranges on image rows" in other.words
    clipped = measure_error(fit_codec("int8", captions[::2]), images[1::2])
    assert clipped.kind == "clipped"
    assert (
        clipped.squared > 100 * measure_error(fit_codec("int8", images[::2]), images[1::2]).squared
    )


@pytest.mark.real_data
def test_kinds_of_error_on_coco(coco: Any) -> None:
    for rows in coco:
        fit, test = rows[::2], rows[1::2]
        kinds = {
            n: measure_error(fit_codec(n, fit), test) for n in ("sq8", "rabitq", "sign", "pq64x4")
        }
        assert [e.kind for e in kinds.values()] == ["additive", "additive", "residual", "residual"]
        assert abs(kinds["rabitq"].ratio) < 0.02
        assert kinds["sign"].ratio == pytest.approx(-1, abs=0.02)
        assert kinds["pq64x4"].ratio == pytest.approx(-0.9, abs=0.03)
        own = measure_error(fit_codec("pq64x4", fit), fit)
        assert own.ratio == pytest.approx(-1, abs=0.01)
        assert own.correlation < -0.9


def test_old_spellings_and_families() -> None:
    """Reports' names of two codecs are understood; every codec is a family of perturbations."""
    rows = np.random.default_rng(0).standard_normal((50, 8))
    assert fit_codec("sign-bits", rows).name == "sign"
    with refused("codec-number", "bins-<n>"):
        fit_codec("uniform-quantisation", rows)
    package = sys.modules["isthmus.perturb.codecs"]
    assert list(package) == list(CODECS)  # type: ignore[call-overload]
    for name in ("bins-64", "rotated-pq8x4", "sign-bits", "uniform-quantisation"):
        assert name in CODECS
        assert FAMILIES[name].kind == "codec"
    assert FAMILIES["gaussian"].kind == "noise"
    assert FAMILIES["truncation"].kind == "cut"
    assert list(FAMILIES)[-len(CODECS) :] == list(CODECS)
    assert (codec_of("uniform-quantisation", 32.0), codec_of("bins-32", 1)) == ("bins-32",) * 2
    with refused("unknown-family", "'dust'", "gaussian", "rabitq"):
        FAMILIES["dust"]


def test_a_third_party_registers_a_codec(install: Callable[..., None]) -> None:
    code = (
        "from isthmus.perturb.codecs import CodecFamily\n"
        "class Half:\n"
        "    name = 'half'\n"
        "    def through(self, rows): return rows / 2\n"
        "    def bytes_per_vector(self, dim): return dim\n"
        "family = CodecFamily('half', lambda calibration: Half(), 'every coordinate is halved')\n"
    )
    install("halves", code, {"isthmus.codecs": "half = halves:family"}, CODECS, FAMILIES)
    rows = np.ones((3, 4))
    np.testing.assert_array_equal(fit_codec("half", rows).through(rows), rows / 2)
    np.testing.assert_allclose(fit_codec("rotated-half", rows).through(rows), rows / 2)
    assert FAMILIES["half"].kind == "codec"
