"""The verdict of an audit: an answer per disturbance, by the decision of ``recommend``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.core.seeds import stream
from isthmus.perturb.codecs import fit_codec
from isthmus.report.table import detailed_lines
from isthmus.robustness.mixed.measured import mixed
from isthmus.search.opening import open_task
from isthmus.workflows.audits import audit
from isthmus.workflows.audits.auditing import withdraw_verdicts
from isthmus.workflows.recommendation import Rules, recommend
from isthmus.workflows.recommendation.verdicts import (
    CODES,
    FLOAT32,
    NOISE_LEVELS,
    Verdict,
    _recommendation,
    verdict_of,
)
from isthmus.workflows.recommendation.wording import HELPS, SAFE, STATES
from worlds import unit_rows


def gapped(n: int = 160, offset: float = 1.5, noise: float = 0.3) -> tuple[Any, Any]:
    """Pairs of unit rows whose two sides are far apart."""
    dim, rng = 32, np.random.default_rng(0)
    shared = rng.normal(size=(n, dim)) / np.sqrt(dim)
    away = np.zeros(dim)
    away[0] = offset
    a, b = (
        unit_rows(shared + noise * rng.normal(size=(n, dim)) / np.sqrt(dim) + s * away)
        for s in (1, -1)
    )
    return a, b


def ten_classes(n: int = 400, dim: int = 24, seed: int = 0) -> tuple[Any, Any, Any]:
    """Images, ten class texts that lie along the images' mean by chance, and labels: the texts
    that lie most along it take answers that are not theirs until the images lose their mean."""
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng.normal(size=(10, dim)))
    directions[:, 0] = 0
    labels = rng.integers(0, 10, n)
    images = directions[labels] + 0.6 * rng.normal(size=(n, dim)) / np.sqrt(dim)
    images[:, 0] += 3
    texts = directions.copy()
    texts[:, 0] = 0.25 * rng.normal(size=10)
    return unit_rows(images), unit_rows(texts), labels


def judge(a: Any, b: Any, floor: float = 1.0, **options: Any) -> Verdict:
    return verdict_of(open_task(a, b, **options), Rules(floor), lambda *_: None)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return judge(*gapped())


def test_what_the_advised_closer_makes_worse_is_named(verdict: Verdict) -> None:
    """Lines of the verdict on which it changes more answers than plain search, and not its own."""
    advice = verdict.recommendation
    before = {e["disturbance"]: e["flips_before"] for e in verdict.entries}
    assert advice["worse"] or advice["closer"] == "none"
    for row in advice["worse"]:
        assert row["flips_before"] == pytest.approx(before[row["disturbance"]])
        assert row["flips_after"] > row["flips_before"]
        assert row["disturbance"] not in {advice["judged_on"], *advice["also"]}


def test_the_flipped_queries_are_those_that_the_verdict_counts(verdict: Verdict) -> None:
    flipped, advice = verdict.flipped, verdict.recommendation
    assert flipped is not None
    entry = next(e for e in verdict.entries if e["disturbance"] == flipped["disturbance"])
    assert entry["disturbance"] == advice["judged_on"]
    today, closed = np.array(flipped["today"]), np.array(flipped["closed"])
    listed = np.array(flipped["queries"])
    assert flipped["of"] == len(listed) == len(set(listed)) > 0
    slack = 0.05  # queries that change in fewer draws are not listed
    assert abs(today.sum() / entry["queries"] - entry["flips_before"]) <= slack
    assert abs(closed.sum() / entry["queries"] - entry["flips_after"]) <= slack
    a, b = gapped()
    assert flipped["answers"] == (a @ b.T).argmax(axis=1)[listed].tolist()
    assert flipped["query_ids"] is None


def test_one_answer_per_disturbance_undisturbed_first(verdict: Verdict) -> None:
    names = [entry["disturbance"] for entry in verdict.entries]
    noises = [f"noise {level:g}" for level in NOISE_LEVELS]
    assert names == [FLOAT32, *(one.name for one in CODES), *noises]
    first = verdict.entries[0]
    assert (first["state"], first["flips_before"]) == (SAFE, 0.0)
    assert "gain nothing" in first["sentence"]
    for entry in verdict.entries:
        assert entry["state"] in STATES
        helps = entry["state"] == HELPS
        assert (entry["closer"] != "none") == helps
        assert (entry["cost"] is not None) == helps
        assert (entry["interval"] is not None) == helps
        assert entry["disturbance"] in entry["sentence"]
        if helps:
            assert entry["flips_after"] < entry["flips_before"]
            assert entry["interval"][0] > 0
        else:
            assert entry["flips_after"] == entry["flips_before"]
    assert {e["state"] for e in verdict.entries} == set(STATES)


EXACT = "none orthogonal-shift biased-shift center-queries center-both span subspace low-rank-memo"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("int8", {"perturb": "int8"}),
        ("one bit, rabitq", {"perturb": "rabitq"}),
        ("one bit, rabitq, top 50 rescored", {"perturb": "rabitq", "rescored": 50}),
        ("one bit, sign", {"perturb": "sign"}),
        ("noise 0.04", {"perturb": "gaussian", "levels": 0.04}),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 1.5])
def test_recommend_says_the_same(name: str, options: dict[str, Any], offset: float) -> None:
    a, b = gapped(offset=offset)
    entry = next(e for e in judge(a, b).entries if e["disturbance"] == name)
    advice = recommend(a, b, closers=EXACT.split(), **options)
    assert entry["flips_before"] == pytest.approx(advice.plain.test.flips)
    assert (entry["state"] == HELPS) == (not advice.nothing)
    if dict(advice.options) in ({}, {"strength": 1.0}):  # the setting that a verdict tries
        assert (entry["closer"], entry["score"]) == (advice.name, advice.score)


@pytest.mark.slow
def test_one_advice_and_it_is_the_verdicts_own(verdict: Verdict) -> None:
    chosen = verdict.recommendation
    helped = [e for e in verdict.entries if e["state"] == HELPS]
    entry = next(e for e in helped if e["disturbance"] == chosen["judged_on"])
    for name in ("closer", "score", "flips_before", "flips_after"):
        assert chosen[name] == entry[name]
    assert chosen["flips_removed_ci"] == entry["interval"]
    same = {e["disturbance"] for e in helped if e["closer"] == chosen["closer"]}
    assert set(chosen["also"]) == same - {chosen["judged_on"]}
    a, b = gapped()
    done = audit(a, b, trials=1)
    for direction in done.report["directions"]:
        taken = direction["recommendation"]
        named = [e["closer"] for e in direction["verdict"] if e["state"] == HELPS] or ["none"]
        assert taken["closer"] in named
        key = f"{direction['query']}_to_{direction['candidate']}"
        assert done.closers[key].name == taken["closer"]
        advice = str(detailed_lines(done.report)[-1])
        assert "Use " in advice or "leave the gap" in advice or "note:" in advice


def test_a_closer_for_a_code_goes_before_closers_for_noise() -> None:
    """Two lines of noise name one closer and remove more; the line of a code names another."""
    noise = {"family": "gaussian", "target": "candidates", "level": 0.04, "convention": "total"}
    code = {"family": "rabitq", "target": "candidates", "level": 1.0}
    lines = [("one bit", code, "biased-shift", 0.1), ("noise 1", noise, "center-queries", 0.3)]
    lines.append(("noise 2", noise, "center-queries", 0.3))
    flips = {"score": "dot", "flips_before": 0.5, "flips_after": 0.1, "state": HELPS}
    pairs = [
        ({"disturbance": name, "perturbation": p, "closer": closer, **flips}, {"gain": gain})
        for name, p, closer, gain in lines
    ]
    for _, more in pairs:
        more["reason"] = "because"
    chosen = _recommendation(pairs, Rules(1.0))
    assert (chosen["closer"], chosen["judged_on"]) == ("biased-shift", "one bit")
    assert _recommendation(pairs[1:], Rules(1.0))["also"] == ["noise 2"]


def test_codes_say_what_every_score_changes(verdict: Verdict) -> None:
    """Plain search by dot ranks RaBitQ's codes as an index does: against the codec's own scores."""
    a, b = gapped()
    (entry,) = [e for e in verdict.entries if e["disturbance"] == "one bit, rabitq"]
    assert entry["flips_by_score"]["cosine"] == entry["flips_before"]
    _, test = open_task(a, b).split(0.5, stream("recommend.split", 0))
    drawn = stream("recommend.codec-rows", 0).permutation(len(b))
    codec = fit_codec("rabitq", b[np.sort(drawn[: len(b) // 2])])
    ranked = codec.scores(a[test], b, "dot").argmax(axis=1)  # FAISS's own
    changed = (ranked != (a @ b.T).argmax(axis=1)[test]).mean()
    assert entry["flips_by_score"]["dot"] == pytest.approx(changed)
    assert all(not e["flips_by_score"] for e in verdict.entries if "noise" in e["disturbance"])


@pytest.mark.slow
def test_a_mixed_pool_is_part_of_the_verdict() -> None:
    """Figures of ``im.mixed`` on the same rows; nothing where rows are no pairs or pairs slip."""
    a, b = gapped(offset=1.5)
    done = audit(a, b, trials=1)
    entry = done.report["mixed"]["verdict"]
    found = mixed(None, unit_rows(a), unit_rows(b), draws=5)
    assert (entry["state"], entry["queries"]) == (HELPS, found.scored)
    assert entry["ndcg_before"] == pytest.approx(found.row("none")["ndcg"])
    assert entry["ndcg_after"] == pytest.approx(found.row(entry["closing"])["ndcg"])
    assert done.pool is not None
    lines = [str(line) for line in detailed_lines(done.report)]
    assert any(line.startswith("+ one pool of image and text") for line in lines)
    assert max(len(part) for line in lines for part in line.split("\n")) <= 80
    for report in (
        audit(a, b, trials=1, paired=False).report,
        audit(np.delete(a, 40, axis=0), b[:-1], trials=1).report,
    ):
        assert "verdict" not in report["mixed"]


def test_where_nothing_is_lost_it_is_safe(verdict: Verdict) -> None:
    entry = next(e for e in verdict.entries if e["disturbance"] == "float16")
    assert entry["state"] == SAFE
    assert entry["flips_before"] <= 0.005


def test_the_ruler_is_the_measured_error(verdict: Verdict) -> None:
    sizes = [entry["total_variance"] for entry in verdict.ruler]
    assert sizes == sorted(sizes)
    found = {entry["disturbance"]: entry for entry in verdict.ruler}
    assert set(found) == {
        "float16", "int8", "4 bit", "one bit, sign", "one bit, rabitq", "noise 0.005", "noise 0.04"
    }  # fmt: skip
    b = gapped()[1]
    through = fit_codec("fp16", b).through(b)
    assert found["float16"]["total_variance"] == pytest.approx(((through - b) ** 2).sum(1).mean())
    assert found["noise 0.04"]["total_variance"] == 0.04
    assert found["4 bit"]["flips"] > found["int8"]["flips"]


def test_changing_answers_on_purpose_is_a_line_of_its_own() -> None:
    """Ten classes where centring raises accuracy: said with its held-out test, and not taken."""
    images, texts, labels = ten_classes()
    report = audit(images, texts, labels=labels, trials=2).report
    entry = report["directions"][0]
    centred = next(c for c in entry["changes"] if c["closer"] == "centering")
    assert centred["raises"]
    assert centred["after"] > centred["before"] + 0.05
    assert centred["p"] < 0.01
    assert "raises accuracy with" in entry["changes_sentence"]
    assert "not part of the verdict" in entry["changes_sentence"]
    assert not {e["closer"] for e in entry["verdict"]} & {c["closer"] for c in entry["changes"]}
    text = " ".join("".join(map(str, detailed_lines(report))).split())
    assert f"{entry['clean']['accuracy']:.1%}" in text
    assert "Changing answers on purpose raises accuracy with" in text


def test_no_closer_that_raises_accuracy_is_said_too() -> None:
    a, b = gapped(offset=0.3, noise=1.5)
    known = judge(a, b)
    assert known.changes
    assert "with no closer tried" in (known.changes_sentence or "")
    unknown = judge(a, b, paired=False)
    assert (unknown.changes, unknown.changes_sentence) == ([], None)


def test_broken_rows_get_no_verdict() -> None:
    entry = {"verdict": [1], "changes": [1], "changes_sentence": "x", "ruler": [1]}
    report = {"warnings": [{"code": "c", "severity": "note"}], "directions": [dict(entry)]}
    withdraw_verdicts(report)
    assert report["directions"] == [entry]
    report["warnings"] += [{"code": "d", "severity": "broken"}]
    withdraw_verdicts(report)
    gone = {"verdict": [], "changes": [], "changes_sentence": None}
    assert report["directions"] == [entry | gone]


def test_few_queries_are_not_judged() -> None:
    a, b = gapped(n=12)
    found = judge(a, b)
    assert [entry["disturbance"] for entry in found.entries] == [FLOAT32]


@pytest.mark.slow
def test_a_lower_floor_lets_other_closers_in() -> None:
    a, b = gapped(offset=0.1)
    strict, loose = judge(a, b), judge(a, b, floor=0.5)
    names = [{e["closer"] for e in found.entries} for found in (strict, loose)]
    assert names[0] <= set(EXACT.split())
    for entry in loose.entries:
        if entry["closer"] not in EXACT.split():
            assert "undisturbed answers change" in entry["cost"]


def test_the_terminal_shows_state_number_and_why_in_80_columns(verdict: Verdict) -> None:
    report = {"directions": [{"query_name": "images", "verdict": verdict.entries}]}
    text = "\n".join(map(str, detailed_lines(report)[:-3]))
    assert max(map(len, text.splitlines())) <= 80
    for sign in "=+-":
        assert any(line.startswith(f"{sign} ") for line in text.splitlines())
    helped = next(e for e in verdict.entries if e["state"] == HELPS)
    assert f"{helped['flips_before']:.1%} → {helped['flips_after']:.1%}" in text
    assert helped["cost"] in " ".join(text.split())
