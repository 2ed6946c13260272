"""A closer and a store brought together: its form there, its column, and its query side."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.progress import Progress
from isthmus.data import atomic_path
from isthmus.data.addresses import open_store
from isthmus.data.file_errors import read_json, read_text
from isthmus.data.source import ArraySource, Rows
from isthmus.deploy.export.closer_json import from_json, to_json
from isthmus.deploy.stores.forms import Form, choose_form
from isthmus.deploy.stores.query_side import query_side
from isthmus.deploy.stores.rows import StoreRows
from isthmus.deploy.stores.store import BATCH, Mark, Store, StoreFacts
from isthmus.errors import OptionError

SAMPLE = 100_000
"""Candidates that choose the range of an inner-product coordinate."""
QUERY_SIDE = ("closer.json", "query.py", "deployment.json")
"""Files of a query side."""


@dataclass(frozen=True, eq=False)
class Placement:
    """A closer and a store brought together: which form, under which name.

    Attributes:
        source: the original vectors. rows: the same as rows. name: of the new column.
        folder: of the query side. mark: what the new column says of itself.
    """

    closer: Closer
    source: Store
    facts: StoreFacts
    rows: StoreRows | ArraySource
    name: str
    folder: Path
    form: Form
    mark: Mark

    @classmethod
    def of(
        cls,
        closer: Closer | str | os.PathLike[str],
        store: str | Store,
        column: str | None,
        out: str | os.PathLike[str] | None,
        rows: ArraySource | None = None,
    ) -> Self:
        """Open the store and choose the form; nothing is written.

        ``rows``: the vectors where they are known better than the store gives them.
        """
        fitted, source, name, folder = place_of(closer, store, column, out)
        vectors = rows or source.rows()
        facts = vectors.facts if isinstance(vectors, StoreRows) else source.describe()
        form = _form(fitted, facts, vectors, folder)
        said = f"{fitted.name} {_digest(form.to_json())[:16]}"
        mark = Mark(said, form.name, form.score, bias=form.biased, source=source.address.column)
        return cls(fitted, source, facts, vectors, name, folder, form, mark)

    @property
    def ids(self) -> np.ndarray:
        """Of the items, (n,)."""
        assert self.rows.ids is not None
        return self.rows.ids

    @property
    def target(self) -> Store:
        """Where deployed vectors are: the source itself where nothing is stored."""
        return self.source if self.form.stores_nothing else self.source.at(self.name)

    def prepare(self) -> None:
        """Make the new column, if one is needed, or take up the one of an earlier run."""
        if not self.form.stores_nothing:
            self.source.prepare(self.name, self.form.dim, self.mark)

    def check_mark(self) -> None:
        """Refuse to search a column that is not of this very closer.

        Raises:
            OptionError: nothing was deployed there, or another closer.
        """
        if self.form.stores_nothing:
            return
        there = self.target.mark()
        if there is None:
            raise OptionError(
                "not-deployed",
                f"'{self.name}' was not made by isthmus deploy; run it first, without check",
            )
        if not there.is_of(self.mark):
            raise OptionError(
                "other-deployment",
                f"'{self.name}' was deployed by another closer ({there.closer.split()[0]} as "
                f"{there.form}), or with other numbers than {self.closer.name} as "
                f"{self.form.name} has here; give the closer and the --out of that run, remove it "
                "with --undo, or deploy this closer under another name with --column",
            )

    def write(self, progress: Progress) -> int:
        """Write what is not there yet, batch by batch; the number written."""
        if self.form.stores_nothing:
            return 0
        target = self.target
        there = {str(one) for one in target.done()}
        ids = self.ids
        wanted = np.array([i for i, one in enumerate(ids) if str(one) not in there], np.int64)
        for at in range(0, len(wanted), BATCH):
            some = wanted[at : at + BATCH]
            target.put(ids[some], *self.form.stored(self.rows.take_sorted(some)))
            progress("writing vectors", at + len(some), len(wanted))
        target.finish(self.mark)
        return len(wanted)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Ids (n, k) that the store finds for queries (n, d) as the encoder gives them."""
        return self.target.search(
            self.form.asked(queries), k, score=self.form.score, mark=self.mark
        )

    def write_query_side(self) -> None:
        """``closer.json``, ``query.py`` and ``deployment.json``; a password stays out of them."""
        said = {
            "form": self.form.name,
            "base": _digest(to_json(self.closer)),
            "padding": self.form.padding,
            "store": self.target.address.shown,
        }
        texts = (
            self.form.to_json(),
            query_side(self.form, self.target, self.mark),
            json.dumps(said, indent=2) + "\n",
        )
        for name, text in zip(QUERY_SIDE, texts, strict=True):
            with atomic_path(self.folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")


def place_of(
    closer: Closer | str | os.PathLike[str],
    store: str | Store,
    column: str | None,
    out: str | os.PathLike[str] | None,
) -> tuple[Closer, Store, str, Path]:
    """The closer, the store of the original vectors, the name of the deployed column or
    collection, and the folder of the query side. Nothing is read from the store."""
    fitted = closer if isinstance(closer, Closer) else Closer.load(closer)
    source = store if isinstance(store, Store) else open_store(store)
    name = column or f"{source.address.column or 'vector'}_{fitted.name}".replace("-", "_")
    return fitted, source, name, Path(out or f"isthmus-deploy-{name}")


def is_query_side(folder: Path, closer: Closer, store: Store) -> bool:
    """Whether the folder holds the query side of this closer in this very column."""
    path = folder / "deployment.json"
    said = read_json(path) if path.is_file() else {}
    return (said.get("base"), said.get("store")) == (_digest(to_json(closer)), store.address.shown)


def _form(closer: Closer, facts: StoreFacts, rows: Rows, folder: Path) -> Form:
    """The form; its numbers are those of an earlier run into the same folder, if there was one."""
    if facts.score in ("cosine", "euclidean") or rows.rows <= SAMPLE:
        candidates = rows.read()
    else:
        candidates = rows.take(np.arange(0, rows.rows, rows.rows // SAMPLE))
    form = choose_form(closer, facts, candidates)
    kept = folder / "deployment.json"
    if kept.is_file():
        earlier = read_json(kept)
        if (earlier["form"], earlier["base"]) == (form.name, _digest(to_json(closer))):
            return replace(form, closer=from_json(read_text(folder / "closer.json")))
    return form


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
