"""Ids of rows: what counts as some, and where a flat file has them.

An id is a whole number or a word. Tables hold ids in a column (:data:`IDS`); an ``.npz`` in an
array of that name; beside any other file of an array, ``FILE.ids.json`` (a list, as ``isthmus
embed`` writes it) or ``FILE.ids.txt`` (one a line) holds them.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.data.file_errors import read_json, read_text
from isthmus.data.flat import FlatSource, unzipping
from isthmus.data.npy import npz_layouts
from isthmus.data.remote import RemotePath, is_file, open_binary
from isthmus.data.source import IDS
from isthmus.errors import CorruptFile, ShapeError

IDS_FILES = (".ids.json", ".ids.txt")
_LOG = logging.getLogger("isthmus.data")


def checked_ids(ids: Sequence[Any] | np.ndarray | None, what: str, rows: int) -> np.ndarray | None:
    """Ids (n,) as integers, or as words where one is no whole number; None where a row has none.

    Raises:
        ShapeError: another number of them than rows.
    """
    if ids is None:
        return None
    listed = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if len(listed) != rows:
        raise ShapeError("ids-length", f"{what} has {len(listed)} ids for {rows} rows")
    if None in listed:
        _LOG.info("%s: ids are left out, row %d has none", what, listed.index(None))
        return None
    whole = all(type(one) is int and -(2**63) <= one < 2**63 for one in listed)
    return np.array(listed, np.int64) if whole else np.array([str(one) for one in listed], np.str_)


def ids_file(path: str) -> str | None:
    """The list of ids that lies beside a file, if there is one."""
    away = path if isinstance(path, RemotePath) else None
    places = [away.sibling(path + end) if away else path + end for end in IDS_FILES]
    return next((place for place in places if is_file(place)), None)


def read_ids(path: str) -> list[Any]:
    """A JSON list, or one id a line.

    Raises:
        CorruptFile: JSON that is no list.
    """
    if not path.lower().endswith(".json"):
        return read_text(path).removesuffix("\n").split("\n")
    listed = read_json(path)
    if not isinstance(listed, list):
        raise CorruptFile("wrong-kind", f"'{path}' holds no JSON list of ids")
    return listed


class FileRows(FlatSource):
    """Rows of a flat file, with the ids that are in its archive or beside it."""

    @property
    def ids(self) -> np.ndarray | None:
        """Ids (n,), read when they are asked for.

        Raises:
            ShapeError: another number of them than rows. CorruptFile: a list that is damaged.
        """
        path = self.layout.path
        if self.layout.member is not None:
            with unzipping(path), open_binary(path) as plain, zipfile.ZipFile(plain) as archive:
                names = archive.namelist()
            for name in IDS:
                if f"{name}.npy" in names:
                    what = f"'{path}:{name}'"
                    layout = npz_layouts(path, what, name)[name]
                    if layout.stored.raw.kind in "iuUS" and len(layout.shape) == 1:
                        return checked_ids(layout.load(what), what, self.rows)
        listed = ids_file(path)
        return None if listed is None else checked_ids(read_ids(listed), f"'{listed}'", self.rows)
