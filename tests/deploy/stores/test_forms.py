"""Which form a store gets, without a store."""

from __future__ import annotations

import numpy as np
from worlds_of_stores import best

import isthmus as im
from isthmus.data.addresses import address_of
from isthmus.deploy import stores
from isthmus.deploy.stores.pgvector import Pgvector
from refusals import refused


def test_scores_that_rank_differently_are_refused(world: tuple) -> None:
    closer = im.fit("center-both", *world)
    with refused("scores-differ", "cosine"):
        stores.choose_form(closer, stores.StoreFacts(240, 24, score="cosine"), world[1] * 3)


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
