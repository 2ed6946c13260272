"""Jobs on galleries above their sample: what they say of all candidates, and of the sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus as im
from commands import run
from isthmus.engines import SerialExecutor
from isthmus.search.scores import Ranking, top_k
from isthmus.theory.curves import consistency_curve
from worlds import two_modalities, unit_rows

ROWS, DIM, QUERIES, SAMPLE = 1200, 64, 80, 200
LEVELS = (0.005, 0.022)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries, a gallery in shards, what is right, random rows, and what a store returns."""
    folder = tmp_path_factory.mktemp("gallery")
    q, x = (side.astype(np.float32) for side in two_modalities(ROWS, DIM, seed=8))
    right = np.random.default_rng(0).permutation(ROWS)[:QUERIES]
    np.save(folder / "queries.npy", q[right])
    (folder / "shards").mkdir()
    for i, start in enumerate(range(0, ROWS, 500)):
        np.save(folder / "shards" / f"part-{i}.npy", x[start : start + 500])
    np.save(folder / "relevance.npy", np.stack([np.arange(QUERIES), right], axis=1))
    np.save(folder / "random.npy", x[np.random.default_rng(1).choice(ROWS, 900, replace=False)])
    best = top_k(Ranking.of(q[right], x, "cosine"), 60)
    lines = [
        f"{i},id-{row},{score:.7f}"
        for i in range(QUERIES)
        for row, score in zip(best.rows[i], best.scores[i])
    ]
    (folder / "neighbours.csv").write_text("\n".join(["query,id,score", *lines]))
    return folder


def by_law(files: Path) -> dict[float, float]:
    """Flips of plain search by dot among all candidates."""
    q = np.load(files / "queries.npy")
    x = np.concatenate([np.load(path) for path in sorted((files / "shards").iterdir())])
    curve = consistency_curve(Ranking.of(unit_rows(q), unit_rows(x), "dot"), LEVELS)
    assert curve is not None
    return dict(zip(LEVELS, curve.value.tolist()))


def figures(gallery: dict[str, Any]) -> dict[float, float]:
    return {
        row["level"]: row["consistency"]
        for row in gallery["stress"]
        if (row["closer"], row["score"]) == ("none", "dot")
    }


@pytest.mark.slow
def test_an_audit_says_what_holds_among_all_candidates(files: Path) -> None:
    options: dict[str, Any] = {"relevance": files / "relevance.npy", "levels": LEVELS, "trials": 2}
    rows = files / "queries.npy", files / "shards"
    report = im.audit(*rows, max_candidates=SAMPLE, **options).report
    there, back = report["directions"]
    assert (there["gallery"]["rows"], there["gallery"]["by"]) == (ROWS, "pass")
    assert figures(there["gallery"]) == pytest.approx(by_law(files), abs=2e-5)
    assert there["gallery"]["clean"]["judged"] == QUERIES
    assert back["gallery"] is None  # all queries are searched
    (found,) = [w for w in report["warnings"] if w["code"] == "candidates-sampled"]
    assert found["severity"] == "note"
    assert f"{there['candidates']} of 1,200 rows" in found["text"]
    whole = im.audit(*rows, **options).report
    assert [entry["gallery"] for entry in whole["directions"]] == [None, None]
    assert all(w["code"] != "candidates-sampled" for w in whole["warnings"])
    # which way the sample errs
    assert there["clean"]["recall@1"] > there["gallery"]["clean"]["recall@1"]
    assert there["gallery"]["clean"]["recall@1"] == whole["directions"][0]["clean"]["recall@1"]


@pytest.mark.usefixtures("no_verdict")
def test_lists_of_neighbours_stand_for_a_gallery_that_is_not_here(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capsys,
        "audit",
        str(files / "queries.npy"),
        str(files / "random.npy"),
        *("--neighbours", str(files / "neighbours.csv"), "--gallery-rows", str(ROWS)),
        *(
            "--levels",
            "0.005,0.022",
            "--trials",
            "2",
            "--out",
            str(tmp_path / "report"),
            "--verbose",
        ),
    )
    assert code == 0, err
    assert "Among all 1,200 candidates noise 0.005 flips" in " ".join(out.split())
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    gallery = report["directions"][0]["gallery"]
    assert (gallery["by"], gallery["top"], gallery["random_rows"]) == ("neighbours", 60, 900)
    assert figures(gallery) == pytest.approx(by_law(files), abs=1e-4)
    assert not report["inputs"]["paired"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Among all 1,200 candidates" in page


class Counting(SerialExecutor):
    """What it was given to do."""

    def __init__(self) -> None:
        self.parts: list[int] = []

    def map(self, fn: Any, items: Any) -> Any:
        self.parts.append(len(items))
        return super().map(fn, items)


def test_advice_has_the_gain_among_all_candidates(files: Path) -> None:
    engine = Counting()
    advice = im.recommend(
        files / "queries.npy",
        files / "shards",
        relevance=files / "relevance.npy",
        closers=["center-queries"],
        levels=0.022,
        trials=2,
        max_candidates=SAMPLE,
        engine=engine,
    )
    assert engine.parts  # the whole gallery goes through it
    gallery = advice.to_dict()["gallery"]
    law = by_law(files)[0.022]
    assert figures(gallery) == pytest.approx({0.022: law}, abs=2e-5)
    assert any("of 1,200 rows" in note for note in advice.notes)
    if not advice.nothing:
        assert any("Among all 1,200 candidates" in note for note in advice.notes)
    codes = im.recommend(
        files / "queries.npy",
        files / "shards",
        relevance=files / "relevance.npy",
        closers=["center-queries"],
        perturb="sq8",
        max_candidates=SAMPLE,
    )
    assert codes.gallery is None
    assert any("too high" in note for note in codes.notes)
