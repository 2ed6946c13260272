"""What every store can do, and its vectors as rows.

A store keeps items: an id, one or more vectors, other fields. An adapter is a file of its own with
a class that derives from :class:`Store`; everything above (rows in, deploying, checking) is
written once, on these methods.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from isthmus.data.addresses import Address
from isthmus.data.source import BaseSource
from isthmus.encoders.libraries import first_line
from isthmus.errors import FileError, OptionError, ShapeError

_NUMBER = re.compile(r"(\d+)")
SAMPLE, TRIED = "isthmus_sample", "isthmus_tried"
"""Column, collection or table of a sample, and of the closer that is tried in it."""
BATCH = 5_000
"""Vectors of one transaction."""
DAY = 24 * 3600


@dataclass(frozen=True)
class StoreFacts:
    """What a store says of one column of vectors.

    Attributes:
        rows: items that have a vector. dim: its dimensions. dtype: as stored.
        score: what the store ranks by here: dot, cosine or euclidean; empty where it is asked anew
            in every query.
        index: kind of index, or ``none`` (every search reads all rows).
        codec: how the index keeps vectors; ``none`` is as they are.
        expression: whether a candidate bias can be added to the score of *every* candidate within
            the store's own language.
        multiple: what a dimension must be divisible by for the store's codecs.
    """

    rows: int
    dim: int
    dtype: str = "float32"
    score: str = ""
    index: str = "none"
    codec: str = "none"
    expression: bool = False
    multiple: int = 1


@dataclass(frozen=True)
class Mark:
    """What a deployed column says of itself: whose it is and how far it got."""

    closer: str
    form: str
    score: str
    complete: bool = False
    bias: bool = False
    source: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As a store keeps it."""
        return json.dumps(asdict(self))

    def is_of(self, mark: Mark) -> bool:
        """Whether both are of one closer with the same numbers, however far they got."""
        return replace(self, complete=False) == replace(mark, complete=False)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """From what a store kept."""
        return cls(**json.loads(text))


def owner() -> dict[str, Any]:
    """Who makes a sample: this process."""
    return {"host": platform.node(), "process": os.getpid(), "since": int(time.time())}


def refuse_others(made_by: dict[str, Any], name: str) -> None:
    """Refuse a sample of another run that goes on: one of another machine is kept for a day.

    Raises:
        OptionError: it goes on, or nobody can tell.
    """
    host, process = made_by.get("host"), made_by.get("process", 0)
    if host == platform.node():
        goes_on = process != os.getpid() and is_running(process)
    else:
        goes_on = time.time() - made_by.get("since", 0) < DAY
    if goes_on:
        raise OptionError(
            "sample-in-use",
            f"'{name}' is the sample of another run (process {process} of '{host}'); wait until it "
            "ends, or remove it where that run is gone",
        )


def is_running(process: int) -> bool:
    """Whether a process of this machine goes on; where that cannot be asked, yes."""
    if os.name != "posix":  # there a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def answering(address: Address, *errors: type[Exception]) -> Iterator[None]:
    """What a client raises becomes one sentence.

    Raises:
        FileError: one of ``errors`` was raised.
    """
    try:
        yield
    except errors as why:
        raise FileError("store-refused", f"'{address.shown}' answered: {first_line(why)}") from why


