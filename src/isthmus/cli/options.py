"""Options that several commands share, each declared once, and how their text is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.output import progress_bar
from isthmus.errors import OptionError

INPUT = (
    "FILE, FILE:KEY (npz, safetensors), FILE:COLUMN (parquet), a folder or a glob of shards, "
    "s3://BUCKET/FILE"
)
LEVELS = "numbers that are variances above 0, such as 0.005,0.022"


def about(words: str, *names: str, metavar: str | None = None) -> Any:
    """An option with these words of help, under the name of its parameter or other ``names``."""
    return typer.Option(*names, help=words, metavar=metavar)


def argument(metavar: str, words: str) -> Any:
    """An argument, and its words of help."""
    return typer.Argument(metavar=metavar, help=words)


Queries = Annotated[str, argument("QUERIES", f"{INPUT}.")]
Candidates = Annotated[str, argument("CANDIDATES", "What is searched.")]
CloserFile = Annotated[Path, argument("CLOSER", "A file of isthmus close.")]
Json = Annotated[bool, about("Print the result as JSON on standard output.", "--json")]
Verbose = Annotated[
    bool, about("Print all: why, what it costs, warnings in full, tables.", "--verbose")
]
Paired = Annotated[
    bool | None,
    about(
        "Query i's right answer is candidate i. Left out: paired where lengths are equal.",
        "--paired/--unpaired",
    ),
]
Labels = Annotated[
    str | None,
    about(
        "Candidates are class texts: their row, or their id, for each query. "
        "FILE:COLUMN of a table too."
    ),
]
Relevance = Annotated[
    str | None,
    about(
        "What is right: query and candidate, by row or id, and perhaps a grade; qrels of "
        "TREC or BEIR too. ids: rows with one id belong together."
    ),
]
QueryItems = Annotated[
    str | None, about("A name per query (number or word): rows with one name are one item.")
]
CandidateItems = Annotated[str | None, about("The same for candidates.")]
Disturbed = Annotated[
    list[str] | None,
    about(
        "The same rows after a real disturbance (JPEG, an edited word): its flips and size. "
        "May be repeated.",
        metavar="NAME=FILE",
    ),
]
Score = Annotated[str, about("dot, cosine or euclidean: how you search today.")]
Perturb = Annotated[
    str,
    about(
        "gaussian, uniform, covariance, in-span, off-span, along-gap, truncation, "
        "dropped-dimensions, random-projection, or codecs: rabitq, sq8, sign, pq32x8 …"
    ),
]
Levels = Annotated[str, about("Noise levels (variances), separated by commas.")]
WHAT_LEVELS_ARE = "What a level is: total, coordinate, spread or relative"
Convention = Annotated[
    str | None, about(f"{WHAT_LEVELS_ARE}; left out: total, relative where rows are not unit.")
]
Rescored = Annotated[int, about("Codecs: so many of the best by code are ranked again in float.")]
Trials = Annotated[int | None, about("Noise draws per level; default 60, fewer for large inputs.")]
Floor = Annotated[float, about("Least clean agreement (share of today's answers) of a closer.")]
FitShare = Annotated[float, about("Share of queries that closers are fitted on and not scored on.")]
MaxQueries = Annotated[int, about("Queries searched (a seeded sample).")]
MaxCandidates = Annotated[int, about("Candidates searched (a seeded sample that keeps true ones).")]
Images = Annotated[
    str | None, about("For an encoder: folder of pictures, or a file that lists them.")
]
Texts = Annotated[str | None, about("For an encoder: one text per line, or FILE.parquet:COLUMN.")]
BatchSize = Annotated[int, about("Inputs encoded at once.")]
Device = Annotated[str, about("cpu, cuda, …: what the library understands.")]
Engine = Annotated[
    str | None,
    about("What works through many rows: processes:N, dask://HOST:PORT or ray://HOST:PORT."),
]
Seed = Annotated[int, about("Seed of everything random.")]


def split_words(text: str) -> list[str]:
    """``a, b`` -> ["a", "b"], each once."""
    return list(dict.fromkeys(p.strip() for p in text.split(",") if p.strip()))


def named_files(given: Sequence[str] | None) -> dict[str, str]:
    """``JPEG 30=jpeg.npy`` -> {"JPEG 30": "jpeg.npy"}.

    Raises:
        OptionError: one without a name or a file, or a name given twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, sign, file = (part.strip() for part in text.partition("="))
        if not (name and sign and file) or name in found:
            raise OptionError(
                "bad-named-file",
                f"'{text}': expected NAME=FILE, each name once, such as \"JPEG 30=jpeg.npy\"",
            )
        found[name] = file
    return found


def split_numbers(
    text: str, option: str = "--levels", what: str = LEVELS, *, signed: bool = False
) -> tuple[float, ...]:
    """``0.005,0.022`` -> (0.005, 0.022).

    Raises:
        OptionError: no number at all, one that is not finite, or, unless ``signed``, not above 0.
    """
    try:
        values = tuple(float(p) for p in text.split(",") if p.strip())
    except ValueError:
        values = ()
    if not values or not all(isfinite(v) and (signed or v > 0) for v in values):
        raise OptionError("bad-numbers", f"{option} {text}: expected {what}")
    return values


def two_names(text: str) -> tuple[str, str]:
    """``image,text`` -> ("image", "text").

    Raises:
        OptionError: anything but two different names.
    """
    parts = [p.strip() for p in text.split(",")]
    if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
        raise OptionError(
            "bad-names", f"--names {text}: expected two different names, such as image,text"
        )
    return parts[0], parts[1]


def split_depths(text: str) -> list[int]:
    """``0,10`` -> [0, 10]; what is no whole number is -1, which no plan takes."""
    found = split_numbers(text, "--depths", "whole numbers, such as 0,10", signed=True)
    return [int(depth) if depth == int(depth) else -1 for depth in found]


READ: dict[str, Callable[[Any], Any]] = {
    "closers": split_words,
    "codecs": split_words,
    "depths": split_depths,
    "disturbed_candidates": named_files,
    "disturbed_queries": named_files,
    "kept": partial(split_numbers, option="--kept", what="dimensions to keep, or shares below 1"),
    "levels": split_numbers,
    "names": two_names,
    "strengths": partial(
        split_numbers, option="--strengths", what="numbers, such as 0.5,1", signed=True
    ),
}
"""Option whose text stands for several values -> what reads it."""


@contextmanager
def asked(
    verb: Callable[..., Any], given: Mapping[str, Any], **read: Any
) -> Iterator[dict[str, Any]]:
    """A verb's arguments from a command's options of the same names, and a bar of its progress.

    Args:
        given: the command's options; those that the verb does not take are left out, and text is
            read as :data:`READ` says. read: values that are passed on as they are.
    """
    takes = signature(verb).parameters
    texts = {name: value for name, value in given.items() if name in takes}
    values = {
        name: READ[name](value) if name in READ and value is not None else value
        for name, value in texts.items()
    }
    with progress_bar() as say:
        yield values | read | ({"progress": say} if "progress" in takes else {})


def check_output(path: Path | None, what: str, *suffixes: str, option: str = "--out") -> None:
    """Refuse a file to be written under another suffix than one of its format's, or where it
    cannot be written.

    Raises:
        OptionError: it has another one. FileError: nothing can be written there.
    """
    if path is not None:
        from isthmus.data.atomic import refuse_unwritable

        refuse_unwritable(path, suffixes=suffixes, what=what, option=f"{option} ")
