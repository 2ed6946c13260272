"""What only PostgreSQL does: the user's index is made again for the deployed column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import isthmus as im
from isthmus.deploy import stores
from refusals import refused

pytestmark = pytest.mark.stores

INDEXES = {
    "hnsw (image vector_ip_ops) WITH (m='24', ef_construction='80')": "hnsw (closed vector_ip_ops) "
    "WITH (m='24', ef_construction='80')",
    "hnsw (((binary_quantize(image))::bit(24)) bit_hamming_ops)": "hnsw "
    "(((binary_quantize(closed))::bit(24)) bit_hamming_ops)",
    "ivfflat (((image)::halfvec(24)) halfvec_cosine_ops) WITH (lists='3') WHERE (kind = "
    "'image'::text)": "ivfflat (((closed)::halfvec(26)) halfvec_cosine_ops) WITH (lists='3') WHERE "
    "(kind = 'image'::text)",
}
"""What follows USING in a definition -> the same for the column ``closed``."""


@pytest.mark.parametrize("index", INDEXES)
def test_the_index_is_made_again(index: str, server: tuple, world: tuple, tmp_path: Path) -> None:
    fill, connection = server
    address = fill(world[1], "dot").removesuffix("&score=dot")
    table = address.partition("table=")[2].partition("&")[0]
    connection.execute(f"CREATE INDEX ON {table} USING {index}")
    source = stores.open_store(address)
    sample, _ = source.sample(source.ids()[:100], tmp_path)
    assert replace(sample.describe(), rows=240) == source.describe()
    kept = "SELECT indexdef FROM pg_indexes WHERE tablename = 'isthmus_sample'"
    ((said,),) = source.connection.execute(kept).fetchall()
    assert said.partition(" USING ")[2] == index.partition(" WHERE ")[0]
    source.remove_sample()
    closer = im.fit("center-both", *world)
    stores.deploy(closer, address, column="closed", out=tmp_path)
    asked = "SELECT indexdef FROM pg_indexes WHERE tablename = %s AND indexname LIKE '%%isthmus'"
    ((made,),) = connection.execute(asked, [table]).fetchall()
    assert made.partition(" USING ")[2] == INDEXES[index]
    check = stores.check_deployment(closer, address, world[0], column="closed", out=tmp_path)
    assert check.index == index.partition(" ")[0]
    stores.undo(closer, address, column="closed")
    assert connection.execute(asked, [table]).fetchall() == []


def test_codes_that_tie_come_in_the_order_of_ids(server: tuple, world: tuple) -> None:
    """Wherever rows lie: half of them are written again, as ``deploy`` writes all."""
    fill, connection = server
    queries, items = world
    address = fill(items, "dot")
    table = address.partition("table=")[2].partition("&")[0]
    connection.execute(f"UPDATE {table} SET title = 'again' WHERE id % 2 = 1")
    found = stores.open_store(f"{address}&codec=binary").search(queries, 5, score="dot")
    apart = ((queries[:, None] > 0) != (items > 0)).sum(2)
    expected = np.argsort(apart, axis=1, kind="stable")[:, :5] + 1
    np.testing.assert_array_equal(found, expected)


def test_a_table_that_goes_while_it_is_read_is_one_sentence(server: tuple, world: tuple) -> None:
    fill, connection = server
    rows = im.open_rows(fill(world[1], "dot"))
    connection.execute(f"DROP TABLE {rows.spec.partition('table=')[2].partition('&')[0]}")
    with refused("store-refused", "answered: relation"):
        rows.read()


@pytest.fixture(scope="module")
def server(started: Callable):
    """How to fill a table, and a connection to the same server."""
    import psycopg

    fill = started("postgresql")
    address = fill(np.ones((1, 24), np.float32), "dot").partition("&table")[0]
    with psycopg.connect(address, autocommit=True) as connection:
        yield fill, connection
