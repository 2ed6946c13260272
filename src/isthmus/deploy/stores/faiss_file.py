"""A FAISS index as a store: ``faiss:FILE``, or with ``codec=FACTORY`` as such an index of its rows.

Deployed vectors go to an index file of their own beside it, ``STEM_COLUMN.faiss``, of the same kind
(FAISS's factory string) and with the same search settings, trained on the deployed vectors. Batches
are files of ``….parts``, the mark is ``….json``; the index itself is written once, at the end.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.checks import one_of
from isthmus.data import atomic_path, write_json
from isthmus.data.foreign import faiss_index, faiss_rows
from isthmus.deploy.stores.store import Mark, Store, StoreFacts
from isthmus.errors import OptionError

_INDEXES = re.compile(r"(IVF|HNSW|IMI|NSG)[^,]*")


@dataclass(frozen=True)
class _Index:
    """A FAISS index, its rows (n, d), and their ids (n,)."""

    faiss: Any
    rows: np.ndarray
    ids: np.ndarray

    @cached_property
    def place(self) -> dict[int, int]:
        """Id -> row."""
        return {one: i for i, one in enumerate(self.ids.tolist())}


class FaissFile(Store):
    """The rows of one index file."""

    scheme, extra, client = "faiss", "", "faiss-cpu"

    def connect(self) -> _Index:
        """Read the file; with ``codec`` an index of that kind is built of its rows."""
        if self.address.modality or self.address.options.get("where"):
            why = "modality and where need a store that has some"
            raise self.no_filter("holds vectors and no fields", why)
        index = faiss_index(self.address.place, f"'{self.address.place}'")
        deployed = self._next_to(".json").is_file()  # which is searched by its codes, and known so
        rows, ids = faiss_rows(index, f"'{self.address.place}'", said=not deployed)
        ids = np.arange(len(rows)) if ids is None else ids
        codec = self.address.options.get("codec")
        if codec:
            score = self.address.options.get("score") or _score_of(index)
            index = self._built(codec, score, rows, ids)
        return _Index(index, rows, ids)

    def _built(self, factory: str, score: str, rows: np.ndarray, ids: np.ndarray) -> Any:
        import faiss

        products = score == "dot" and not factory.startswith("LSH")  # signs know no product
        metric = faiss.METRIC_INNER_PRODUCT if products else faiss.METRIC_L2
        try:
            made = faiss.index_factory(rows.shape[1], factory, metric)
        except RuntimeError as wrong:
            raise OptionError(
                "unknown-codec",
                f"codec '{factory}' is no index that FAISS can make of {rows.shape[1]} dimensions; "
                "its names are spelled RaBitQ, RR512,RaBitQ, SQ8, PQ32x8np, IVF100,SQ8 …",
            ) from wrong
        with self.answering(RuntimeError):
            made.train(rows)
            made = faiss.IndexIDMap2(made)
            made.add_with_ids(rows, ids)
        return made

    @property
    def _score(self) -> str:
        """Asked by the address, or the index's own."""
        said = self.address.options.get("score", "")
        if said:
            one_of(said, ("dot", "euclidean"), "score of FAISS", "unknown-score")
            return said
        return _score_of(self.connection.faiss)

    @cached_property
    def _factory(self) -> str:
        """What makes an index of this kind."""
        from faiss.contrib.factory_tools import reverse_index_factory

        try:
            said = reverse_index_factory(self.connection.faiss)
        except NotImplementedError:
            said = _kind(self.connection.faiss)
        return re.sub("^IDMap2?,", "", self.address.options.get("codec", said))

    def describe(self) -> StoreFacts:
        """Rows, and the parts of the factory string."""
        kinds = _INDEXES.findall(self._factory)
        codec = ",".join(
            part for part in self._factory.split(",") if part != "Flat" and not _INDEXES.match(part)
        )
        cut = re.search(r"PQ(\d+)", codec)
        return StoreFacts(
            rows=len(self.connection.rows),
            dim=self.connection.rows.shape[1],
            score=self._score,
            index=kinds[0] if kinds else "none",
            codec="binary" if codec.startswith("LSH") else codec or "none",
            multiple=int(cut[1]) if cut else 1,
        )

    def ids(self) -> np.ndarray:
        """Ids of the index, or positions, in the file's order."""
        return np.asarray(self.connection.ids)

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Rows, decoded where the index keeps codes."""
        rows, place = self.connection.rows, self.connection.place
        return ((one, rows[place[one]]) for one in ids.tolist() if one in place)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """All queries at once, with the settings of the file."""
        asked = np.ascontiguousarray(queries, np.float32)
        found = np.asarray(self.connection.faiss.search(asked, k)[1])
        return found if (found >= 0).all() else self.answers([one[one >= 0] for one in found])

    def at(self, column: str) -> FaissFile:
        """The file ``STEM_COLUMN.faiss``."""
        path = Path(self.address.place)
        place = str(path.with_name(f"{path.stem}_{column}.faiss"))
        address = replace(self.address, place=place, options={"column": column})
        other = self._other(replace(address, shown=f"faiss:{place}"))
        other._connection = None  # a connection is one file
        return other

    def _next_to(self, end: str) -> Path:
        return Path(self.address.place + end)

    def mark(self) -> Mark | None:
        """The file beside the index."""
        path = self._next_to(".json")
        return Mark.of_text(path.read_text(encoding="utf-8")) if path.is_file() else None

    @property
    def is_there(self) -> bool:
        """Whether there is the file, or its mark."""
        return os.path.exists(self.address.place) or self.mark() is not None

    def make(self, new: FaissFile, dim: int, mark: Mark) -> None:
        """Write the mark."""
        write_json(new._next_to(".json"), asdict(mark))

    def _parts(self) -> list[Path]:
        """Batches that are in no index yet; a killed run may leave a hidden file among them."""
        return sorted(self._next_to(".parts").glob("[0-9]*.npz"))

    @property
    def _held(self) -> np.ndarray:
        """Ids of the index file, none where it is not there yet."""
        there = os.path.isfile(self.address.place)
        return np.asarray(self.connection.ids) if there else np.empty(0, np.int64)

    def done(self) -> np.ndarray:
        """Ids of the index and of the batches."""
        return np.concatenate([self._held, *(np.load(part)["ids"] for part in self._parts())])

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """A file for the batch."""
        with atomic_path(self._next_to(".parts") / f"{len(self._parts()):09}.npz") as temporary:
            np.savez(temporary, ids=ids, vectors=vectors)

    def finish(self, mark: Mark) -> None:
        """Train and write the index, or add to it; then the mark, and the batches go."""
        import faiss

        parts = [np.load(part) for part in self._parts()]
        if parts:
            ids = np.concatenate([part["ids"] for part in parts])
            vectors = np.concatenate([part["vectors"] for part in parts])
            held = self._held
            new = ~np.isin(ids, held)  # all are held where a run was killed right here
            if len(held):
                index = self.connection.faiss
                index.add_with_ids(vectors[new], ids[new])
            else:
                index = self._built(self.source._factory, mark.score, vectors, ids)
                _copy_settings(self.source.connection.faiss, index)
            with atomic_path(self.address.place) as temporary:
                faiss.write_index(index, str(temporary))
        write_json(self._next_to(".json"), asdict(replace(mark, complete=True)))
        shutil.rmtree(self._next_to(".parts"), ignore_errors=True)
        self._connection = None

    def sample(self, ids: np.ndarray, folder: Path) -> tuple[FaissFile, np.ndarray]:
        """A file of the items' vectors in the folder, indexed as this one when it is opened."""
        import faiss

        place, score = str(folder / "sample.faiss"), self._score
        rows = np.ascontiguousarray(self.fetch(ids), np.float32)
        faiss.write_index(self._built("Flat", score, rows, ids), place)
        address = self.address.changed(codec=self._factory, score=score)
        made = FaissFile(replace(address, place=place))
        _copy_settings(self.connection.faiss, made.connection.faiss)
        return made, ids

    def remove_sample(self) -> list[str]:
        """The folder goes by itself."""
        return []

    def undo(self) -> None:
        """Remove the index file, its batches and its mark."""
        self.need_mark()
        Path(self.address.place).unlink(missing_ok=True)
        shutil.rmtree(self._next_to(".parts"), ignore_errors=True)
        self._next_to(".json").unlink()

    def example(self, mark: Mark) -> str:
        """A search of the file."""
        return _EXAMPLE.format(file=self.place)


