"""Pairs that slip, rows out of order, relevance that is off by one: found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.search.pairing import check_pairing


def world(
    count: int = 300, dim: int = 48, noise: float = 1.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with a common part each, about as hard as captions of photographs (R@1 about .6)."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(count, dim))
    sides = [
        shared + noise * rng.normal(size=(count, dim)) + 3 * rng.normal(size=dim) for _ in "ab"
    ]
    a, b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    return a, b


def shifts(check: object) -> list[tuple[int, int | None]]:
    return [(s.start, s.shift) for s in check.segments if s.stop - s.start > 5]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(6))
def test_good_pairs_are_left_in_peace(seed: int) -> None:
    found = check_pairing(*world(seed=seed))
    assert found.has_signal
    assert shifts(found) == [(0, 0)]
    assert not found.out_of_order


@pytest.mark.parametrize("skipped", [[40], [100, 200], [7]])
def test_a_skipped_row_is_found_where_it_is(skipped: list[int]) -> None:
    a, b = world()
    short = np.delete(a, skipped, axis=0)
    found = check_pairing(short, b[: len(short)])
    places = [row - done for done, row in enumerate(skipped)]
    told = {shift: start for start, shift in shifts(found)}
    for step, place in enumerate(places, start=1):
        assert abs(told[step] - place) <= 2
    assert found.slipped
    assert not found.out_of_order  # it has a better name


def test_rows_that_were_turned_round_are_found_by_any_shift() -> None:
    a, b = world()
    assert shifts(check_pairing(np.roll(a, 60, axis=0), b)) == [(0, 240), (60, -60)]
    assert shifts(check_pairing(np.roll(a, 7, axis=0), b))[-1] == (7, -7)


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_a_share_of_rows_that_were_shuffled_is_found(share: float) -> None:
    a, b = world()
    rng = np.random.default_rng(5)
    moved = np.sort(rng.permutation(len(b))[: int(share * len(b))])
    order = np.arange(len(b))
    order[moved] = rng.permutation(moved)
    found = check_pairing(a, b[order])
    assert found.out_of_order
    assert found.clear_paired / found.clear == pytest.approx(1 - share, abs=0.12)
    row, paired, finds = found.examples[0]
    assert paired == row
    assert order[finds] == row


def test_rows_of_an_untrained_model_say_nothing() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=(300, 48)) + 3 * rng.normal(size=48) for _ in "ab")
    found = check_pairing(a, b)
    assert not found.has_signal
    assert not found.segments
    assert not found.out_of_order


@pytest.mark.parametrize("off", [-1, 1, 3])
def test_relevance_that_is_off_within_range(off: int) -> None:
    """Five captions a picture: most pairs are still right where the file is off by one."""
    pictures, _ = world(80)
    rng = np.random.default_rng(1)
    captions = np.repeat(pictures, 5, axis=0) + 0.12 * rng.normal(size=(400, 48))
    pairs = np.column_stack([np.repeat(np.arange(80), 5), np.arange(400)])
    assert shifts(check_pairing(pictures, captions, pairs)) == [(0, 0)]
    moved = pairs + np.array([0, off])
    moved = moved[(moved[:, 1] >= 0) & (moved[:, 1] < 400)]
    assert (0, -off) in shifts(check_pairing(pictures, captions, moved))


def test_labels_that_count_from_one() -> None:
    rng = np.random.default_rng(4)
    classes = rng.normal(size=(12, 48))
    labels = rng.integers(0, 11, size=300)
    pictures = classes[labels] + 1.5 * rng.normal(size=(300, 48))
    given = np.column_stack([np.arange(300), labels])
    assert shifts(check_pairing(pictures, classes, given)) == [(0, 0)]
    assert shifts(check_pairing(pictures, classes, given + np.array([0, 1]))) == [(0, -1)]


def test_rows_of_one_item_count_as_one() -> None:
    pictures, captions = world(120)
    five = np.repeat(pictures, 5, axis=0)
    rng = np.random.default_rng(3)
    texts = np.repeat(captions, 5, axis=0) + 0.02 * rng.normal(size=(600, 48))
    items = np.repeat(np.arange(120), 5)
    found = check_pairing(five, texts, query_items=items, candidate_items=items)
    assert found.searched == 120
    assert found.clear > 20
    assert not found.out_of_order


@pytest.mark.parametrize("rows", [np.ones((20, 4)), np.zeros((20, 4))])
def test_rows_without_spread_say_nothing(rows: np.ndarray) -> None:
    found = check_pairing(rows, rows)
    assert (found.signal, found.segments, found.out_of_order) == (0.0, (), False)


def test_neighbours_that_resemble_each_other_are_no_slip() -> None:
    """A sorted file: in one short stretch each row is nearer to a neighbour's partner."""
    a, b = world(600)
    b[300:315] = b[[*range(303, 315), 300, 301, 302]]
    found = check_pairing(a, b)
    assert [s.shift for s in found.segments if s.shift] == [-3]  # it is seen
    assert not found.slipped  # and not taken for a skipped item
    assert not found.out_of_order


@pytest.mark.parametrize(("skipped", "at"), [(1, 570), (1, 590), (25, 40), (100, 40), (30, 500)])
def test_slips_of_many_rows_and_near_the_end_are_found(skipped: int, at: int) -> None:
    a, b = world(600)
    a = np.delete(a, np.arange(at, at + skipped), axis=0)
    found = check_pairing(a, b[: len(a)])
    assert [s.shift for s in found.slipped] == [skipped]
    assert abs(found.slipped[0].start - at) <= 1
    back = check_pairing(b[: len(a)], a)
    assert [s.shift for s in back.slipped] == [-skipped]


@pytest.mark.slow
def test_the_emoji_world_is_in_order() -> None:
    """1,906 emoji sorted by what they show: many neighbours resemble each other."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("PIL.Image")
    from isthmus.core.progress import quiet
    from isthmus.workflows.demo.rows import embed_world

    rows = embed_world("emoji", quiet)
    found = check_pairing(rows.unseen, rows.names)
    assert any(s.shift for s in found.segments)  # short stretches are seen
    assert found.has_signal
    assert not found.slipped
    assert not found.out_of_order
