"""The canary: planted faults are named, and the same model run again is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.deploy.canary import Canary, check_canary, make_canary
from isthmus.errors import CorruptFile
from refusals import refused


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """64 rows of unequal norms in two clouds, as a model gives them."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(64, 96)) + 2 * rng.normal(size=96)
    return (rows * rng.lognormal(0, 0.1, (64, 1))).astype(np.float32)


def turned(rows: np.ndarray, size: float, seed: int = 1) -> np.ndarray:
    """Rows moved by noise of ``size`` times their norm."""
    noise = np.random.default_rng(seed).normal(size=rows.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return rows + size * np.linalg.norm(rows, axis=1, keepdims=True) * noise


FAULTS = {
    "not-finite": lambda v: np.where(np.arange(64)[:, None] == 5, np.inf, v),
    "zero": lambda v: np.where(np.arange(64)[:, None] == 7, 0.0, v),
    "order": lambda v: np.roll(v, 1, axis=0),
    "norms": lambda v: 1.5 * v,
    "shift": lambda v: v + 0.05 * np.linalg.norm(v, axis=1).mean() * np.eye(96)[3],
    "changed": lambda v: turned(v, 0.02),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_named(vectors: np.ndarray, fault: str) -> None:
    canary = make_canary(vectors, again=[turned(vectors, 1e-6)])
    found = check_canary(canary, FAULTS[fault](vectors.astype(np.float64)))
    assert (found.kind, found.passed) == (fault, False)
    if fault in ("not-finite", "zero"):
        assert found.worst_inputs == (str({"not-finite": 5, "zero": 7}[fault]),)


@pytest.mark.parametrize("size", [0.0, 1e-6, 5e-6])
def test_the_same_model_again_passes(vectors: np.ndarray, size: float) -> None:
    canary = make_canary(vectors, again=[turned(vectors, 2e-6)])
    found = check_canary(canary, turned(vectors, size, seed=9))
    assert (found.kind, found.passed, found.flips) == ("same", True, 0)


def test_float16_is_rounding_and_can_be_refused(vectors: np.ndarray) -> None:
    canary = make_canary(vectors)
    half = vectors.astype(np.float16)
    assert check_canary(canary, half).kind == "rounding"
    assert check_canary(canary, half).passed
    assert not check_canary(canary, half, rounding=0.0).passed


def test_distances_are_those_of_unit_rows(vectors: np.ndarray) -> None:
    new = turned(vectors, 0.01)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors.astype(float), new)]
    moved = np.linalg.norm(unit[1] - unit[0], axis=1)
    found = check_canary(make_canary(vectors, ids=[f"in-{i}" for i in range(64)]), new)
    assert found.worst == pytest.approx(moved.max(), rel=1e-6)
    assert found.middle == pytest.approx(np.median(moved), rel=1e-6)
    assert found.worst_inputs[0] == f"in-{moved.argmax()}"


def test_a_digest_that_differs_is_named(vectors: np.ndarray) -> None:
    canary = make_canary(vectors, digests={"model": "aa", "preprocessing": "bb"})
    found = check_canary(canary, vectors, digests={"model": "aa", "preprocessing": "cc"})
    assert found.changed_digests == ("preprocessing",)


def test_saved_and_loaded(vectors: np.ndarray, tmp_path: Path) -> None:
    canary = make_canary(vectors, ids=[f"π {i}" for i in range(64)], digests={"model": "aa"})
    canary.save(tmp_path / "canary.safetensors")
    again = Canary.load(tmp_path / "canary.safetensors")
    np.testing.assert_array_equal(again.vectors, canary.vectors)
    assert (again.ids, again.jitter, again.digests) == (canary.ids, 0.0, {"model": "aa"})
    assert check_canary(tmp_path / "canary.safetensors", vectors).passed


def test_refusals(vectors: np.ndarray, tmp_path: Path) -> None:
    from isthmus.data import save_tensors

    with refused("canary-shape", "(3, 96)"):
        make_canary(vectors[:3])
    with refused("canary-values"):
        make_canary(np.where(np.arange(64)[:, None] == 1, np.nan, vectors))
    with refused("canary-names", "2 names for 64"):
        make_canary(vectors, ids=["a", "b"])
    with refused("other-shape", "(63, 96)"):
        check_canary(make_canary(vectors), vectors[1:])
    save_tensors(tmp_path / "x.safetensors", {"vectors": vectors}, {"isthmus": "closer"})
    with refused("not-a-canary", kind=CorruptFile):
        Canary.load(tmp_path / "x.safetensors")
    memo = {"isthmus": "canary", "schema": "9", "ids": "", "jitter": "0"}
    save_tensors(tmp_path / "y.safetensors", {"vectors": vectors}, memo)
    with refused("unknown-schema", "schema 9", kind=CorruptFile):
        Canary.load(tmp_path / "y.safetensors")


def test_a_real_model_with_real_faults() -> None:
    """The built-in emoji model: another resize, channel order and a shifted tower are all seen."""
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    from isthmus.encoders import load_encoder
    from isthmus.encoders.emoji_world import load_world

    encoder = load_encoder("emoji")
    pictures = load_world().pictures("twitter")[:320:10]
    rows = encoder.encode_images(pictures)
    again = encoder.encode_images(pictures[:5]), encoder.encode_images(pictures[5:])
    canary = make_canary(rows, again=[np.vstack(again)])
    assert check_canary(canary, encoder.encode_images(pictures)).passed
    other = [p.resize((20, 20), image.Resampling.NEAREST).resize(p.size) for p in pictures]
    assert check_canary(canary, encoder.encode_images(other)).kind == "changed"
    swapped = [image.merge("RGB", p.convert("RGB").split()[::-1]) for p in pictures]
    assert not check_canary(canary, encoder.encode_images(swapped)).passed
    assert check_canary(canary, rows[::-1]).kind == "order"
