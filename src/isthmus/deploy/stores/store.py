"""What every store can do, and its vectors as rows.

A store keeps items: an id, one or more vectors, other fields. An adapter is a file of its own with
a class that derives from :class:`Store`; everything above (rows in, deploying, checking) is
written once, on these methods.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from isthmus.core.checks import meant, one_of
from isthmus.core.libraries import first_line, library
from isthmus.core.order import natural
from isthmus.data.addresses import Address
from isthmus.deploy.stores.owners import owner, refuse_others
from isthmus.deploy.stores.rows import StoreRows
from isthmus.errors import FileError, IsthmusError, OptionError

SAMPLE, TRIED = "isthmus_sample", "isthmus_tried"
"""Column, collection or table of a sample, and of the closer that is tried in it."""
BATCH = 5_000
"""Vectors of one transaction."""


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


class Store(ABC):
    """One set of vectors at an address.

    A subclass opens its connection in :meth:`connect`, when first needed; a store can be pickled
    and opens its connection again on the other side.

    Attributes:
        scheme, extra, client: of its addresses; the extra and the packages that it needs.
        name, module: what people call it; what is imported of its client.
        container: the option that names the table or collection, where deployed vectors get one of
            their own; empty where they get a column beside the original.
        page: ids that are asked for at once.
        source: the store of the original vectors, of one made by :meth:`at`.
    """

    scheme: ClassVar[str]
    extra: ClassVar[str]
    client: ClassVar[str]
    name: ClassVar[str]
    module: ClassVar[str]
    container: ClassVar[str] = ""
    page: ClassVar[int] = 10_000
    source: Self

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: Any = None

    @property
    def library(self) -> Any:
        """The client, imported.

        Raises:
            MissingExtra: it is not installed.
        """
        return library(self.module, f"Reading {self.name}", self.client, self.extra)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the client raises."""
        return ()

    @contextmanager
    def answering(
        self, *errors: type[Exception], said: str = "answered", code: str = "store-refused"
    ) -> Iterator[None]:
        """What the client raises, :attr:`errors` unless some are given, becomes one sentence.

        Raises:
            FileError: it raised one of them.
        """
        try:
            yield
        except Exception as why:
            if isinstance(why, IsthmusError) or not isinstance(why, errors or self.errors):
                raise
            raise self.refusal(f"{said}: {first_line(why)}", code) from why

    def asked_codec(self, known: Collection[str], own: str = "none") -> str:
        """The codec that the address asks for, by default the store's ``own``.

        Raises:
            OptionError: it is not among the ``known`` ones.
        """
        said = self.address.options.get("codec", own)
        return one_of(said, known, f"codec of {self.name}", "unknown-codec")

    def json_filter(self) -> Any:
        """What ``where=`` says, in a store whose filters are JSON; None where it is left out.

        Raises:
            FileError: it is no JSON.
        """
        with self.answering(ValueError, said="takes a filter in JSON as where="):
            return json.loads(self.address.options.get("where", "null"))

    def no_filter(self, what: str, why: str) -> OptionError:
        """That this store has no filter for what is asked."""
        return OptionError("no-filter", f"'{self.address.shown}' {what}; {why}")

    def opening(self, *errors: type[Exception]) -> AbstractContextManager[None]:
        """The same while a connection is opened."""
        hint = "; check the address, and that the server runs" * ("://" in self.address.place)
        return self.answering(*errors, said=f"does not open{hint}", code="store-unreachable")

    def refusal(self, said: str, code: str = "store-refused") -> FileError:
        """That the store does not do what is asked."""
        return FileError(code, f"'{self.address.shown}' {said}")

    def no_column(self, what: str, held: Iterable[str]) -> OptionError:
        """That the column is not there, and what there is of its kind, called ``what``."""
        column, names = self.address.column, list(held)
        return OptionError(
            "unknown-column",
            f"'{self.address.shown}' has no {what} '{column}'{meant(column, names)}; it has "
            f"{', '.join(names) or 'none'}",
        )

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

    def fetch(self, ids: np.ndarray) -> np.ndarray:
        """Vectors of these ids, in the order asked: (k, d). Ids that are gone are left out."""
        found = {
            str(one): row for some in pages(ids, self.page) for one, row in self.read_page(some)
        }
        return np.array([found[one] for one in map(str, ids.tolist()) if one in found])

    @abstractmethod
    def read_page(self, ids: np.ndarray) -> Iterable[tuple[Any, Any]]:
        """Id and vector (d,) of at most ``page`` ids, in any order, without those that are gone."""

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
        if self.container:
            return self._other(self.address.sibling(self.container, column))
        return self._other(self.address.with_column(column))

    def _other(self, address: Address) -> Self:
        """The store of deployed vectors at an address."""
        other = type(self)(address)
        other._connection, other.source = self._connection, self
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

    def prepare(self, column: str, dim: int, mark: Mark) -> Self:
        """Make an empty column (or collection) for deployed vectors, and return its store.

        A column that is there with the same mark is taken up again.

        Raises:
            OptionError: it is there and not ours, or was made by another closer.
        """
        new = self.at(column)
        if new.is_there:
            new.same_mark(mark)
        else:
            self.make(new, dim, mark)
        return new

    @property
    @abstractmethod
    def is_there(self) -> bool:
        """Whether there is such a column (or collection), or the mark of one."""

    @abstractmethod
    def make(self, new: Self, dim: int, mark: Mark) -> None:
        """Make the column (or collection) that a store made by :meth:`at` names."""

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
        for some in pages(ids, BATCH):
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


def pages(ids: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Parts of at most ``size`` ids (k,)."""
    return (ids[at : at + size] for at in range(0, len(ids), size))


def by_number(names: Iterable[str | bytes]) -> np.ndarray:
    """Names as texts in natural order: ``item:9`` before ``item:10``."""
    texts = [one.decode() if isinstance(one, bytes) else one for one in names]
    return np.array(sorted(texts, key=natural), dtype=np.str_)
