"""The closers as a scikit-learn transformer."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import _num_samples

from isthmus.closers import METHODS
from isthmus.closers.closer import Closer
from isthmus.closers.estimators import GapCloser
from isthmus.data.moments import Moments
from isthmus.search.scores import Ranking, top1
from refusals import refused
from test_docs import run_blocks
from worlds import fitted, two_modalities, unit_rows

ROLES = ("query", "candidate")


class HalfAndHalf(GapCloser):
    """Rows are queries and candidates in turn: a fit of both from one X, as the checks give it."""

    def fit(self, X, y=None, *, modality=None):
        return super().fit(X, y, modality=self.in_turn(X))

    def fit_transform(self, X, y=None, *, modality=None):
        return self.fit(X, y).transform(X)

    def partial_fit(self, X, y=None, *, modality=None):
        return super().partial_fit(X, y, modality=self.in_turn(X))

    @staticmethod
    def in_turn(X) -> np.ndarray:
        return np.resize(ROLES, _num_samples(X))


def expected(estimator: GapCloser) -> dict[str, str]:
    """Checks that cannot hold, by name, and why."""
    if not isinstance(estimator, HalfAndHalf):
        return {}
    why = "one row is of one modality: a CloserError, where a ValueError is looked for"
    return {"check_fit2d_1sample": why}


@parametrize_with_checks([GapCloser(), HalfAndHalf("coral")], expected_failed_checks=expected)
def test_scikit_learn_conventions(estimator, check) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        GapCloser("none", role="candidate"),
        *(HalfAndHalf(m) for m in ("center-both", "centering", "span")),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learn_conventions_of_other_closers(estimator, check) -> None:
    check(estimator)


def assert_same(one: Closer, other: Closer, rows: np.ndarray) -> None:
    for role in ROLES:
        np.testing.assert_allclose(one.apply(rows, role), other.apply(rows, role), atol=1e-9)
    np.testing.assert_allclose(one.candidate_bias(rows), other.candidate_bias(rows), atol=1e-9)
    assert one.score == other.score
    assert one.guarantee.kind == other.guarantee.kind


@pytest.mark.parametrize("method", METHODS)
def test_every_closer_is_the_functional_one(method: str, pairs_small) -> None:
    a, b = pairs_small
    a, b = 3 * a, 2 * b  # normalised by the estimator
    reference = fitted(method, a, b)
    both, labels = np.concatenate([b, a]), np.repeat(["candidate", "query"], len(a))
    made = [
        GapCloser(method, other=b).fit(a),
        GapCloser(method, role="candidate", other=a).fit(b),
        GapCloser(method).fit(both, modality=labels),
    ]
    for estimator in made:
        assert_same(estimator.closer_, reference, a[:7])
        role = estimator.role
        np.testing.assert_allclose(
            estimator.transform(a[:7]), reference.apply(a[:7], role), atol=1e-9
        )
        assert_same(
            clone(estimator)
            .set_params(role=role)
            .fit(
                *((both,) if estimator.other is None else (a if role == "query" else b,)),
                **({"modality": labels} if estimator.other is None else {}),
            )
            .closer_,
            reference,
            a[:7],
        )


@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if not m.needs])
@pytest.mark.parametrize("role", ROLES)
def test_alone_means_that_the_other_side_does_not_matter(
    method: str, role: str, pairs_wide
) -> None:
    a, b = pairs_wide
    rng = np.random.default_rng(0)
    elsewhere = unit_rows(b[:, ::-1] ** 2 + rng.normal(size=b.shape) * np.linspace(0.1, 1, 96))
    fits = [GapCloser(method, role=role, other=o, normalised=False).fit(a) for o in (b, elsewhere)]
    rows = rng.normal(size=(5, 96))
    parts = [
        [e.closer_.apply(rows, r) for r in ROLES] + [e.closer_.candidate_bias(rows)] for e in fits
    ]
    same = all(x.shape == y.shape and np.allclose(x, y) for x, y in zip(*parts, strict=True))
    assert same == (role in METHODS[method].alone)
    if same:
        alone = GapCloser(method, role=role, normalised=False).fit(a)
        assert_same(alone.closer_, fits[0].closer_, rows)
    else:
        with refused("other-role-missing"):
            GapCloser(method, role=role).fit(a)


def test_moments_stand_for_rows_that_were_summarised_elsewhere(pairs_small) -> None:
    a, b = pairs_small
    rows = GapCloser("coral", other=b).fit(a)
    moments = GapCloser("coral", other=Moments.of(b, precise=True)).fit(a)
    assert_same(rows.closer_, moments.closer_, a)
    copied = clone(moments)  # scikit-learn copies what is no estimator
    assert copied.other is not moments.other
    assert_same(copied.fit(a).closer_, rows.closer_, a)


def test_params_and_a_clone_forget_nothing_and_know_nothing(pairs_small) -> None:
    a, b = pairs_small
    estimator = GapCloser("orthogonal-shift", other=b, options={"variance": 0.9}).fit(a)
    assert set(estimator.get_params()) == {
        "method",
        "role",
        "other",
        "metric",
        "strength",
        "normalised",
        "options",
    }
    twin = clone(estimator)
    assert twin.options == {"variance": 0.9}
    with pytest.raises(NotFittedError, match="not fitted"):
        twin.transform(a)
    halved = twin.set_params(strength=0.5, metric="dot").fit(a).closer_
    assert (halved.strength, halved.score) == (0.5, "dot")
    assert estimator.n_features_in_ == 24


def test_search_with_candidate_biases_keeps_every_answer(pairs_small) -> None:
    a, b = pairs_small
    for method in ("center-queries", "center-both", "biased-shift"):
        queries = make_pipeline(Normalizer(), GapCloser(method, other=b)).fit(5 * a)
        closer = queries[-1].as_role("candidate")
        ranking = Ranking.of(
            queries.transform(5 * a),
            closer.transform(b),
            closer.closer_.score,
            closer.candidate_bias(b),
        )
        assert np.abs(closer.candidate_bias(b)).max() > 0.1
        np.testing.assert_array_equal(top1(ranking), top1(Ranking.of(a, b, "cosine")))


def test_candidate_biases_are_of_candidates_in_either_role(pairs_small) -> None:
    a, b = pairs_small
    for role, own, other in (("query", a, b), ("candidate", b, a)):
        estimator = GapCloser(role=role, other=other).fit(own)
        by_hand = unit_rows(b) @ unit_rows(a).mean(axis=0)
        np.testing.assert_allclose(estimator.candidate_bias(4 * b), by_hand, atol=1e-12)
    assert not GapCloser("centering", other=b).fit(a).candidate_bias(b).any()


def recall(estimator, X, y) -> float:
    """R@1 of queries X whose answers are rows y of the estimator's own candidates."""
    closer = estimator[-1] if hasattr(estimator, "steps") else estimator
    stored = closer.other
    ranking = Ranking.of(
        estimator.transform(X),
        closer.as_role("candidate").transform(stored),
        closer.closer_.score,
        closer.candidate_bias(stored),
    )
    return float((top1(ranking) == y).mean())