class Store(ABC):
    """One set of vectors at an address.

    A subclass opens its connection in :meth:`connect`, when first needed; a store can be pickled
    and opens its connection again on the other side.
    """

    scheme: ClassVar[str]
    extra: ClassVar[str]
    client: ClassVar[str]

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: Any = None

    @property
    def place(self) -> str:
        """Server, or absolute path of the file or folder: right from any working folder."""
        place = self.address.place
        return place if "://" in place else os.path.abspath(place).replace(os.sep, "/")

    @property
    def connection(self) -> Any:
        """The open connection."""
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    @abstractmethod
    def connect(self) -> Any:
        """Open the connection.

        Raises:
            MissingExtra: the client library is not installed. FileError: nothing answers there.
        """

    @abstractmethod
    def describe(self) -> StoreFacts:
        """What the store says of this column.

        Raises:
            FileError: no such table or collection. OptionError: no such column.
        """

    @abstractmethod
    def ids(self) -> np.ndarray:
        """Ids of items that have a vector, (n,), in the store's stable order."""

    @abstractmethod
    def fetch(self, ids: np.ndarray) -> np.ndarray:
        """Vectors of these ids, in the order asked: (k, d)."""

    @abstractmethod
    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """Ids of the k first items of each query as the store finds them, (n, k).

        ``mark`` is that of a deployed column: where it has a bias, the bias is added.
        """

    def answers(self, found: Sequence[Sequence[Any]]) -> np.ndarray:
        """Ids of each query's items, found by a search, as an array (n, k).

        Raises:
            FileError: queries have unequal numbers of them.
        """
        counts = [len(one) for one in found]
        if len(set(counts)) > 1:
            raise self.too_few(min(counts), max(counts))
        return np.array(found)

    def too_few(self, found: int, asked: int) -> FileError:
        """That a search gave fewer items than were asked for."""
        return FileError(
            "too-few-found",
            f"'{self.address.shown}' gives {found} items of a query, and {asked} were asked for; "
            "ask for fewer, or let its index look further (hnsw.ef_search, nprobe, ef)",
        )

    def at(self, column: str) -> Self:
        """The store of another column (or collection) of the same items."""
        other = type(self)(self.address.with_column(column))
        other._connection = self._connection
        return other

    @abstractmethod
    def mark(self) -> Mark | None:
        """The mark of this column where :meth:`prepare` made it, else None."""

    def same_mark(self, mark: Mark) -> None:
        """Refuse a column that is there and not of this very closer.

        Raises:
            OptionError: it has another mark, or none.
        """
        there = self.mark()
        if there is None or not there.is_of(mark):
            raise OptionError(
                "column-exists",
                f"'{self.address.column}' is there already and was not made by this closer "
                "with these numbers; give the --out of the run that made it, choose another name "
                "with --column, or remove it with --undo if isthmus deploy made it",
            )

    def need_mark(self) -> Mark:
        """The mark.

        Raises:
            OptionError: there is none.
        """
        found = self.mark()
        if found is None:
            raise OptionError(
                "not-deployed",
                f"'{self.address.column}' was not made by isthmus deploy; nothing was removed",
            )
        return found

    @abstractmethod
    def prepare(self, column: str, dim: int, mark: Mark) -> Store:
        """Make an empty column (or collection) for deployed vectors, and return its store.

        A column that is there with the same mark is taken up again.

        Raises:
            OptionError: it is there and not ours, or was made by another closer.
        """

    @abstractmethod
    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """Write vectors (and biases) of items, whole or not at all."""

    def done(self) -> np.ndarray:
        """Ids that already have their vector in this deployed column."""
        return self.ids()

    @abstractmethod
    def finish(self, mark: Mark) -> None:
        """Everything is written: say so in the mark, and build the index where there is one."""

    @abstractmethod
    def undo(self) -> None:
        """Remove this deployed column or collection, nothing else.

        Raises:
            OptionError: it was not made by :meth:`prepare`.
        """

    def sample(self, ids: np.ndarray, folder: Path) -> tuple[Store, np.ndarray]:
        """A set of these items alone, (k,), with the index and codec of this one; nothing of the
        user's is written to.

        Returns: the set, and what its ids call the items, (k,). This one makes a collection beside
        the first; others take a temporary table or files in ``folder``, which goes afterwards.
        """
        facts = self.describe()
        mark = Mark("none", SAMPLE, facts.score or "dot", source=self.address.column, more=owner())
        made = self.prepare(SAMPLE, facts.dim, mark)
        for at in range(0, len(ids), BATCH):
            some = ids[at : at + BATCH]
            made.put(some, self.fetch(some), None)
        made.finish(mark)
        made.address = made.address.changed(score=facts.score or None)
        return made, ids

    def remove_sample(self) -> list[str]:
        """Remove the sample and what is tried in it; names of what was there.

        Raises:
            OptionError: another run that goes on made it.
        """
        sample, gone = self.at(SAMPLE), []
        mark = sample.mark()
        if mark is None or mark.form == SAMPLE:  # else a column that the user named so
            refuse_others({} if mark is None else mark.more, sample.address.shown)
            for store in (sample.at(TRIED), sample):
                if store.mark() is not None:
                    store.undo()
                    gone.append(store.address.shown)
        return gone

    @abstractmethod
    def example(self, mark: Mark) -> str:
        """Python that defines ``search(query, k=10)`` -> ids, by the store's own client."""

    def rows(self) -> StoreRows:
        """The vectors as rows, in the order of :meth:`ids`."""
        return StoreRows(self)


class StoreRows(BaseSource):
    """Rows that lie in a store. Ids are read once; vectors in batches, when asked for.

    The order is that of the ids. What changes in the store between two passes is not seen as a
    change: a vector that is gone is an error, a new item is left out.
    """

    store: Store
    item_ids: np.ndarray

    def __init__(self, store: Store) -> None:
        facts, ids = store.describe(), store.ids()
        shown = store.address.shown
        if not len(ids):
            raise ShapeError("no-rows", f"'{shown}' holds no vector")
        name = store.address.column or shown.rpartition("/")[2].partition("?")[0]
        modality = store.address.modality
        super().__init__(
            spec=shown,
            name=modality[1] if modality else name,
            rows=len(ids),
            dim=facts.dim,
            dtype=facts.dtype,
        )
        object.__setattr__(self, "store", store)
        object.__setattr__(self, "item_ids", ids)

    @property
    def ids(self) -> np.ndarray:
        """Id of each row, (n,)."""
        return self.item_ids

    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Batches of at most 10,000 vectors."""
        size = min(size, 10_000)
        for at in range(start, stop, size):
            yield self.take_sorted(np.arange(at, min(at + size, stop)))

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Vectors at these positions."""
        asked = self.item_ids[wanted]
        found = self.store.fetch(asked)
        if found.shape != (len(asked), self.dim):
            raise FileError(
                "store-changed",
                f"'{self.spec}' gave {found.shape[0]} vectors for {len(asked)} ids; it changed "
                "while it was read: run it again when nothing is written to it",
            )
        return found.astype(self.native, copy=False)


def in_order(asked: np.ndarray, found_ids: list[Any], vectors: np.ndarray) -> np.ndarray:
    """Vectors that came in any order, in the order asked; ids that did not come are left out."""
    place = {str(one): i for i, one in enumerate(found_ids)}
    return vectors[[place[str(one)] for one in asked if str(one) in place]]


def by_number(names: Iterable[str | bytes]) -> np.ndarray:
    """Names as texts in natural order: ``item:9`` before ``item:10``."""
    texts = [one.decode() if isinstance(one, bytes) else one for one in names]

    def key(text: str) -> list[Any]:
        return [int(part) if i % 2 else part for i, part in enumerate(_NUMBER.split(text))]

    return np.array(sorted(texts, key=key), dtype=np.str_)


__all__ = [
    "BATCH",
    "SAMPLE",
    "TRIED",
    "Mark",
    "Store",
    "StoreFacts",
    "StoreRows",
    "answering",
    "by_number",
    "in_order",
    "is_running",
    "owner",
]
