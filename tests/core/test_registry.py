"""Registries: order, spellings, refusals, third parties by entry points, packages that are one."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable

import pytest

import isthmus.closers
from isthmus.core.registry import Registry
from isthmus.errors import OptionError
from refusals import refused


@pytest.fixture
def colours() -> Registry[int]:
    found = Registry[int]("colour")
    found.register("grey", 5, aliases=["gray"])
    found.register("blue", 7)
    return found


def test_entries_keep_their_order_and_have_one_spelling_each(colours: Registry[int]) -> None:
    assert list(colours) == ["grey", "blue"]
    assert len(colours) == 2
    assert colours["gray"] == colours["grey"] == 5
    assert colours.canonical("gray") == "grey"
    assert "gray" in colours
    assert "red" not in colours
    assert colours.get("red") is None
    assert dict(colours) == {"grey": 5, "blue": 7}


def test_unknown_and_taken_names_are_refused(colours: Registry[int]) -> None:
    with refused("unknown-colour", "'red'", "grey, blue", kind=OptionError) as caught:
        colours["red"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, str(again)) == (caught.value.code, str(caught.value))
    with pytest.raises(KeyError):
        colours["red"]
    for name, aliases in (("blue", []), ("gray", []), ("red", ["grey"]), ("red", ["gray"])):
        with refused("taken-colour"):
            colours.register(name, 1, aliases=aliases)
    assert len(colours) == 2


def test_third_parties_are_read_once_and_late(install: Callable[..., None]) -> None:
    points = "red = paint:red\nblue = paint:red\nword = paint:word\ngone = paint:gone"
    install("paint", "red = 9\nword = 'red'\n", {"colours": points})
    found = Registry[int]("colour", group="colours", kind=int)
    found.register("blue", 7)
    assert found["blue"] == 7
    assert "paint" not in sys.modules  # a known name looks nowhere
    with pytest.warns(RuntimeWarning) as warned:
        assert found["red"] == 9
    assert list(found) == ["blue", "red"]
    said = sorted(str(w.message) for w in warned)
    assert len(said) == 3
    assert "'blue' of paint:red is left out: colour 'blue' is registered" in said[0]
    assert "gone" in said[1]
    assert "'word' of paint:word is left out: paint:word is a str" in said[2]
    with refused("unknown-colour", "blue, red"):
        found["green"]


def test_a_package_is_the_mapping_of_its_registry() -> None:
    package = isthmus.closers
    names = list(package)  # type: ignore[call-overload]
    assert names[0] == "none"
    assert len(package) == len(names)  # type: ignore[arg-type]
    assert "center-queries" in package  # type: ignore[operator]
    assert "no-such" not in package  # type: ignore[operator]
    assert package["center-queries"].score == "dot"  # type: ignore[index]
    assert "queries lose their mean" in repr(package)
    page = package._repr_html_()  # type: ignore[attr-defined]
    assert page.count("<tr>") == len(names) + 1
    assert "<code>center-queries</code>" in page