def test_grid_search_over_strength_is_the_loop_by_hand(pairs_small) -> None:
    a, b = pairs_small
    strengths = [0.0, 0.5, 1.0, 2.0]
    pipeline = make_pipeline(Normalizer(), GapCloser("centering", other=b))
    search = GridSearchCV(
        pipeline, {"gapcloser__strength": strengths}, scoring=recall, cv=KFold(3)
    ).fit(a, np.arange(len(a)))
    by_hand = []
    for strength in strengths:
        scores = []
        for train, test in KFold(3).split(a):
            closer = fitted("centering", a[train], b, strength=strength)
            ranking = Ranking.of(
                closer.apply(a[test], "query"), closer.apply(b, "candidate"), closer.score
            )
            scores.append((top1(ranking) == test).mean())
        by_hand.append(np.mean(scores))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand)
    assert len(set(by_hand)) > 1
    assert search.best_params_["gapcloser__strength"] == strengths[int(np.argmax(by_hand))]


def test_labels_are_routed_through_a_pipeline_and_split_with_the_rows(pairs_small) -> None:
    a, b = pairs_small
    both, labels = np.concatenate([a, b]), np.repeat(ROLES, len(a))
    seen = []

    class Watching(GapCloser):
        def fit(self, X, y=None, *, modality=None):
            seen.append((len(X), list(modality)))
            return super().fit(X, y, modality=modality)

    with config_context(enable_metadata_routing=True):
        step = Watching("centering").set_fit_request(modality=True)
        step = step.set_transform_request(modality=True)
        pipeline = make_pipeline(FunctionTransformer(lambda rows: 2 * rows), step)
        out = pipeline.fit_transform(both, modality=labels)
        closer = fitted("centering", a, b)
        np.testing.assert_allclose(out[: len(a)], closer.apply(a, "query"), atol=1e-12)
        np.testing.assert_allclose(out[len(a) :], closer.apply(b, "candidate"), atol=1e-12)
        np.testing.assert_allclose(
            pipeline.transform(b[:3], modality=["candidate"] * 3),
            out[len(a) : len(a) + 3],
            atol=1e-12,
        )
        seen.clear()
        whole = make_pipeline(step, LogisticRegression())
        run = cross_validate(
            whole,
            both,
            np.arange(120) % 2,
            params={"modality": labels},
            cv=KFold(3, shuffle=True, random_state=0),
        )
        assert len(run["test_score"]) == 3
        folds = KFold(3, shuffle=True, random_state=0).split(both)
        assert seen == [(80, list(labels[train])) for train, _ in folds]


