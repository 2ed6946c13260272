"""What to embed: a folder or list of images, lines of a text file, a column of a Parquet file.

A source is read twice, lazily: once to count and fingerprint it, once to embed it. Nothing but
file names of a folder is held in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isthmus.errors import CorruptFile, FileError, IsthmusError, OptionError

Kind = Literal["images", "texts"]
Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

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
        folder = None if self.folder is None else os.fspath(self.folder)
        for item in self.items():
            yield item if folder is None else os.path.join(folder, item)

    def fingerprint(self) -> tuple[int, str]:
        """(count, SHA-256 over kind and items): equal for the same list in the same order."""
        count, digest = 0, hashlib.sha256(self.kind.encode())
        for item in self.items():
            data = item.encode("utf-8", "surrogateescape")
            digest.update(len(data).to_bytes(8, "little") + data)
            count += 1
        return count, digest.hexdigest()


def open_source(inputs: Inputs, kind: Kind) -> Source:
    """Say what ``inputs`` means.

    Images: a folder (recursive, in natural order, hidden files and files of other kinds left
    out), a text file with one path a line (blank lines left out, relative paths meant from the
    list's own folder), ``FILE.parquet:COLUMN`` of paths, or a sequence of paths. Texts: a UTF-8
    file with one text a line (a blank line is an empty text), ``FILE.parquet:COLUMN``, or a
    sequence of texts. Raises :class:`~isthmus.errors.FileError` for what is not there or empty.
    """
    if kind not in ("images", "texts"):
        raise OptionError(f"kind must be 'images' or 'texts', got {kind!r}")
    if not isinstance(inputs, (str, os.PathLike)):
        listed = [os.fspath(item) for item in inputs]
        return Source(kind, "the given list", lambda: iter(listed))
    name = os.fspath(inputs)
    path, column = Path(name), None
    if not path.exists() and ".parquet:" in name:
        head, _, column = name.rpartition(":")
        path = Path(head)
    if not path.exists():
        raise FileError(f"{name} does not exist; expected {_expected(kind)}")
    folder = path.parent if kind == "images" else None
    if path.is_dir():
        if kind == "texts":
            raise FileError(f"{name} is a folder; expected {_expected(kind)}")
        found = image_files(path)
        if not found:
            raise FileError(f"{name} holds no image file (by suffix: {_suffixes()})")
        return Source(kind, name, lambda: iter(found), path)
    if path.suffix == ".parquet":
        column = _column(path, column)
        return Source(kind, name, lambda: _parquet_values(path, str(column)), folder)
    return Source(kind, name, lambda: _lines(path, blank=kind == "texts"), folder)


def image_files(folder: Path) -> list[str]:
    """Paths relative to ``folder``, with forward slashes, in natural order (2 before 10)."""
    found: list[str] = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(here, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        found.extend(prefix + name for name in files if is_image_name(name))
    return sorted(found, key=natural)


def is_image_name(name: str) -> bool:
    """Not hidden, and with the suffix of an image."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


_DIGITS = re.compile(r"(\d+)")


def natural(path: str) -> tuple[list[list[str | int]], str]:
    """A sort key: folder by folder, digits as numbers, case last.

    Text and numbers alternate, so that like is compared with like; what begins with a digit has an
    empty text before it.
    """
    key: list[list[str | int]] = []
    for part in path.casefold().split("/"):
        pieces: list[str | int] = list(_DIGITS.split(part))
        pieces[1::2] = map(int, pieces[1::2])
        key.append(pieces)
    return key, path


def _lines(path: Path, *, blank: bool) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for line in lines:
                text = line.rstrip("\n")
                if text or blank:
                    yield text
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{path} is not a UTF-8 text file: {error.reason}") from None


def _column(path: Path, column: str | None) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except IsthmusError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise CorruptFile(f"{path} is not a readable Parquet file: {error}") from None
    kinds = (pa.string(), pa.large_string())
    text = [str(field.name) for field in schema if field.type in kinds]
    if column is None and len(text) == 1:
        return text[0]
    if column is None or column not in text:
        said = "no column is named" if column is None else f"'{column}' is not a column of text"
        raise FileError(f"{path}: {said}; its columns of text are: {', '.join(text) or 'none'}")
    return column


def _parquet_values(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet as pq

    row = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=4096, columns=[column]):
            for value in batch.column(0).to_pylist():
                if value is None:
                    raise CorruptFile(f"{path}: row {row} of the column '{column}' is null")
                yield value
                row += 1


def _expected(kind: Kind) -> str:
    if kind == "images":
        return "a folder of images, a text file with one path a line, or FILE.parquet:COLUMN"
    return "a UTF-8 text file with one text a line, or FILE.parquet:COLUMN"


def _suffixes() -> str:
    return ", ".join(IMAGE_SUFFIXES)
