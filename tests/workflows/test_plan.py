"""The storage plan: places by brute force, predictions by measurement, choices on new queries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import isthmus as im
from commands import refused_in_one_sentence, run
from isthmus.perturb.codecs import CODECS, CodecFamily, coded_ranking, fit_codec
from isthmus.search.scores import Ranking, top_k
from isthmus.workflows.places import SAFETY, places_of, safe_margin
from refusals import refused
from worlds import two_modalities


@dataclass(frozen=True)
class Noisy:
    """A codec whose error is Gaussian, of one size in every coordinate."""

    size: float
    name: str = "noisy"

    def through(self, rows: np.ndarray) -> np.ndarray:
        return rows + self.size * np.random.default_rng(2).normal(size=rows.shape)

    def bytes_per_vector(self, dim: int) -> float:
        return dim


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """``noisy-<n>``: an error of n / 1000 a coordinate."""
    family = CodecFamily(r"noisy-(\d+)", lambda rows, n: Noisy(n / 1000), "Gaussian error")
    monkeypatch.setitem(CODECS._entries, "noisy-<n>", family)


def test_places_are_those_of_a_sorted_list(pairs_small) -> None:
    q, c = pairs_small
    c = np.vstack([c, c[:5]])  # twins: the lower row comes first
    exact = top_k(Ranking.of(q, c, "cosine"), 3).rows
    coded = coded_ranking(q, c, fit_codec("sign", c))
    scores = q @ np.sign(c).T
    for i, line in enumerate(scores.round(9)):
        order = sorted(range(len(c)), key=lambda j: (-line[j], j))
        expected = [order.index(row) for row in exact[i]]
        assert places_of(coded, exact)[i].tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize("size", [5, 30, 80])
def test_prediction_is_what_a_gaussian_error_does(noisy: None, size: int) -> None:
    q, c = two_modalities(1200, 48, seed=6)
    found = im.plan(q, c, codecs=[f"noisy-{size}"], depths=[0, 10, 50])
    for line in found.lines:
        assert line.predicted == pytest.approx((line.validation + line.test) / 2, abs=0.055)
    assert min(line.test for line in found.lines) < 0.99


@pytest.mark.slow
def test_the_choice_is_the_smallest_that_meets(pairs_small) -> None:
    q, c = two_modalities(600, 32, seed=4)
    found = im.plan(q, c, target=0.9)
    assert dict(found.left_out) == {"pq": "300 rows to train on, it needs 2048"}
    assert {line.codec for line in found.lines} == {
        "sign", "sign-both", "rabitq", "rabitq2", "rabitq4", "sq4", "int8", "fp16"
    }  # fmt: skip
    assert {line.closer for line in found.lines if line.codec == "sign-both"} == {"none"}
    assert {line.depth for line in found.lines} == {0, 10, 20, 50}
    for choice, plain, deepest in (
        (found.plain, True, 99), (found.closed, False, 99),
        (found.plain_by_code, True, 0), (found.closed_by_code, False, 0),
    ):  # fmt: skip
        fits = [
            (x.bytes_per_vector, x.depth)
            for x in found.lines
            if x.validation - x.margin >= 0.9 and (x.closer == "none") == plain
            and x.depth <= deepest
        ]  # fmt: skip
        assert choice is not None
        assert (choice.bytes_per_vector, choice.depth) == min(fits)
    sizes = {(x.codec, x.closer): x.bytes_per_vector for x in found.lines}
    assert sizes["int8", "none"] == 32
    assert sizes["int8", "center-both"] == 36  # one float more: the candidate's bias


def test_the_margin_of_shares() -> None:
    kept = np.r_[np.zeros(10), np.ones(90)]
    expected = SAFETY * np.sqrt((0.09 + 0.005) * (1 / 100 + 1 / 50))
    assert safe_margin(kept, 50) == pytest.approx(expected)
    assert safe_margin(np.ones(100), 100, 10) == pytest.approx(SAFETY * np.sqrt(5e-4 * 0.02))


@pytest.mark.slow
def test_held_out_queries_keep_the_target_in_nearly_every_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isthmus.workflows.places.PREDICTED_QUERIES", 8)  # nothing here sees it
    q, c = two_modalities(600, 32, seed=4)
    kept, found_one = 0, 0
    for seed in range(20):
        found = im.plan(q, c, codecs=["sign", "rabitq2", "int8"], target=0.95, seed=seed)
        lines = [x for x in (found.plain, found.closed, found.closed_by_code) if x is not None]
        kept += sum(x.test >= 0.95 for x in lines)
        found_one += len(lines)
    assert found_one >= 40
    assert kept >= 0.95 * found_one


def test_recall_counts_k_answers_and_is_harder_than_one() -> None:
    q, c = two_modalities(400, 24, seed=1)
    one = im.plan(q, c, codecs=["sign"], depths=[20])
    ten = im.plan(q, c, codecs=["sign"], depths=[20], measure="recall", k=10)
    coded = coded_ranking(q, c, fit_codec("sign", c))
    exact = top_k(Ranking.of(q, c, "cosine"), 10).rows
    listed = top_k(coded, 20).rows
    recall = np.mean([np.isin(e, row).mean() for e, row in zip(exact, listed)])
    line = next(x for x in ten.lines if x.closer == "none")
    assert (line.validation + line.test) / 2 == pytest.approx(recall, abs=1e-9)
    assert ten.lines[0].predicted is None
    assert ten.lines[0].test < one.lines[0].test


def test_raw_rows_by_distance_use_closings_that_keep_distances(rng) -> None:
    q, c = two_modalities(200, 16, seed=1)
    c = c * rng.uniform(0.5, 2, (200, 1))
    found = im.plan(q, c, score="euclidean", codecs=["fp16"], depths=[0])
    assert [x.closer for x in found.lines] == ["none", "biased-shift"]
    assert all(x.test > 0.97 for x in found.lines)
    with refused("closer-changes-answers", "center-both"):
        im.plan(q, c, score="euclidean", codecs=["fp16"], closers=["center-both"])


def test_refusals(pairs_small, monkeypatch: pytest.MonkeyPatch) -> None:
    q, c = pairs_small
    with refused("target-not-a-share", "1.0"):
        im.plan(q, c, target=1.0)
    with refused("unknown-measure", "'accuracy'"):
        im.plan(q, c, measure="accuracy")
    with refused("unknown-codec", "'sq5'"):
        im.plan(q, c, codecs=["sq5"])
    with refused("closer-changes-answers", "mean-shift"):
        im.plan(q, c, closers=["mean-shift"])
    with refused("bad-depth", "depth 61; expected at least 0 and at most 60"):
        im.plan(q, c, depths=[61])
    monkeypatch.setattr("isthmus.workflows.storage.has_multi_bit", lambda: False)
    left_out = dict(im.plan(q, c).left_out)
    assert left_out["rabitq4"].startswith("the installed FAISS has one bit")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rows in zip("qc", two_modalities(300, 24, seed=1)):
        np.save(f"{name}.npy", rows)
    options = ("--target", "0.8", "--max-candidates", "200", "--out", "plan.parquet")
    code, out, _ = run(capsys, "plan", "q.npy", "c.npy", *options)
    assert code == 0
    assert out.startswith("Store ")
    assert "Measured among 200 of 300 candidates" in " ".join(out.split())
    table = out[out.index("as it is") :].splitlines()
    assert len(table) <= 15
    assert max(len(line) for line in table[:10]) <= 80
    assert "wrote plan.parquet" in out
    words = ("--target", "0.9999", "--codecs", "sign", "--json")
    code, out, err = run(capsys, "plan", "q.npy", "c.npy", *words)
    result = json.loads(out)
    assert result["plain"] is None
    assert len(result["lines"]) == 9
    assert "give 46602 or more" in " ".join(err.split())
    refused_in_one_sentence(capsys, "plan q.npy c.npy --depths 0.5", "depth")
    refused_in_one_sentence(capsys, "plan q.npy c.npy --out plan.txt", ".parquet")


@pytest.mark.real_data
@pytest.mark.parametrize("column", [0, 1])
def test_coco_at_95_percent_in_one_bit(column: int, real_data: Path) -> None:
    both = np.load(real_data / "modgap" / "features_clip.npy", allow_pickle=False)
    found = im.plan(both[column], both[1 - column], target=0.95)
    assert found.best is not None
    assert (found.best.codec, found.best.bytes_per_vector, found.best.depth) == ("sign", 64, 50)
    assert found.best.test > 0.99
    sizes = {x.bytes_per_vector for x in (found.plain_by_code, found.closed_by_code) if x}
    assert max(sizes) <= 1028


def test_items_are_answers_and_repeats_count_once() -> None:
    q, c = two_modalities(300, 32, seed=8)
    plain = im.plan(q, c, codecs=["sign"])
    twice = im.plan(q, np.repeat(c, 2, axis=0), codecs=["sign"], depths=[0, 10, 20])
    assert [(x.depth, x.test) for x in twice.lines] == [(x.depth, x.test) for x in plain.lines]
    assert twice.setup["all_candidates"] == 300
    assert twice.warnings[0].code == "duplicates"
    crops = np.vstack([c, c + 1e-3 * np.random.default_rng(0).normal(size=c.shape)])
    names = np.tile(np.arange(300), 2)
    by_row, by_item = (
        im.plan(q, crops, codecs=["sign"], closers=["none"], depths=[0], candidate_items=items)
        for items in (None, names)
    )
    assert by_item.lines[0].test > by_row.lines[0].test + 0.05
    exact = q @ crops.T
    best = np.maximum(exact[:, :300], exact[:, 300:]).argmax(axis=1)
    coded = coded_ranking(q, crops, fit_codec("sign", crops))
    places = places_of(coded, best[:, None], names)
    scores = q @ np.sign(crops).T
    own = np.maximum(scores[np.arange(300), best], scores[np.arange(300), best + 300])
    assert ((scores > own[:, None] + 1e-9).sum(axis=1) <= places[:, 0]).all()
    assert (places[:, 0] == 0).mean() == pytest.approx(
        (by_item.lines[0].test + by_item.lines[0].validation) / 2, abs=0.1
    )


def test_rows_that_slip_are_said_although_no_figure_needs_pairs() -> None:
    q, c = two_modalities(400, 64, seed=8)
    found = im.plan(np.delete(q, 40, axis=0), c[:-1], codecs=["int8"])
    assert [w.code for w in found.warnings] == ["order-differs"]
    assert "row i+1 of candidates from row 40 on" in found.warnings[0].text
    assert found.to_dict()["warnings"][0]["severity"] == "caution"
    assert im.plan(q, c, codecs=["int8"]).warnings == ()
