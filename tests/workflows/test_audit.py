"""The main job on small arrays in memory: the contract's keys, and that its parts agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.closers.closer import Closer
from isthmus.engines.local import SerialExecutor
from isthmus.errors import IsthmusError, LabelsError, OptionError, ShapeError
from isthmus.report.overview import overview_lines
from isthmus.robustness import COLUMNS, trials_for
from isthmus.robustness.mixed import PoolCloser
from isthmus.search.opening import open_task
from isthmus.search.shared import Product
from isthmus.workflows.audits import AuditOptions, audit
from isthmus.workflows.audits.direction import Direction
from refusals import refused
from worlds import full_scores, leave_verdict_out, two_modalities, unit_rows

pytestmark = pytest.mark.usefixtures("no_verdict")
QUICK: dict[str, Any] = {"trials": 3, "levels": (0.02,)}


def small(n: int = 60, dim: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    a, b = two_modalities(n, dim, seed=seed)
    return a.astype(np.float32), b.astype(np.float32)


def report_of(a: Any, b: Any, **options: Any) -> dict[str, Any]:
    return audit(a, b, **{**QUICK, **options}).report


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        leave_verdict_out(patch)
        return report_of(*small(), names=("image", "text"))


def names(text: str) -> set[str]:
    return set(text.split())


TOP = {"schema", "isthmus", "created", "seed", "inputs", "gap", "directions", "mixed", "warnings"}
INPUT = {"name", "source", "rows", "dim", "dtype", "norm_mean", "norm_std", "duplicates"}
GAP = names(
    """
    norm norm_unbiased norm_ci centroid_cosine mean_norm intra_cosine cross_cosine matched_cosine
    rmg alignment uniformity frechet frechet_centroid_share bures separability
    variance_share_along_gap effective_rank participation_ratio energy_top10 subspace_overlap
    hubness_skew why_null
    """
)
DIRECTION = names(
    """
    query candidate task score clean closable closers stress radius recommendation
    """
)
RECOMMENDATION = {"closer", "file", "reason", "flips_before", "flips_after", "clean_agreement"}


def test_the_keys_of_the_contract(report: dict[str, Any]) -> None:
    assert set(report) >= TOP
    assert report["schema"] == 1
    assert set(report["inputs"]) >= {"a", "b", "paired", "labels"}
    assert set(report["inputs"]["a"]) >= INPUT
    assert report["inputs"]["a"]["name"] == "image"
    assert report["inputs"]["b"]["dtype"] == "float32"
    assert set(report["gap"]) >= GAP
    assert set(report["gap"]["uniformity"]) == {"a", "b", "cross"}
    assert set(report["gap"]["separability"]) == {"lda", "held_out"}
    assert set(report["gap"]["hubness_skew"]) == {"a_to_b", "b_to_a"}
    assert [d["query"] for d in report["directions"]] == ["a", "b"]
    for entry in report["directions"]:
        assert set(entry) >= DIRECTION
        assert set(entry["clean"]) >= {"accuracy", "recall@1", "recall@5", "recall@10", "ties"}
        assert set(entry["closable"]) >= {"exact_share", "curve"}
        for point in entry["closable"]["curve"]:
            assert set(point) >= {"variance_kept", "rank", "share", "clean_agreement"}
        for closer in entry["closers"]:
            assert set(closer) >= {"name", "strength", "guarantee", "clean_agreement"}
            assert set(closer["guarantee"]) >= {"score", "kind", "condition"}
        assert set(entry["radius"]) >= {"query_l2", "candidate_l2"}
        for radius in (entry["radius"]["query_l2"], entry["radius"]["candidate_l2"]):
            assert set(radius) >= {"before", "after"}
        assert set(entry["recommendation"]) >= RECOMMENDATION
    assert set(report["mixed"]["image_share_at_10"]) == {"before", "after"}
    assert all(set(w) == {"code", "text", "severity"} for w in report["warnings"])


def test_rows_of_the_table_are_those_of_the_contract(report: dict[str, Any]) -> None:
    for entry in report["directions"]:
        chosen = entry["recommendation"]
        names = {(r["closer"], r["score"]) for r in entry["stress"]}
        assert names == {(chosen["closer"], chosen["score"])} | {
            ("none", "cosine"),
            ("none", "euclidean"),
            ("none", "dot"),
            ("mean-shift", "cosine"),
            ("orthogonal-shift", "euclidean"),
            ("center-queries", "dot"),
        }
        families = {(r["family"], r["side"], r["level"]) for r in entry["stress"]}
        assert {("gaussian", s, 0.02) for s in ("candidates", "queries", "both")} <= families
        assert {("uniform-quantisation", "candidates", float(b)) for b in (256, 128, 64, 32)} <= (
            families
        )
        assert ("sign-bits", "candidates", 1.0) in families
        for row in entry["stress"]:
            assert list(row)[: len(COLUMNS)] == list(COLUMNS)
            assert row["direction"] == f"{entry['query']}_to_{entry['candidate']}"
            assert 0 <= row["consistency_lo"] <= row["consistency"] <= row["consistency_hi"] <= 1
            assert (row["queries"], row["candidates"]) == (60, 60)


@pytest.mark.slow
def test_the_report_is_json_and_the_same_again(report: dict[str, Any]) -> None:
    json.dumps(report, allow_nan=False)
    again = report_of(*small(), names=("image", "text"))
    assert {k: v for k, v in again.items() if k != "created"} == {
        k: v for k, v in report.items() if k != "created"
    }
    other = report_of(*small(), names=("image", "text"), seed=1)
    pick = [d["stress"] for d in report["directions"]], [d["stress"] for d in other["directions"]]
    assert pick[0] != pick[1]


def test_clean_figures_by_brute_force(report: dict[str, Any]) -> None:
    a, b = (unit_rows(x) for x in small())
    for entry, q, c in ((report["directions"][0], a, b), (report["directions"][1], b, a)):
        full = full_scores(q, c, "cosine")
        rank = (full > np.diag(full)[:, None]).sum(axis=1)
        for k in (1, 5, 10):
            assert entry["clean"][f"recall@{k}"] == (rank < k).mean()
        assert entry["clean"]["accuracy"] == entry["clean"]["recall@1"]
    gap = np.linalg.norm(b.mean(axis=0) - a.mean(axis=0))
    assert report["gap"]["norm"] == pytest.approx(gap, rel=1e-6)


def test_exact_closers_keep_every_answer_and_curves_begin_at_nothing(
    report: dict[str, Any],
) -> None:
    for entry in report["directions"]:
        for closer in entry["closers"]:
            if closer["guarantee"]["kind"] == "exact":
                assert closer["clean_agreement"] == 1.0
        for point in entry["closing_curve"]:
            if point["strength"] == 0:
                assert point["clean_agreement"] == 1.0
        kept = [p["clean_agreement"] for p in entry["closable"]["curve"]]
        share = [p["share"] for p in entry["closable"]["curve"]]
        assert kept[-1] == 1.0
        assert share == sorted(share, reverse=True)
        chosen = entry["recommendation"]
        assert chosen["clean_agreement"] >= 1.0
        assert chosen["flips_after"] <= chosen["flips_before"]


def test_the_recommended_closer_comes_back() -> None:
    a, b = small()
    done = audit(a, b, **QUICK)
    for entry in done.report["directions"]:
        key = f"{entry['query']}_to_{entry['candidate']}"
        assert done.closers[key].name == entry["recommendation"]["closer"]
        assert len(done.results[key]) == len(entry["stress"])


def test_results_keep_no_products() -> None:
    """A product of 2,000 queries and 5,000 candidates is 40 MB, and each draw has three."""
    for results in audit(*small(), **QUICK).results.values():
        for result in results:
            kept = [fact for _, fact in result.search.task.facts._found.values()]
            assert not [fact for fact in kept if isinstance(fact, Product)]


def test_each_direction_fits_on_its_own_queries(report: dict[str, Any]) -> None:
    a, b = (unit_rows(x) for x in small())
    for entry, queries in zip(report["directions"], (a, b), strict=True):
        moved = {c["name"]: c["facts"].get("norm_moved") for c in entry["closers"]}
        mean = np.linalg.norm(queries.mean(axis=0))
        assert moved["center-queries"] == pytest.approx(mean, rel=1e-6)
        assert moved["mean-shift"] == pytest.approx(report["gap"]["norm"], rel=1e-6)


def test_query_noise_is_a_control_that_shows_nothing(report: dict[str, Any]) -> None:
    for entry in report["directions"]:
        rows = [r for r in entry["stress"] if (r["family"], r["side"]) == ("gaussian", "queries")]
        exact = [r["consistency"] for r in rows if r["closer"] != "mean-shift"]
        assert np.ptp(exact) <= 1 / 60


def test_labels_make_zero_shot(rng: np.random.Generator) -> None:
    classes = unit_rows(rng.normal(size=(8, 24)))
    labels = rng.integers(0, 8, 90)
    a = unit_rows(classes[labels] + 0.25 * rng.normal(size=(90, 24)))
    got = report_of(a, classes, labels=labels)
    assert got["inputs"]["labels"] is True
    assert got["inputs"]["paired"] is False
    forward, back = got["directions"]
    assert forward["task"] == back["task"] == "zero-shot"
    full = full_scores(a, classes, "cosine")
    assert forward["clean"]["accuracy"] == (full.argmax(axis=1) == labels).mean()
    right = [labels[i] == j for j, i in enumerate(full.T.argmax(axis=1)) if (labels == j).any()]
    assert back["clean"]["accuracy"] == np.mean(right)
    assert got["gap"]["rmg"] is None
    json.dumps(got, allow_nan=False)


def test_relevance_is_many_to_many(rng: np.random.Generator) -> None:
    a, b = two_modalities(50, 16, seed=1)
    relevance = np.vstack([np.repeat(np.arange(40), 2), rng.integers(0, 50, 80)]).T
    got = report_of(a, b, relevance=relevance)
    full = full_scores(a, b, "cosine")
    known = {(int(q), int(c)) for q, c in relevance}
    hits = [(q, int(full[q].argmax())) in known for q in range(40)]
    clean = got["directions"][0]["clean"]
    assert clean["judged"] == 40
    assert clean["accuracy"] == np.mean(hits)


def test_unpaired_sides_measure_flips_only() -> None:
    a, _ = small()
    _, b = small(40, seed=3)
    got = report_of(a, b)
    assert got["inputs"]["paired"] is False
    for entry in got["directions"]:
        assert entry["clean"]["accuracy"] is None
        assert "no pairs, labels or relevance" in entry["clean"]["why_null"]
        assert all(r["accuracy"] is None for r in entry["stress"])
        assert all(r["consistency"] is not None for r in entry["stress"])
    json.dumps(got, allow_nan=False)


@pytest.mark.usefixtures("no_verdict")
def test_sampling_keeps_true_candidates() -> None:
    a, b = small(120, seed=4)
    got = report_of(a, b, max_candidates=50, max_queries=20)
    for entry in got["directions"]:
        assert (entry["queries"], entry["candidates"]) == (20, 50)
        assert entry["clean"]["judged"] == 20
    assert got["gap"]["rmg"] is not None
    assert got["gap"]["sample"]["of_a"] == 120
    labels = np.arange(120) % 90
    many = report_of(a, b[:90], labels=labels, max_candidates=50)
    assert many["directions"][0]["candidates"] == 50
    assert many["directions"][0]["clean"]["judged"] >= 45


@pytest.mark.usefixtures("no_verdict")
def test_a_fit_share_scores_rows_the_fit_has_not_seen() -> None:
    got = report_of(*small(), fit_share=0.5)
    for entry in got["directions"]:
        assert entry["queries"] == 30
        for closer in entry["closers"]:
            if closer["guarantee"]["kind"] == "exact":
                assert closer["clean_agreement"] == 1.0
    assert "fit-equals-score" not in {w["code"] for w in got["warnings"]}
    assert "fit-equals-score" in {w["code"] for w in report_of(*small())["warnings"]}


@pytest.mark.slow
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_scores_of_rows_that_are_not_unit(score: str) -> None:
    a, b = small()
    b = b * np.random.default_rng(0).uniform(0.6, 1.6, size=(60, 1)).astype(np.float32)
    got = report_of(a, b, score=score)
    assert got["inputs"]["unit_rows"] is False
    for entry, q, c in ((got["directions"][0], a, b), (got["directions"][1], b, a)):
        full = full_scores(q, c, score)
        rank = (full > np.diag(full)[:, None]).sum(axis=1)
        assert entry["clean"]["recall@1"] == (rank < 1).mean()
        for closer in entry["closers"]:
            if closer["guarantee"]["kind"] == "exact":
                assert closer["clean_agreement"] == 1.0
    assert got["gap"]["rmg"] is None
    json.dumps(got, allow_nan=False)


def test_tiny_inputs_still_give_a_report() -> None:
    for n, dim in ((2, 3), (5, 2), (9, 40)):
        json.dumps(report_of(*small(n, dim)), allow_nan=False)


def test_equal_rows_and_duplicates_still_give_a_report() -> None:
    a, b = small()
    with refused("one-vector", "60 rows are one vector"):
        report_of(a, np.tile(b[:1], (60, 1)))
    got = report_of(a, np.vstack([b[:30], b[:30]]))
    assert got["inputs"]["b"]["duplicates"] == 30
    assert got["directions"][0]["clean"]["ties"] == 0
    json.dumps(got, allow_nan=False)


@pytest.mark.slow
def test_dtypes_give_nearly_the_same_report(report: dict[str, Any]) -> None:
    a, b = small()
    for dtype, close in (("float64", 1e-6), ("float16", 3e-3)):
        got = report_of(a.astype(dtype), b.astype(dtype))
        assert got["inputs"]["a"]["dtype"] == dtype
        for key in ("norm", "rmg", "frechet", "centroid_cosine"):
            assert got["gap"][key] == pytest.approx(report["gap"][key], rel=close)


def test_progress_is_told_and_executors_are_used() -> None:
    said: list[tuple[str, int, int]] = []
    used: list[int] = []

    class Counting(SerialExecutor):
        def map(self, fn: Any, items: Any) -> Any:
            used.append(len(items))
            return super().map(fn, items)

    audit(
        *small(),
        **QUICK,
        engine=Counting(),
        progress=lambda what, done, of: said.append((what, done, of)),
    )
    assert used == [1]
    assert {what for what, _, _ in said} >= {
        "moments",
        "gap",
        "stress image → text",
        "stress text → image",
    }
    assert all(0 <= done <= of for _, done, of in said)


REFUSED: list[tuple[dict[str, Any], type[IsthmusError], str, str]] = [
    ({"score": "l2"}, OptionError, "unknown-score", "'l2'"),
    ({"convention": "sd"}, OptionError, "unknown-convention", "'sd'"),
    ({"levels": (-0.1,)}, OptionError, "bad-level", "-0.1"),
    ({"fit_share": 1.0}, OptionError, "bad-share", "1.0"),
    ({"fit_share": 0.99}, ShapeError, "too-few-queries", "0.99 of 60 queries"),
    ({"floor": 1.5}, OptionError, "bad-share", "floor 1.5"),
    ({"trials": 0}, OptionError, "bad-number", "trials 0; expected"),
    ({"max_queries": 1}, OptionError, "bad-number", "2 queries"),
    ({"labels": [0] * 60, "relevance": [[0, 0]]}, OptionError, "relevance-twice", "labels"),
    ({"labels": [0] * 60, "paired": True}, OptionError, "relevance-twice", "paired"),
    ({"labels": [0] * 59}, LabelsError, "unequal-lengths", "59"),
    ({"relevance": [[0, 99]]}, LabelsError, "row-out-of-range", "99"),
]


@pytest.mark.parametrize(("options", "kind", "code", "fact"), REFUSED)
def test_refused_options(
    options: dict[str, Any], kind: type[IsthmusError], code: str, fact: str
) -> None:
    with refused(code, fact, kind=kind):
        report_of(*small(), **options)


def test_refused_rows() -> None:
    a, b = small()
    names = ("image", "text")
    bad, zero = b.copy(), b.copy()
    bad[3, 1], zero[4] = np.nan, 0
    for code, fact, other, options in (
        ("unequal-dimensions", "image has 24 dimensions and text has 23", b[:, :23], {}),
        ("unequal-lengths", "text has 59", b[:59], {"paired": True}),
        ("not-finite", "1 of 60 rows (row 3)", bad, {}),
        ("zero-rows", "row 4", zero, {}),
    ):
        with refused(code, fact):
            report_of(a, other, names=names, **options)
    assert report_of(a, zero, score="dot")["directions"]


def test_trials_shrink_as_the_product_grows() -> None:
    sizes = [(500, 500), (100, 100), (1000, 1000), (2000, 10_000)]
    assert [trials_for(*size) for size in sizes] == [60, 60, 15, 8]


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_the_default_closers_have_the_names_of_the_contract(score: str) -> None:
    task = open_task(*small(), score=score, direction="a_to_b")
    closers = Direction.of(task, AuditOptions(score=score)).closers()
    names = [(c.name, c.score) for c in closers]
    assert ("orthogonal-shift", "euclidean") in names
    assert ("center-queries", "dot") in names
    assert ("none", score) in names
    assert len(names) == len(set(names))


def test_an_audit_saves_itself_by_suffix_or_as_a_folder(tmp_path: Path) -> None:
    result = audit(*small(), **QUICK)
    assert json.loads(result.save(tmp_path / "r.json").read_text()) == result.to_dict()
    assert "<html" in result.save(tmp_path / "r.html").read_text(encoding="utf-8")
    assert result.report["directions"][0]["recommendation"]["file"] is None
    folder = result.save(tmp_path / "report")
    assert sorted(p.name for p in folder.iterdir()) == [
        "closer-a_to_b.safetensors",
        "closer-b_to_a.safetensors",
        "closer-pool.safetensors",
        "report.html",
        "report.json",
    ]
    told = json.loads((folder / "report.json").read_text())
    pool = told["mixed"]["verdict"]
    assert pool["state"] == "closing helps"
    assert PoolCloser.load(folder / pool["file"]).names == ("image", "text")
    for entry in told["directions"]:
        chosen = entry["recommendation"]
        assert Closer.load(folder / chosen["file"]).name == chosen["closer"]
        assert chosen["flip_reference"] in ("own", "today")
    with refused("unknown-suffix", "r.docx"):
        result.save(tmp_path / "r.docx")


# --- findings that make every number meaningless -----------------------------------------------


def slipped(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    a, b = small(n)
    return np.delete(a, 30, axis=0), b[:-1]


def test_broken_pairs_come_first_and_nothing_is_recommended(tmp_path: Path) -> None:
    from isthmus.report.markdown import render_markdown
    from isthmus.report.table import detailed_lines

    result = audit(*slipped(), **QUICK)
    first = result.report["warnings"][0]
    assert (first["code"], first["severity"]) == ("pairs-slipped", "broken")
    for entry in result.report["directions"]:
        assert entry["recommendation"]["closer"] is None
        assert "pairs-slipped: the pairs slip" in entry["recommendation"]["reason"]
    assert result.closers == {}
    result.save(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    told = page[page.index("<main>") :]
    assert told.index("Every number below is meaningless") < told.index("No recommendation")
    lines = detailed_lines(result.report)
    assert str(lines[0]).startswith("BROKEN pairs-slipped")
    assert "red" in str(lines[0].style)  # type: ignore[union-attr]
    text = render_markdown(result.report)
    assert text.index("Every number is meaningless") < text.index("No recommendation")


@pytest.mark.usefixtures("no_verdict")
def test_other_lengths_without_what_is_right_say_what_to_give() -> None:
    a, b = small()
    report = report_of(a, b[:50])
    (found,) = [w for w in report["warnings"] if w["code"] == "lengths-differ"]
    assert "have 60 and 50 rows" in found["text"]
    assert "give --relevance or --labels" in found["text"]
    assert any(found["text"] in line for line, _ in overview_lines(report))
    said = {"relevance": np.column_stack([np.arange(50)] * 2)}, {"paired": False}, {}
    others = [report_of(a, b[: 60 if not given else 50], **given) for given in said]
    assert not [w for r in others for w in r["warnings"] if w["code"] == "lengths-differ"]


def test_equal_lengths_without_signal_are_measured_unpaired() -> None:
    a, b = small()
    b = b[np.random.default_rng(0).permutation(60)]
    report = report_of(a, b)
    assert report["warnings"][0]["code"] == "measured-unpaired"
    assert report["inputs"]["paired"] is False
    assert report["directions"][0]["clean"]["accuracy"] is None
    assert report["directions"][0]["recommendation"]["closer"] is not None
    said = report_of(a, b, paired=True)
    assert said["inputs"]["paired"] is True
    assert said["directions"][0]["recommendation"]["closer"] is None
