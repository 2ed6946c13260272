"""Two versions of the same rows: plain arithmetic, certificates under attack, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.stats import binomtest, ortho_group

import commands
import test_docs
from isthmus.core.statistics import wilson
from isthmus.deploy.comparison import compare
from isthmus.deploy.comparison.answers import candidate_reach, gate_of, random_error_rate, searches
from isthmus.deploy.comparison.rows import Version, order_of, paired_figures
from isthmus.search.relevance import no_relevance, relevance_by_pairs
from isthmus.search.scores import Ranking, top1
from isthmus.search.task import RetrievalTask
from isthmus.theory.radii import candidate_radius, query_radius
from refusals import refused
from worlds import full_scores, two_modalities, unit_rows


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Queries, candidates (120 and 80 in 24 dimensions, not unit norm) and noisy versions."""
    a, b = two_modalities(120, 24, seed=8)
    rng = np.random.default_rng(1)
    a, b = a * rng.uniform(0.5, 2, (120, 1)), b[:80] * rng.uniform(0.5, 2, (80, 1))
    return a, b, a + 0.05 * rng.normal(size=a.shape), b + 0.05 * rng.normal(size=b.shape)


def figures(before: np.ndarray, after: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Paired figures of rows as they are (dot)."""
    return paired_figures(*(Version.of(rows, "rows", "dot") for rows in (before, after, others)))


def searched(old, new, candidates, new_candidates=None, score="dot", k=5):
    task = RetrievalTask(old, candidates, no_relevance(len(old), len(candidates)), score)
    return searches(task, new, new_candidates, k)


def test_paired_figures_are_plain_arithmetic(world):
    a, b, a_new, _ = world
    got = figures(a, a_new, b)
    cosine = np.array([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, a_new)])
    error = np.linalg.norm(a_new - a, axis=1)
    assert got["cosine"]["mean"] == pytest.approx(cosine.mean(), abs=1e-12)
    assert got["cosine"]["q05"] == pytest.approx(np.quantile(cosine, 0.05), abs=1e-12)
    assert [w["row"] for w in got["worst"]] == np.argsort(cosine)[:5].tolist()
    assert got["error"]["largest"] == pytest.approx(error.max())
    assert got["relative_error"] == pytest.approx(np.linalg.norm(a_new - a) / np.linalg.norm(a))
    shift, gap = a_new.mean(0) - a.mean(0), a.mean(0) - b.mean(0)
    assert got["mean_shift"]["norm"] == pytest.approx(np.linalg.norm(shift))
    assert got["mean_shift"]["share"] == pytest.approx(shift @ shift / (error**2).mean())
    along = (shift @ gap) ** 2 / (shift @ shift) / (gap @ gap)
    assert got["mean_shift"]["along_gap"] == pytest.approx(along)


def test_a_common_shift_along_the_gap_is_seen_as_one(world):
    a, b, *_ = world
    gap = a.mean(0) - b.mean(0)
    shift = figures(a, a + 0.1 * gap, b)["mean_shift"]
    assert shift["share"] == pytest.approx(1)
    assert shift["along_gap"] == pytest.approx(1)


def test_norms_zero_rows_and_rows_left_alone(world):
    a, b, *_ = world
    got = figures(a, 2 * a, b)
    assert got["norm_ratio"]["q50"] == pytest.approx(2)
    assert got["cosine_distance"]["q95"] == pytest.approx(0, abs=1e-15)
    assert got["identical_rows"] == 0
    holed = a.copy()
    holed[3] = 0
    got = figures(holed, holed, b)
    assert (got["zero_rows"], got["identical_rows"]) == (1, 120)
    assert 3 not in [w["row"] for w in got["worst"]]


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_flips_and_overlap_are_those_of_full_searches(world, score):
    a, b, a_new, b_new = world
    found = compare(a, a_new, b, after_candidates=b_new, score=score, max_flips=1.0, k=7)
    kinds = {"old-old": (a, b), "new-old": (a_new, b)}
    kinds |= {"old-new": (a, b_new), "new-new": (a_new, b_new)}
    ranked = {k: np.argsort(-full_scores(*v, score), axis=1)[:, :7] for k, v in kinds.items()}
    assert set(found.result["searches"]) == set(kinds)
    for name, rows in ranked.items():
        got = found.result["searches"][name]
        differ = rows[:, 0] != ranked["old-old"][:, 0]
        assert (got["flips"], got["near_ties"]) == (differ.sum(), 0)
        if name != "old-old":
            np.testing.assert_array_equal(found.flipped[name], np.flatnonzero(differ))
        shared = [len(set(x) & set(y)) / 7 for x, y in zip(rows, ranked["old-old"])]
        assert got["overlap_at_k"] == pytest.approx(np.mean(shared))
        ends = binomtest(int(differ.sum()), 120).proportion_ci(method="wilson")
        assert got["flip_rate_ci"] == pytest.approx([ends.low, ends.high])


def test_a_flip_between_near_ties_is_named_apart():
    """Two candidates 1e-8 apart for the first query; the other one has a clear answer."""
    queries = np.array([[1.0, 0.25, 0.0], [0.0, 0.0, 1.0]])
    step = 1e-8
    candidates = np.array([[1.0, step, 0.0], [1.0, -step, 0.0], [0.0, 0.0, 1.0]])
    after = queries * [1.0, -1.0, 1.0]
    got = compare(queries, after, candidates, score="dot").result
    assert got["searches"]["new-old"]["near_ties"] == 1
    assert got["searches"]["new-old"]["flips"] == 0
    assert not got["gate"]["exceeded"]
    wide = candidates * [1.0, 1e6, 1.0]
    got = compare(queries, after, wide, score="dot").result
    assert got["searches"]["new-old"]["near_ties"] == 0
    assert got["searches"]["new-old"]["flips"] == 1
    assert got["gate"]["exceeded"]


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@given(seed=st.integers(0, 10**6), size=st.floats(0.001, 0.2))
def test_a_certified_answer_never_flips(score, seed, size):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(30, 6)), rng.normal(size=(20, 6))
    a_new, b_new = a + size * rng.normal(size=a.shape), b + size * rng.normal(size=b.shape) / 4
    for part in searched(a, a_new, b, b_new, score).values():
        assert not (part.certified & (part.flipped | part.near)).any()


def test_certificates_are_tight_for_queries(world):
    """Pushed straight at the nearest border: certified just inside, flipped just outside."""
    a, b, *_ = world
    ranking = Ranking.of(a, b, "dot")
    radius = query_radius(ranking)
    scores = a @ b.T
    first = scores.argmax(axis=1)
    towards = b[None] - b[first][:, None]
    lengths = np.linalg.norm(towards, axis=2)
    lengths[np.arange(120), first] = np.inf
    reach = (scores[np.arange(120), first][:, None] - scores) / lengths
    reach[np.arange(120), first] = np.inf
    rival = reach.argmin(axis=1)
    push = towards[np.arange(120), rival]
    push *= (radius / np.linalg.norm(push, axis=1))[:, None]
    inside, outside = (searched(a, a + size * push, b)["new-old"] for size in (0.999, 1.001))
    assert inside.certified.all()
    assert not inside.flipped.any()
    assert outside.flipped.all()
    assert not outside.certified.any()
    np.testing.assert_allclose(outside.reach, 1.001)


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_the_score_of_one_candidate_is_that_of_the_search(world, score):
    a, b, *_ = world
    ranking = Ranking.of(a, b, score, np.linspace(-1, 1, 80))
    answers = np.arange(120) % 80
    table = np.vstack([block for _, block in ranking.score_blocks()])
    np.testing.assert_allclose(ranking.scores_of(answers), table[np.arange(120), answers])


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_candidates_that_move_alike_have_the_radius_of_predict(world, score):
    a, b, *_ = world
    ranking = Ranking.of(a, b, score)

    def reach(steps: np.ndarray) -> np.ndarray:
        return candidate_reach(ranking, top1(ranking), steps)

    alike, uneven = np.full(80, 0.01), np.zeros(80)
    uneven[7] = 0.3
    np.testing.assert_allclose(reach(alike), 0.01 / candidate_radius(ranking))
    assert (reach(uneven) <= reach(0 * uneven + 0.3)).all()
    assert reach(0 * uneven).max() == 0


def test_random_errors_of_the_same_length_explain_random_errors(world):
    a, b, *_ = world
    lengths = np.full(120, 0.4)
    rng = np.random.default_rng(5)
    first = (a @ b.T).argmax(1)
    measured = []
    for _ in range(200):
        e = rng.normal(size=a.shape)
        e *= 0.4 / np.linalg.norm(e, axis=1, keepdims=True)
        measured.append((((a + e) @ b.T).argmax(1) != first).mean())
    task = RetrievalTask(a, b, no_relevance(120, 80), "dot")
    got = [random_error_rate(task, lengths, first, seed=s) for s in range(20)]
    assert np.mean(got) == pytest.approx(np.mean(measured), abs=0.01)
    assert random_error_rate(task, 0 * lengths, first) == 0


def rows_and_rotation(n: int = 600, dim: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = two_modalities(n, dim, seed=2)
    return a, b, ortho_group.rvs(dim, random_state=4)


def test_a_rotation_is_found_and_does_not_mix():
    a, b, turn = rows_and_rotation()
    found = compare(a, a @ turn, b, after_candidates=b @ turn, max_flips=0.01)
    hint = found.result["rotation"]
    assert hint["rotated"]
    assert not hint["underdetermined"]
    assert hint["residual_after"] < 1e-12
    assert hint["candidates_residual_after"] < 1e-12
    assert hint["flips_after"] == 0
    np.testing.assert_allclose(found.rotation, turn.T, atol=1e-12)
    parts = found.result["searches"]
    assert parts["new-new"]["flips"] == 0
    assert parts["new-old"]["flip_rate"] > 0.9
    assert found.exceeded
    assert "versions-rotated" in [w["code"] for w in found.result["warnings"]]
    own = compare(a, a @ turn, b, after_candidates=b @ turn, gate="new-new")
    assert not own.exceeded


def test_noise_is_no_rotation_even_where_a_rotation_could_be_overfitted():
    a, b = two_modalities(60, 64, seed=2)  # fewer rows than dimensions: any rows fit some rotation
    noisy = a + 0.1 * np.random.default_rng(0).normal(size=a.shape)
    hint = compare(a, noisy, b, max_flips=1.0).result["rotation"]
    assert hint["underdetermined"]
    assert not hint["rotated"]
    assert compare(a, a * (1 + 1e-9), b).result["rotation"] is None
    one, other = (unit_rows(r) for r in np.random.default_rng(1).normal(size=(2, 60, 200)))
    turn = orthogonal_procrustes(other, one)[0]  # unrelated rows: it fits what it saw
    assert np.linalg.norm(other @ turn - one) < 0.3 * np.linalg.norm(other - one)
    hint = compare(one, other, one[::-1], max_flips=1.0).result["rotation"]
    assert hint["residual_after"] > 0.9 * hint["residual_before"]
    assert not hint["rotated"]


def test_rows_in_another_order_are_named():
    a, b = two_modalities(300, 24, seed=2)
    shuffled = a[np.random.default_rng(0).permutation(300)]
    got = compare(a, shuffled, b, max_flips=1.0).result
    assert got["warnings"][0]["code"] == "versions-out-of-order"
    assert got["order"]["offset"] is None
    dropped = np.concatenate([a[:100], a[101:], a[:1]])  # row 100 was lost on the way
    order = order_of(a, dropped)
    assert order["displaced"] == 200
    assert order["offset"] == 1
    assert order["first"][0] == {"row": 100, "found_at": 101, "id": None}
    assert "mostly 1 row(s) on" in order["words"]


def test_codes_noise_and_duplicates_are_not_another_order():
    a, _ = two_modalities(300, 24, seed=2)
    twins = np.concatenate([a[:150], a[:150]])
    for before, after in ((a, np.sign(a)), (a, a + 0.05), (twins, twins), (twins, twins * 3)):
        assert not order_of(before, after)["out_of_order"]


@pytest.mark.parametrize(
    ("flips", "count", "limit", "verdict", "exceeded"),
    [
        (0, 500, 0.01, "pass", False),
        (0, 300, 0.01, "undecided", False),
        (6, 500, 0.01, "undecided", True),
        (40, 500, 0.01, "fail", True),
        (5, 500, 0.01, "undecided", False),  # exactly the limit: no number of rows decides
        (3, 500, 0.0, "fail", True),
        (0, 500, 0.0, "undecided", False),
    ],
)
def test_the_gate_is_held_against_the_point_estimate(flips, count, limit, verdict, exceeded):
    class Part:
        rate = wilson(flips, count)

    got = gate_of({"old-old": Part(), "new-old": Part()}, limit, "worst")
    assert (got["verdict"], got["exceeded"]) == (verdict, exceeded)
    need = got["rows_to_decide"]
    if need is not None:
        rate = flips / count

        def holds(n: int) -> bool:  # Wilson's interval by its own formula, n and rate as they are
            z = 1.959963984540054
            middle = (rate + z * z / 2 / n) / (1 + z * z / n)
            half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / 4 / n / n)
            return middle - half < limit < middle + half - 1e-12

        assert need > count
        assert holds(need - 1)
        assert not holds(need + 1)


def test_accuracy_and_mcnemar(world):
    a, b, a_new, _ = world
    labels = np.arange(120) % 80
    got = compare(a, a_new, b, labels=labels, max_flips=1.0).result["accuracy"]
    right = [unit_rows(x) @ unit_rows(b).T for x in (a, a_new)]
    right = [s.argmax(1) == labels for s in right]
    assert got["old-old"]["accuracy"] == pytest.approx(right[0].mean())
    assert got["new-old"]["accuracy"] == pytest.approx(right[1].mean())
    lost, won = (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum()
    assert (got["new-old"]["lost"], got["new-old"]["won"]) == (lost, won)
    assert got["new-old"]["mcnemar_p"] == pytest.approx(binomtest(lost, lost + won).pvalue)


def test_a_sample_of_queries_says_so_and_names_rows_of_the_file(world):
    a, b, a_new, _ = world
    found = compare(a, a_new, b, max_queries=40, max_flips=1.0, labels=[0] * 120)
    assert found.result["searched"] == 40
    assert "queries-sampled" in [w["code"] for w in found.result["warnings"]]
    assert found.result["accuracy"]["judged"] == 40
    full = compare(a, a_new, b, max_flips=1.0)
    assert set(found.flipped["new-old"]) < set(full.flipped["new-old"])
    assert full.result["paired"] == found.result["paired"]


def test_same_seed_same_result(world):
    a, b, a_new, b_new = world
    one, two = (compare(a, a_new, b, after_candidates=b_new, seed=3).result for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        ({"after": np.ones((50, 24))}, "unequal-lengths", "before has 120 rows and after has 50"),
        ({"after": np.ones((120, 8))}, "unequal-dimensions", "24 dimensions and after has 8"),
        ({"candidates": np.ones((80, 8))}, "unequal-dimensions", "candidates has 8"),
        ({"after_candidates": np.ones((9, 24))}, "unequal-lengths", "after-candidates has 9"),
        ({"after": np.full((120, 24), np.nan)}, "not-finite", "after holds NaN"),
        ({"after": np.zeros((120, 24))}, "zero-rows", "after has 120 zero vectors"),
        ({"score": "manhattan"}, "unknown-score", "manhattan"),
        ({"gate": "best"}, "unknown-gate", "choose one of worst"),
        ({"gate": "new-new"}, "gate-without-candidates", "after_candidates"),
        ({"max_flips": 1.5}, "not-a-share", "max_flips 1.5"),
        ({"max_flips": float("nan")}, "not-a-share", "max_flips nan"),
        ({"k": 0}, "number-too-small", "k 0"),
        ({"max_queries": 1}, "number-too-small", "max_queries 1"),
        ({"relevance": relevance_by_pairs(9, 9)}, "relevance-of-other-rows", "9 queries"),
        ({"paired": True, "labels": [0] * 120}, "relevance-twice", "labels"),
    ],
)
def test_refusals(world, change, code, fact):
    a, b, a_new, _ = world
    with refused(code, fact):
        compare(**{"before": a, "after": a_new, "candidates": b, **change})


def test_arrays_files_and_sources_are_the_same_rows(files):
    from isthmus.data import open_rows

    names = ("old.npy", "new.npy", "pool.npy")
    arrays = [np.load(name) for name in names]
    plain = compare(*arrays, labels=np.load("labels.npy"))
    for rows in (names, [open_rows(name) for name in names], [Path(name) for name in names]):
        assert compare(*rows, labels="labels.npy").result == plain.result
    assert [line["search"] for line in plain.rows()] == ["old-old", "new-old"]
    assert {line["flip_reference"] for line in plain.rows()} == {"today"}
    assert plain.rows()[1]["flips"] == len(plain.flipped["new-old"])
    assert plain.rows()[1]["certified"] == plain.result["searches"]["new-old"]["certified"]["share"]
    assert plain.rows()[1]["accuracy"] == plain.result["accuracy"]["new-old"]["accuracy"]
    assert json.loads(json.dumps(plain.to_dict())) == plain.to_dict()
    assert "ABOVE THE LIMIT" in plain._repr_html_()
    assert plain.to_arrow().num_rows == 2


# the command


@pytest.fixture
def files(world, tmp_path, monkeypatch) -> Path:
    a, b, a_new, b_new = world
    rows = {"old": a, "new": a_new, "pool": b, "pool-new": b_new, "half": a.astype(np.float16)}
    rows |= {"short": a[:50], "narrow": a[:, :9], "labels": np.arange(120) % 80}
    for name, array in rows.items():
        np.save(tmp_path / f"{name}.npy", array)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, words: str) -> tuple[int, str, str]:
    """Standard output as one line of words."""
    code, out, err = commands.run(capsys, *words.split())
    return code, " ".join(out.split()), err


def test_the_command_passes_and_fails(files, capsys):
    code, out, err = run(capsys, "compare old.npy half.npy pool.npy")
    assert (code, err) == (0, "")
    assert "0 of 120 answers flipped" in out
    assert "within the limit; undecided at n = 120" in out
    assert "(about 381 queries would decide if the rate stays)" in out
    code, out, _ = run(capsys, "compare old.npy new.npy pool.npy")
    assert code == 3
    assert "ABOVE THE LIMIT" in out
    assert run(capsys, "compare old.npy new.npy pool.npy --max-flips 0.5")[0] == 0
    assert "only queries were exchanged" in out


def test_a_gallery_that_was_exported_is_compared_with_the_same_queries(files, capsys):
    code, out, _ = run(capsys, "compare old.npy old.npy pool.npy --after-candidates pool-new.npy")
    assert code == 3
    assert "old-new flips" in out
    assert "only queries were exchanged" not in out
    assert "all queries are the same numbers" in out
    assert out.count("answers flipped") == 1  # not three times the same


def test_the_command_in_json(files, capsys):
    new = "--after-candidates pool-new.npy --labels labels.npy"
    code, out, err = run(capsys, f"compare old.npy new.npy pool.npy {new} --json")
    assert code == 3
    got = json.loads(out)
    assert got["before"] == "old.npy"
    assert list(got["searches"]) == ["old-old", "new-old", "old-new", "new-new"]
    assert got["accuracy"]["judged"] == 120
    assert got["gate"]["search"] in got["searches"]
    assert "new queries in old candidates" in err


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("old.npy short.npy pool.npy", "drop what only one has"),
        ("old.npy none.npy pool.npy", "none.npy"),
        ("old.npy new.npy pool.npy --paired", "row i cannot belong to row i"),
        ("old.npy new.npy pool.npy --paired --labels labels.npy", "labels"),
    ],
)
def test_the_command_refuses_in_one_sentence(files, capsys, words, fact):
    commands.refused_in_one_sentence(capsys, f"compare {words}", fact)


@pytest.mark.real_data
def test_coco_turned_shifted_and_coded(coco):
    """What docs/compare.md says of CLIP on COCO."""
    from isthmus.perturb.codecs import fit_codec

    images, captions = coco
    half = compare(images, images.astype(np.float16), captions, paired=True)
    assert half.result["paired"]["identical_rows"] == 500  # published rounded to half precision
    assert half.result["gate"]["verdict"] == "pass"
    coded = compare(images, fit_codec("sq4", images[::2]).through(images), captions, paired=True)
    got = coded.result["searches"]["new-old"]
    assert got["flip_rate"] == pytest.approx(0.042, abs=0.01)
    assert got["random_error_flip_rate"] == pytest.approx(got["flip_rate"], abs=0.03)
    assert got["certified"]["flips"] == 0
    assert coded.result["accuracy"]["new-old"]["mcnemar_p"] > 0.05
    turn = ortho_group.rvs(512, random_state=0)
    turned = compare(images, images @ turn, captions, after_candidates=captions @ turn)
    assert turned.result["rotation"]["rotated"]
    assert turned.result["searches"]["new-old"]["flip_rate"] > 0.98
    assert turned.result["searches"]["new-new"]["flips"] == 0


def test_the_examples_of_the_page_run(files_wide):
    assert test_docs.run_blocks("compare")[1] == ["versions"]
    rows = "images.npy", "images-turned.npy", "captions.npy"
    got = compare(*rows, after_candidates="captions-turned.npy").result
    assert got["searches"]["new-new"]["flips"] == 0
    lost = compare("images.npy", "images-lost.npy", "captions.npy", max_flips=1).result
    assert lost["order"]["offset"] == 1


def test_every_key_is_on_the_page(world):
    a, b, a_new, b_new = world
    labels = np.arange(120) % 80
    got = compare(a, a_new, b, after_candidates=b_new, labels=labels).result
    page = test_docs.page("compare")
    plain = {"score", "rows", "dim", "candidates", "dtypes", "searched", "seed", "queries", "k"}
    keys = set(got) | set(got["paired"]) | set(got["searches"]["new-old"])
    keys -= plain | {"cosine"}
    assert [k for k in sorted(keys) if f"`{k}`" not in page] == []


def test_codes_that_were_not_decoded_are_recognised(world):
    """Min-max codes of eight bits as floats: another space by cosine, the same rows decoded."""
    a, _, b, _ = world
    low, high = a.min(axis=0), a.max(axis=0)
    codes = np.floor((a - low) / (high - low) * 255).clip(0, 255) - 128
    found = compare(a, codes.astype(np.float32), b).result
    assert [w["code"] for w in found["warnings"]] == ["versions-affine"]
    assert "decode them as (code - offset) / scale" in found["warnings"][0]["text"]
    searched = found["searches"]["new-old"]["flip_rate"]
    assert found["affine"]["decoded_flip_rate"] < 0.05 < searched
    decoded = (codes + 128) / 255 * (high - low) + low
    assert compare(a, decoded, b).result["affine"] is None
    assert compare(a, 9 * a, b).result["affine"] is None  # nothing under cosine
    assert compare(a, a + 0.3 * a.mean(axis=0), b).result["affine"] is None


def test_pairs_that_slip_are_named_before_the_accuracies(world):
    a, _, b, _ = world
    short, others = np.delete(a, 50, axis=0), b[:-1]
    found = compare(short, short, others, paired=True).result
    assert found["warnings"][0]["code"] == "pairs-slipped"
    assert compare(a, a, b, paired=True).result["warnings"] == []