def test_a_classifier_of_texts_reads_images_once_the_gap_is_closed() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.normal(size=(4, 32))
    y = np.arange(400) % 4
    images, texts = (
        unit_rows(kinds[y] + rng.normal(size=(400, 32)) + 4 * rng.normal(size=32)) for _ in "ab"
    )
    pipeline = make_pipeline(
        GapCloser("centering", role="candidate", other=images), LogisticRegression()
    )
    pipeline.fit(texts[:200], y[:200])
    pipeline.set_params(gapcloser__role="query")
    plain = LogisticRegression().fit(texts[:200], y[:200]).score(images[200:], y[200:])
    assert pipeline.score(images[200:], y[200:]) > plain + 0.1


@pytest.mark.parametrize("method", ["center-queries", "coral", "orthogonal-shift"])
def test_batches_add_up_to_one_fit(method: str, pairs_small) -> None:
    a, b = pairs_small
    whole = GapCloser(method, other=b).fit(a)
    parts = GapCloser(method, other=b)
    for batch in np.split(a, [7, 8, 30]):
        parts.partial_fit(batch)
    assert_same(parts.closer_, whole.closer_, a)
    assert parts.moments_[0].count == len(a)
    assert parts.moments_[1].count == len(b)  # the other side is counted once
    labelled = GapCloser(method)
    labelled.partial_fit(b[:20], modality=["candidate"] * 20)
    assert not hasattr(labelled, "closer_")
    with pytest.raises(NotFittedError, match="not fitted"):
        labelled.transform(a)
    labelled.partial_fit(a, modality=["query"] * len(a))
    labelled.partial_fit(b[20:], modality=["candidate"] * (len(b) - 20))
    assert_same(labelled.closer_, whole.closer_, a)
    again = labelled.fit(np.concatenate([a, a]), modality=np.repeat(ROLES, len(a)))
    assert again.moments_[1].count == len(a)  # fit forgets


def test_names_and_frames(pairs_small) -> None:
    a, b = pairs_small
    names = np.array([f"e{i}" for i in range(24)], object)
    moved = GapCloser("mean-shift", other=b).fit(a)
    np.testing.assert_array_equal(moved.get_feature_names_out(names), names)
    mixed = GapCloser("subspace", other=b, options={"rank": 5}).fit(a)
    out = mixed.transform(a)
    assert list(mixed.get_feature_names_out()) == [f"gapcloser{i}" for i in range(out.shape[1])]
    assert out.shape[1] < 24


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_gives_frames(library: str, pairs_small) -> None:
    frames = pytest.importorskip(library)
    a, b = pairs_small
    table = (
        frames.DataFrame(a, columns=[f"e{i}" for i in range(24)])
        if library == "pandas"
        else frames.DataFrame(a, schema=[f"e{i}" for i in range(24)])
    )
    estimator = GapCloser("centering", other=b).set_output(transform=library)
    out = estimator.fit_transform(table)
    assert list(out.columns) == [f"e{i}" for i in range(24)]
    np.testing.assert_allclose(out.to_numpy(), fitted("centering", a, b).apply(a, "query"))


