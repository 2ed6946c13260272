"""Figures on real embeddings, to be measured again by any build.

The folder is named by ISTHMUS_REAL_DATA; its files are published features of trained and
untrained models (CLIP on COCO val2017 and others) and are not part of this repository.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.robustness import Perturbation, grid, row_of
from isthmus.search.relevance import relevance_by_pairs
from isthmus.workflows.audits import audit
from worlds import unit_rows

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real embeddings."""
    name = os.environ.get("ISTHMUS_REAL_DATA")
    if not name:
        pytest.skip("real embeddings are not here: ISTHMUS_REAL_DATA names no folder")
    return Path(name)


def quick(a: Any, b: Any, **options: Any) -> dict[str, Any]:
    return audit(a, b, trials=2, levels=(0.022,), **options).report


@pytest.fixture(scope="session")
def clip(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The audit of CLIP on 500 COCO pairs, saved as two files."""
    rows = np.load(data / "modgap/features_clip.npy", allow_pickle=False)
    folder = tmp_path_factory.mktemp("clip")
    np.save(folder / "images.npy", rows[0])
    np.save(folder / "captions.npy", rows[1])
    return quick(str(folder / "images.npy"), str(folder / "captions.npy"), names=("image", "text"))


def codes(report: dict[str, Any]) -> set[str]:
    return {w["code"] for w in report["warnings"]}


def test_the_gap_of_clip(clip: dict[str, Any]) -> None:
    gap = clip["gap"]
    figures = {
        "norm": (gap["norm"], 0.851),
        "norm_unbiased": (gap["norm_unbiased"], 0.850),
        "matched_cosine": (gap["matched_cosine"], 0.310),
        "rmg": (gap["rmg"], 0.591),
        "intra_cosine.a": (gap["intra_cosine"]["a"], 0.531),
        "intra_cosine.b": (gap["intra_cosine"]["b"], 0.515),
        "centroid_cosine": (gap["centroid_cosine"], 0.309),
        "bures": (gap["bures"], 0.380),
        "frechet": (gap["frechet"], 1.104),
        "alignment": (gap["alignment"], 1.380),
        "energy_top10": (gap["energy_top10"], 0.892),
    }
    for name, (got, expected) in figures.items():
        assert got == pytest.approx(expected, abs=5.1e-4), name
    assert gap["frechet_centroid_share"] == pytest.approx(0.66, abs=5e-3)
    assert gap["variance_share_along_gap"]["a"] == pytest.approx(0.0049, abs=5e-5)
    assert gap["variance_share_along_gap"]["b"] == pytest.approx(0.0067, abs=5e-5)
    assert gap["effective_rank"]["a"] == pytest.approx(104.6, abs=0.05)
    assert gap["effective_rank"]["b"] == pytest.approx(96.9, abs=0.05)
    assert gap["participation_ratio"]["a"] == pytest.approx(42.7, abs=0.05)
    assert gap["participation_ratio"]["b"] == pytest.approx(41.7, abs=0.05)


def test_the_search_of_clip(clip: dict[str, Any]) -> None:
    forward, back = clip["directions"]
    assert forward["clean"]["recall@1"] == 0.552
    assert back["clean"]["recall@1"] == 0.506
    assert forward["closable"]["exact_share"] == pytest.approx(0.109, abs=5e-4)
    assert forward["closable"]["rank"] == 499
    assert back["closable"]["exact_share"] == pytest.approx(0.177, abs=5e-4)
    named = {(c["name"], c["score"]): c for c in forward["closers"]}
    assert named["mean-shift", "cosine"]["clean_agreement"] == pytest.approx(0.312, abs=5e-4)
    rows = [r for r in forward["stress"] if r["closer"] == "mean-shift"]
    assert rows[0]["clean_accuracy"] == pytest.approx(0.302, abs=5e-4)
    for entry in forward["closers"]:
        if entry["guarantee"]["kind"] == "exact":
            assert entry["clean_agreement"] == 1.0


def test_trained_clip_raises_no_false_alarm(clip: dict[str, Any]) -> None:
    assert codes(clip).isdisjoint(
        {
            "pairs-without-signal",
            "different-models",
            "rows-out-of-order",
            "same-modality",
            "collapsed",
        }
    )


TABLE = {
    ("none", "euclidean"): ((0.883, 0.768, 0.704), (0.880, 0.765, 0.699)),
    ("none", "dot"): ((0.896, 0.793, 0.735), (0.898, 0.797, 0.738)),
    ("orthogonal-shift", "euclidean"): ((0.884, 0.773, 0.709), None),
    ("center-queries", "dot"): ((0.929, 0.858, 0.815), None),
}


def test_the_consistency_table(data: Path) -> None:
    from worlds import task_of

    a, b = np.load(data / "modgap/features_clip.npy", allow_pickle=False)
    a, b = unit_rows(a), unit_rows(b)
    task = task_of(a, b, relevance_by_pairs(500, 500))
    q, c = Moments.of(a, precise=True), Moments.of(b, precise=True)
    closers = [fit(name, q, c, score=score) for name, score in TABLE]
    perturbations = [
        Perturbation("gaussian", "candidates", v, "total") for v in (0.005, 0.022, 0.04)
    ]
    results = grid(task, closers, perturbations, trials=60, seed=0)
    rows = [row_of(task, r, 0) for r in results]
    for (name, score), (measured, predicted) in TABLE.items():
        mine = [r for r in rows if (r["closer"], r["score"]) == (name, score)]
        got = [r["consistency"] for r in mine]
        assert got == pytest.approx(list(measured), abs=0.01), (name, score)
        said = [r["predicted_consistency"] for r in mine]
        if predicted is not None:
            assert said == pytest.approx(list(predicted), abs=1.1e-3)
        assert got == pytest.approx(said, abs=0.012)
        assert all(r["clean_agreement"] == 1.0 for r in mine)


# --- controls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip", "convirt", "videoclip", "clasp"])
def test_an_untrained_network_is_called_one(data: Path, name: str) -> None:
    a, b = np.load(data / f"modgap/features_{name}_random.npy", allow_pickle=False)
    report = quick(a, b, paired=True)
    if name == "clip":
        assert report["gap"]["norm"] == pytest.approx(1.136, abs=5e-4)
        assert report["directions"][0]["clean"]["recall@1"] == pytest.approx(0.002, abs=0.004)
        assert {"pairs-without-signal", "different-models"} <= codes(report)
        assert "rows-out-of-order" not in codes(report)
    assert "same-modality" not in codes(report)


def test_text_against_text_is_no_modality_gap(data: Path) -> None:
    a = np.load(data / "imagenet-text/a.npy", allow_pickle=False)
    b = np.load(data / "imagenet-text/a_photo_of_a.npy", allow_pickle=False)
    report = quick(a, b)
    assert report["gap"]["norm"] == pytest.approx(0.203, abs=5e-4)
    # three names occur twice, and the twin of a right row is right
    assert report["inputs"]["b"]["duplicates"] == 3
    assert report["directions"][0]["clean"]["recall@1"] == pytest.approx(0.994, abs=5e-4)
    assert "same-modality" in codes(report)
    assert "not-unit-norm" in codes(report)
    assert "pairs-without-signal" not in codes(report)


def test_image_against_image_is_no_modality_gap(data: Path) -> None:
    a = np.load(data / "things/clip_feature_maps_test.npy", allow_pickle=False)[:, 0, :]
    b = np.load(data / "things/center_clip.npy", allow_pickle=False)
    report = quick(a, b)
    assert report["gap"]["norm"] == pytest.approx(0.101, abs=5e-4)
    assert report["directions"][0]["clean"]["recall@1"] == pytest.approx(0.980, abs=5e-4)
    assert "same-modality" in codes(report)
    assert "pairs-without-signal" not in codes(report)


def test_rows_out_of_order_are_told_from_other_models(data: Path) -> None:
    a, b = np.load(data / "modgap/features_clip.npy", allow_pickle=False)
    for seed in range(3):
        report = quick(a, b[np.random.default_rng(seed).permutation(500)], paired=True)
        assert {"pairs-without-signal", "rows-out-of-order"} <= codes(report)
        assert codes(report).isdisjoint({"different-models", "same-modality"})


def test_towers_of_two_models_are_told_from_rows_out_of_order(data: Path) -> None:
    a, _ = np.load(data / "modgap/features_clip.npy", allow_pickle=False)
    _, b = np.load(data / "modgap/features_clip_random.npy", allow_pickle=False)
    report = quick(a, b, paired=True)
    assert {"pairs-without-signal", "different-models"} <= codes(report)


def test_duplicate_reports_are_counted(data: Path) -> None:
    a, b = np.load(data / "modgap/features_convirt.npy", allow_pickle=False)
    report = quick(a, b)
    assert report["inputs"]["b"]["duplicates"] == 57
    assert "duplicates" in codes(report)
    assert report["gap"]["norm"] == pytest.approx(0.823, abs=5e-4)