def _kind(index: Any) -> str:
    """``PreTransform,RaBitQ``: what FAISS's own names say of an index that it cannot name back."""
    import faiss

    inner, names = index, []
    while True:
        inner = faiss.downcast_index(inner)
        names.append(type(inner).__name__.removeprefix("Index"))
        if not hasattr(inner, "index"):
            return ",".join(names)
        inner = inner.index


def _score_of(index: Any) -> str:
    import faiss

    return "dot" if index.metric_type == faiss.METRIC_INNER_PRODUCT else "euclidean"


def _copy_settings(source: Any, target: Any) -> None:
    """Lists probed by a search, and how far a graph is followed."""
    import faiss

    old, new = faiss.try_extract_index_ivf(source), faiss.try_extract_index_ivf(target)
    if old is not None and new is not None:
        new.nprobe = old.nprobe
    old, new = (
        getattr(faiss.downcast_index(getattr(index, "index", index)), "hnsw", None)
        for index in (source, target)
    )
    if old is not None and new is not None:
        new.efSearch = old.efSearch


_EXAMPLE = '''
import faiss

INDEX = faiss.read_index("{file}")


def search(query, k=10):
    """Ids of the k first items."""
    return INDEX.search(query_vector(query)[None], k)[1][0].tolist()
'''