@pytest.mark.parametrize(("given", "out"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_dtypes(given: str, out: str, pairs_small) -> None:
    a, b = (side.astype(given) for side in pairs_small)
    estimator = GapCloser("centering", other=b).fit(a)
    assert estimator.transform(a).dtype == np.dtype(out)
    labels = np.resize(ROLES, len(a))
    assert estimator.transform(a, modality=labels).dtype == np.dtype(out)
    assert estimator.transform(a[:3], modality=["candidate"] * 3).shape == (3, 24)


def test_a_pickle_and_the_other_role_share_the_record(pairs_small) -> None:
    a, b = pairs_small
    estimator = GapCloser("biased-shift", other=b).fit(a)
    read = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(read.transform(a), estimator.transform(a))
    turned = estimator.as_role("candidate")
    assert turned.closer_ is estimator.closer_
    assert (turned.role, estimator.role) == ("candidate", "query")
    np.testing.assert_array_equal(turned.transform(b), estimator.closer_.apply(b, "candidate"))


def test_refusals(pairs_small) -> None:
    a, b = pairs_small
    with refused("unknown-role", "'image'"):
        GapCloser(role="image").fit(a)
    with refused("unknown-closer", "'shift'"):
        GapCloser("shift").fit(a)
    with refused("unknown-option", "'side'"):
        GapCloser("centering", other=b, options={"side": "query"}).fit(a)
    with refused("other-role-twice"):
        GapCloser(other=b).fit(a, modality=["query"] * len(a))
    with refused("unequal-lengths", "(2,) for 60 rows"):
        GapCloser("centering").fit(a, modality=["query", "candidate"])
    with refused("unknown-role", "'image'"):
        GapCloser("centering").fit(a, modality=["image"] * len(a))
    with refused("unequal-dimensions", "24", "20"):
        GapCloser("centering", other=b[:, :20]).fit(a)
    with refused("needs-one-fit", "procrustes needs pairs"):
        GapCloser("procrustes", other=b).partial_fit(a)
    with refused("needs-pairs"):
        GapCloser("procrustes", other=Moments.of(b)).fit(a)
    with refused("needs-query-rows", "realign"):
        GapCloser("realign", role="candidate", other=Moments.of(a)).fit(b)
    estimator = GapCloser(other=b).fit(a)
    with pytest.raises(ValueError, match="X has 20 features, but GapCloser is expecting 24"):
        estimator.transform(a[:, :20])
    estimator.role = "image"
    with refused("unknown-role", "'image'"):
        estimator.transform(a)


def test_pairs_of_two_lengths_are_refused() -> None:

    a, b = two_modalities(30, 8, seed=1)
    with refused("unequal-lengths", "30", "29"):
        GapCloser("procrustes", other=b[:-1]).fit(a)


def test_the_page_runs(pairs_wide, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, side in zip(("images", "captions"), pairs_wide, strict=True):
        np.save(f"{name}.npy", (2 * side).astype(np.float32))
    left, names = run_blocks("estimators")
    assert names == ["store", "routed", "search", "transfer"]
    np.testing.assert_array_equal(left["answers"], top1(Ranking.of(*pairs_wide, "cosine")))
    closer = fitted("centering", *pairs_wide)
    np.testing.assert_allclose(left["closed"][:40], closer.apply(pairs_wide[0], "query"), atol=1e-5)
    assert left["search"].best_params_["strength"] in (0, 0.25, 0.5, 1)
    assert len(left["predicted"]) == 40


def test_without_scikit_learn_the_extra_is_named() -> None:
    code = (
        "import sys\nsys.modules['sklearn'] = None\nimport isthmus\n"
        "from isthmus.errors import MissingExtra\n"
        "try:\n    import isthmus.closers.estimators\nexcept MissingExtra as wrong:\n"
        "    print(wrong)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'isthmus[sklearn]'" in out.stdout
