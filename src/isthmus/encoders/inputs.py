"""What to embed: a folder or list of images, lines of a text file, a column of a Parquet file.

A source is read twice, lazily: once to count and fingerprint it, once to embed it, and the second
reading must have the fingerprint of the first. Nothing but file names of a folder is held in
memory.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from isthmus.core.order import natural
from isthmus.data.file_errors import choose
from isthmus.data.parquet import parquet_file
from isthmus.errors import CorruptFile, FileError, OptionError

Kind = Literal["images", "texts"]
Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

EXPECTED: dict[Kind, str] = {
    "images": "a folder, a glob, a text file with one path a line, or FILE.parquet:COLUMN",
    "texts": "a UTF-8 text file with one text a line, or FILE.parquet:COLUMN",
}

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""A file in a folder counts as an image by its suffix, in either case."""


@dataclass(frozen=True)
class Source:
    """``items()`` starts afresh each time and yields what identifies an input: a path or a text.

    ``folder`` is what relative paths of images are relative to.
    """

    kind: Kind
    label: str
    items: Callable[[], Iterator[str]]
    folder: Path | None = None

    def inputs(self) -> Iterator[str]:
        """Texts as they are; paths of images ready to open."""
        return map(self.ready, self.items())

    def ready(self, item: str) -> str:
        """What is embedded for an item."""
        return item if self.folder is None else os.path.join(self.folder, item)

    @cached_property
    def fingerprint(self) -> tuple[int, str]:
        """(count, SHA-256 over kind and items): equal for the same list in the same order."""
        seen = Fingerprint(self.kind)
        for item in self.items():
            seen.add(item)
        return seen.found


class Fingerprint:
    """Of a list while it is read."""

    def __init__(self, kind: str) -> None:
        self.count, self.digest = 0, hashlib.sha256(kind.encode())

    def add(self, item: str) -> None:
        """The next item."""
        data = item.encode("utf-8", "surrogateescape")
        self.digest.update(len(data).to_bytes(8, "little") + data)
        self.count += 1

    @property
    def found(self) -> tuple[int, str]:
        """How many there were, and their digest."""
        return self.count, self.digest.hexdigest()


def open_source(inputs: Inputs, kind: Kind) -> Source:
    """Say what ``inputs`` means.

    Images: a folder (recursive, in natural order, hidden files and files of other kinds left
    out), a glob, a text file with one path a line (blank lines left out, relative paths meant from
    the list's own folder), ``FILE.parquet:COLUMN`` of paths, or a sequence of paths. Texts: a
    UTF-8 file with one text a line (a blank line is an empty text), ``FILE.parquet:COLUMN``, or a
    sequence of texts.

    Raises:
        FileError: nothing is there, or a folder or a glob holds no image.
        OptionError: the list holds something else than texts or paths.
    """
    if not isinstance(inputs, (str, os.PathLike)):
        return Source(kind, "the given list", _listed(inputs, kind).__iter__)
    name = os.fspath(inputs)
    path, column = Path(name), None
    if not path.exists() and ".parquet:" in name:
        head, _, column = name.rpartition(":")
        path = Path(head)
    if not path.exists() and kind == "images" and glob.has_magic(name):
        found = [f for f in glob.glob(name, recursive=True) if is_image_name(os.path.basename(f))]
        return Source(kind, name, _some(sorted(found, key=by_folder), name).__iter__)
    if not path.exists():
        raise FileError("no-such-file", f"{name} does not exist; expected {EXPECTED[kind]}")
    if not path.is_dir() and not path.is_file():
        raise FileError(
            "not-a-file",
            f"{name} is a pipe or a device, and a list is read twice; write it to a file first",
        )
    folder = path.parent if kind == "images" else None
    if path.is_dir():
        if kind == "texts":
            raise FileError("is-a-folder", f"{name} is a folder; expected {EXPECTED[kind]}")
        return Source(kind, name, _some(image_files(path), name).__iter__, path)
    if path.suffix == ".parquet":
        column = _column(path, column)
        return Source(kind, name, lambda: _parquet_values(path, str(column)), folder)
    return Source(kind, name, lambda: _lines(path, blank=kind == "texts"), folder)


def _listed(inputs: Iterable[Any], kind: Kind) -> list[str]:
    listed = list(inputs)
    for index, item in enumerate(listed):
        if not isinstance(item, (str, os.PathLike) if kind == "images" else str):
            raise OptionError(
                "wrong-type",
                f"entry {index} of the list of {kind} is a {type(item).__name__}; expected "
                + ("paths, or text" if kind == "images" else "text"),
            )
    return [os.fspath(item) for item in listed]


def _some(found: list[str], name: str) -> list[str]:
    if not found:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise FileError("no-images", f"{name} holds no image file (by suffix: {suffixes})")
    return found


def image_files(folder: Path) -> list[str]:
    """Paths relative to ``folder``, with forward slashes, in natural order (2 before 10)."""
    found: list[str] = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(here, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        found.extend(prefix + name for name in files if is_image_name(name))
    return sorted(found, key=by_folder)


def is_image_name(name: str) -> bool:
    """Not hidden, and with the suffix of an image."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def by_folder(path: str) -> tuple[list[list[str | int]], str]:
    """A sort key: folder by folder in natural order, case last."""
    return [natural(part) for part in path.casefold().split("/")], path


def _lines(path: Path, *, blank: bool) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for line in lines:
                text = line.rstrip("\n")
                if text or blank:
                    yield text
    except UnicodeDecodeError as error:
        raise CorruptFile("not-utf8", f"{path} is not a UTF-8 text file: {error.reason}") from None


def _column(path: Path, column: str | None) -> str:
    import pyarrow.types as pt

    what = f"'{path}'"
    with parquet_file(os.fspath(path), what) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
    entries = {
        name: ("" if pt.is_string(kind) or pt.is_large_string(kind) else "-") + str(kind)
        for name, kind in kinds.items()
    }
    name = choose(what, what, column, entries, "column", "text")
    if entries[name].startswith("-"):
        raise FileError(
            "unknown-column", f"the column '{name}' of {what} holds {kinds[name]}; expected text"
        )
    return name


def _parquet_values(path: Path, column: str) -> Iterator[str]:
    row = 0
    with parquet_file(os.fspath(path), f"'{path}'") as file:
        for batch in file.iter_batches(batch_size=4096, columns=[column]):
            for value in batch.column(0).to_pylist():
                if value is None:
                    raise CorruptFile(
                        "null-value", f"{path}: row {row} of the column '{column}' is null"
                    )
                yield value
                row += 1
