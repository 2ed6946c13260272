"""Records that are saved and loaded: one form of file, and one place where it is checked."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from isthmus.core.checks import ends_in
from isthmus.data.atomic import plain, write_json
from isthmus.data.file_errors import parse_json, read_json
from isthmus.data.records import Record
from isthmus.data.tensors import load_tensors, save_tensors
from isthmus.errors import CorruptFile

SCHEMA = 1


@dataclass(frozen=True)
class Parts:
    """What a file holds. Each method returns one part, or raises where it is missing or wrong."""

    fields: Mapping[str, Any]
    arrays: Mapping[str, Any]
    worded: bool = False
    """Whether all fields are text, JSON where they are no text (the header of safetensors)."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Parts:
        """A JSON object, whose lists may be arrays."""
        return cls(found, found)

    def value(self, name: str) -> Any:
        """Any JSON."""
        found = self.fields[name]
        return parse_json(found, name) if self.worded else found

    def text(self, name: str, *known: str) -> str:
        """A text, one of those ``known``."""
        found = self.fields[name]
        if not isinstance(found, str) or (known and found not in known):
            raise ValueError(f"{name} is {found!r}")
        return found

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in a range."""
        found = self.value(name)
        if type(found) not in (int, float) or not math.isfinite(found) or not low <= found <= high:
            raise ValueError(f"{name} is {found!r}")
        return found

    def count(self, name: str, low: int = 0) -> int:
        """A whole number that float64 holds."""
        found = self.value(name)
        if type(found) is not int or not low <= found <= 2**53:
            raise ValueError(f"{name} is {found!r}")
        return found

    def flag(self, name: str) -> bool:
        """True or false."""
        found = self.value(name)
        if type(found) is not bool:
            raise ValueError(f"{name} is {found!r}")
        return found

    def facts(self) -> dict[str, float]:
        """Named numbers; null is NaN."""
        found = Parts.of(self.value("facts"))
        return {k: math.nan if v is None else found.number(k) for k, v in found.fields.items()}

    def array(self, name: str, *shape: int | None) -> np.ndarray:
        """An array of finite numbers; None in ``shape`` is any length."""
        found = self.arrays[name]
        if isinstance(found, str):
            found = np.frombuffer(base64.b64decode(found, validate=True), "<f4")
            found = found.reshape(-1, self.count("dim", 1))
        read = np.asarray(found)
        fits = len(shape) == read.ndim and all(s in (None, n) for s, n in zip(shape, read.shape))
        if not fits or read.dtype.kind not in "iufb" or not np.isfinite(read).all():
            what = "numbers that are not finite" if fits else f"shape {read.shape}"
            raise ValueError(f"{name} has {what}, dtype {read.dtype}")
        return read


class SavedRecord(Record):
    """A record with files of its own, checked part by part when they are loaded.

    A subclass says what its files are called and gives :meth:`_parts` and :meth:`_from_parts`.
    """

    KIND: ClassVar[str]
    """Its name in the file, under ``isthmus``."""
    MADE_BY: ClassVar[str]
    SUFFIXES: ClassVar[tuple[str, ...]] = (".safetensors",)
    """Those that can be saved, most of which can be loaded; ``.parquet`` is the table."""
    NESTED: ClassVar[str | None] = None
    """The key of a safetensors header with all fields as one JSON object; None: each alone."""
    OLDEST: ClassVar[int | None] = None
    """The schema of files that name none."""
    PACKED: ClassVar[tuple[str, ...]] = ()
    """Arrays (n, dim) that JSON holds as base64 of float32, least byte first; others are lists."""

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Fields and arrays of the file."""
        raise NotImplementedError

    @classmethod
    def _from_parts(cls, parts: Parts) -> Any:
        """The record; raises as :class:`Parts` and ValueError where parts do not fit."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it under another name and rename it, in the format of the suffix.

        Raises:
            OptionError: another suffix. FileError: the file cannot be written.
        """
        out = ends_in(Path(path), self.SUFFIXES, f"a {self.KIND}")
        if out.suffix.lower() == ".parquet":
            return super().save(out)
        fields, arrays = self._parts()
        held: dict[str, Any] = dict(arrays)
        if out.suffix.lower() == ".json":
            packed = {name: arrays[name].astype("<f4").tobytes() for name in self.PACKED}
            held |= {name: base64.b64encode(rows).decode() for name, rows in packed.items()}
            write_json(out, {"isthmus": self.KIND, "schema": SCHEMA, **fields, **held})
            return out
        header = {"schema": SCHEMA, **fields}
        header = {self.NESTED: header} if self.NESTED else header
        header["tensors"] = {name: list(array.shape) for name, array in arrays.items()}
        words = {name: _word(value) for name, value in header.items()}
        save_tensors(out, arrays, {"isthmus": self.KIND, **words})
        return out

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            FileError: no such file. CorruptFile: it holds something else, is of another version, or
                a part is missing, not finite or does not fit the others.
        """
        if Path(path).suffix.lower() == ".json" and ".json" in cls.SUFFIXES:
            fields = read_json(path)
            return cls.read(os.fspath(path), fields, fields)
        arrays, header = load_tensors(path)
        return cls.read(os.fspath(path), header, arrays)

    @classmethod
    def read(cls, place: str, head: Any, arrays: Mapping[str, Any]) -> Self:
        """The record of a file's ``head`` and ``arrays``, which are the same where it is JSON.

        Raises:
            CorruptFile: as :meth:`load`.
        """
        kind = head.get("isthmus", "nothing") if isinstance(head, dict) else "nothing"
        if kind != cls.KIND:
            raise CorruptFile(
                "wrong-kind",
                f"'{place}' is no {cls.KIND} (its header says {kind}); expected a file of "
                f"{cls.MADE_BY}",
            )
        try:
            parts = Parts(head, arrays, worded=head is not arrays)
            promised = parts.value("tensors") if "tensors" in head else None
            found = {name: list(np.shape(array)) for name, array in arrays.items()}
            if promised not in (None, found):
                raise ValueError(f"its header promises tensors {promised}, it holds {found}")
            if parts.worded and cls.NESTED:
                parts = Parts(parts.value(cls.NESTED), arrays)
            version = parts.fields.get("schema", cls.OLDEST)
            if str(version) == str(SCHEMA):
                record = cls._from_parts(parts)
                spare = set(arrays) - set(record._parts()[1]) if head is not arrays else None
                if spare:  # a part of the record that would use it is gone
                    raise ValueError(f"nothing in its header uses the tensor '{min(spare)}'")
                return record
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as e:
            raise CorruptFile(
                "damaged-file",
                f"'{place}' is a {cls.KIND} with a part missing or unreadable ({e}); make it again "
                f"with {cls.MADE_BY}",
            ) from None
        raise CorruptFile(
            "unknown-version",
            f"'{place}' is a {cls.KIND} with schema {version}; this version reads {SCHEMA}: "
            f"make it again with {cls.MADE_BY}, or update Isthmus",
        )


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(plain(value), sort_keys=True, allow_nan=False)
