"""Which form a store gets, without a store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds_of_stores import best

import isthmus as im
from commands import run
from isthmus.data.addresses import address_of
from isthmus.deploy import stores
from isthmus.deploy.stores import forms, trial
from isthmus.deploy.stores.faiss_file import FaissFile
from isthmus.deploy.stores.pgvector import Pgvector
from refusals import refused
from worlds import two_modalities


def test_scores_that_rank_differently_are_refused(world: tuple) -> None:
    """What the sentence advises works: lengths count in no cosine of normalised rows."""
    cosine, longer = stores.StoreFacts(240, 24, score="cosine"), world[1] * 1.00003
    longer[3] *= 1.0005
    with refused("scores-differ", "run from 1.00003 to 1.00053 (up to 0.00053", "without --raw"):
        stores.choose_form(im.fit("center-both", *world, normalised=False), cosine, longer)
    form = stores.choose_form(im.fit("center-both", *world), cosine, longer)
    stored = form.stored(longer)[0].astype(np.float64)
    found = form.asked(world[0]) @ (stored / np.linalg.norm(stored, axis=1, keepdims=True)).T
    assert found.argmax(1).tolist() == best(*world)[:, 0].tolist()
    assert form.warning == ""


@pytest.mark.parametrize("asked", ["", "dot"])
def test_rows_that_are_not_quite_unit_rows_are_said(world: tuple, asked: str) -> None:
    facts, longer = stores.StoreFacts(240, 24, score=asked), world[1].copy()
    longer[3] *= 1.0005
    closer = im.fit("center-queries", *world)
    said = stores.choose_form(closer, facts, longer).warning
    assert "up to 0.0005 from 1" in said
    assert ("score=cosine" in said) == (asked == "")
    assert stores.choose_form(closer, facts, world[1]).warning == ""


@pytest.mark.parametrize("method", ["center-queries", "center-both", "mean-shift", "biased-shift"])
def test_the_other_direction_is_noticed(world: tuple, method: str) -> None:
    facts = stores.StoreFacts(240, 24, score="dot", expression=True)
    found = im.fit(method, *world)
    plain = im.fit("none", *world, score=found.score)
    for rows, wrong in ((world[1], False), (world[0], True)):
        assert bool(stores.choose_form(found, facts, rows).other_side) == wrong
    assert not stores.choose_form(plain, facts, world[0]).other_side
    assert "along_queries" not in found.then(plain).facts  # its vectors may be others


def test_the_other_direction_is_said_before_the_score(world: tuple) -> None:
    longer = world[1] * np.linspace(1, 1.5, len(world[1]))[:, None].astype(np.float32)
    found = im.fit("mean-shift", longer, world[0], score="cosine")
    with refused("other-side", "the other way round"):
        stores.choose_form(found, stores.StoreFacts(240, 24, score="dot"), longer)


def test_padding_to_what_a_codec_needs(world: tuple) -> None:
    queries, candidates = world
    closer = im.fit("center-both", queries, candidates)
    facts = stores.StoreFacts(240, 24, score="dot", index="ivf", multiple=8)
    form = stores.choose_form(closer, facts, candidates)
    stored, bias = form.stored(candidates)
    assert (form.name, form.dim, stored.shape[1], bias) == ("one coordinate", 32, 32, None)
    np.testing.assert_array_equal(
        np.argsort(-(form.asked(queries) @ stored.T), axis=1)[:, 0], best(queries, candidates)[:, 0]
    )


def test_what_is_secret_in_an_address_is_shown_nowhere() -> None:
    spec = "postgresql://me:one@db/shop?table=t&column=c&password=two&sslmode=require"
    address = address_of(spec)
    assert address is not None
    shown = Pgvector(address)._shown_place() + address.shown + address.with_column("d").shown
    assert "one" not in shown
    assert "two" not in shown
    assert address.shown == "postgresql://me@db/shop?table=t&column=c&sslmode=require"
    assert address.place == "postgresql://me:one@db/shop"
    assert address.theirs == {"password": "two", "sslmode": "require"}


def test_norms_near_one_are_said_and_others_refused(world: tuple) -> None:
    """Published vectors are seldom exactly of length 1; a trial counts what that costs."""
    queries, candidates = world
    facts, closer = stores.StoreFacts(240, 24, score="dot"), im.fit("biased-shift", *world)
    assert closer.score == "euclidean"
    nearly = candidates * np.linspace(0.9995, 1.0005, len(candidates))[:, None]
    form = stores.choose_form(closer, facts, nearly)
    assert (form.name, "up to 0.0005 from 1" in form.warning) == ("one coordinate", True)
    found = form.asked(queries) @ form.stored(nearly)[0].T
    np.testing.assert_array_equal(found.argmax(axis=1), best(queries, candidates)[:, 0])
    with refused("scores-differ", "up to 0.02 from 1"):
        stores.choose_form(closer, facts, candidates * 1.02)


def test_advice_of_a_store_is_a_file_that_it_takes(tmp_path: Path, capsys: Any) -> None:
    """One bit of rows with a gap: what is recommended is written, deployed and does no harm."""
    import faiss

    queries, candidates = two_modalities(900, 64, gap=2.0, seed=3)
    index = faiss.IndexFlatIP(64)
    index.add(candidates.astype(np.float32))
    faiss.write_index(index, str(tmp_path / "items.faiss"))
    np.save(tmp_path / "queries.npy", queries)
    out, asked = tmp_path / "closer.safetensors", str(tmp_path / "queries.npy")
    for codec, helps in (("Flat", False), ("RaBitQ", True)):
        store = f"faiss:{tmp_path / 'items.faiss'}?codec={codec}"
        code, text, _ = run(
            capsys, "recommend", asked, store, "--perturb", "store", "--out", str(out)
        )
        assert (code, out.exists()) == (0, helps)
        assert ("is not written" in text) == (not helps)
    closer = im.Closer.load(out)
    assert f"use {closer.name}: " in text
    assert "no gain is clear" not in text
    code, _, err = run(capsys, "deploy", str(out), store, "--undo", "--check", asked)
    assert (code, "not both" in err) == (1, True)
    done = stores.deploy(closer, store, queries=queries, out=tmp_path / "side")
    before, after = map(int, re.findall(r"for (\d+) today and for (\d+) with", done.tried)[0])
    assert after > before
    with refused("unknown-codec", "'rabitq'", "RaBitQ"):
        stores.open_store(store.replace("RaBitQ", "rabitq")).describe()
    with refused("nothing-recommended", "none to save"):
        advice = stores.recommend_in_store(f"faiss:{tmp_path / 'items.faiss'}", queries)
        advice.save(tmp_path / "none.safetensors")


def test_a_store_says_once_what_it_holds(
    world: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some count all their vectors, or list all their ids, to say so."""
    import faiss

    index = faiss.IndexFlatIP(world[1].shape[1])
    index.add(world[1].astype(np.float32))
    place, asked = str(tmp_path / "items.faiss"), []
    faiss.write_index(index, place)
    for name in ("describe", "ids"):
        monkeypatch.setattr(FaissFile, name, noted(getattr(FaissFile, name), asked))
    stores.recommend_in_store(f"faiss:{place}", world[0], closers=["center-both"])
    assert [one for one in asked if one[1] == place] == [("describe", place), ("ids", place)]
    asked.clear()
    closer = im.fit("center-both", *world)
    stores.deploy(closer, f"faiss:{place}", queries=world[0], out=tmp_path / "side")
    assert [one for one in asked if one[1] == place] == [("describe", place), ("ids", place)]


def noted(method: Any, asked: list) -> Any:
    """The method, which writes down that a store was asked."""

    def called(store: stores.Store) -> Any:
        asked.append((method.__name__, store.address.place))
        return method(store)

    return called


@pytest.mark.parametrize(
    ("after", "hurts", "gains", "said"),
    [
        (249, False, False, "that is no clear gain and no clear loss"),
        (200, True, False, "the store loses answers by it"),
        (290, False, True, "290 with the closer"),
    ],
)
def test_a_trial_says_what_it_shows(after: int, hurts: bool, gains: bool, said: str) -> None:
    found = trial.Trial(500, 250, after, hurts, gains, "center-both").sentence
    assert found.endswith(said) or (hurts and said in found)
    assert ("clear" in found) == (not hurts and not gains)


def test_rows_whose_lengths_count_are_said(world: tuple) -> None:
    longer = world[1] * 1.001
    assert "up to 0.001 from 1" in forms.uneven(longer, "dot")
    assert forms.uneven(longer, "cosine") == forms.uneven(world[1], "dot") == ""
