"""One family of errors. Each has a stable code and one plain sentence.

The sentence says what was got, what was expected and what to do; the code names the fault for
programs and does not change. Each kind is also the Python kind that a caller expects: bad values
and shapes are a ``ValueError``, a missing library is an ``ImportError``, a file that cannot be read
is an ``OSError``.

The command line prints the sentence and exits with 1. Anything else that escapes is a fault of ours
and keeps its traceback.
"""

from __future__ import annotations

from typing import Any


class IsthmusError(Exception):
    """Base of everything Isthmus refuses on purpose.

    Args:
        code: stable name of the fault, lower case with hyphens, such as ``unknown-score``.
        text: one sentence for a person.
    """

    code: str

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> Any:
        return type(self), (self.code, str(self))


class ShapeError(IsthmusError, ValueError):
    """An array has the wrong number of axes, or two arrays do not fit together."""


class DtypeError(IsthmusError, ValueError):
    """An array holds something other than floating-point numbers."""


class ValuesError(IsthmusError, ValueError):
    """Rows hold NaN, infinity, or a zero vector where a cosine is asked for."""


class NotPaired(IsthmusError, ValueError):
    """Something that needs pairs was asked of unpaired or differently long sides."""


class LabelsError(IsthmusError, ValueError):
    """Labels or relevance judgements do not fit the rows they speak of."""


class OptionError(IsthmusError, ValueError):
    """An option has a value that is not one of its values; the message lists them."""


class CloserError(IsthmusError, ValueError):
    """A closer cannot be fitted, composed or applied as asked."""


class FileError(IsthmusError, OSError):
    """A file is missing, or a name does not say which of its columns or keys is meant."""


class CorruptFile(FileError):
    """A file is truncated, or is not what its name says it is."""


class MissingExtra(IsthmusError, ImportError):
    """A library that belongs to an extra is not installed."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(
            "missing-extra",
            f"{what} needs the package '{library}', which is not installed; "
            f"install it with: pip install 'isthmus[{extra}]'",
        )
        self.what = what
        self.library = library
        self.extra = extra

    def __reduce__(self) -> Any:
        return type(self), (self.what, self.library, self.extra)


def with_id(row: int, ids: Any = None) -> str:
    """``3``, or ``3 (id cat)`` where rows have ids (n,)."""
    return str(row) if ids is None else f"{row} (id {str(ids[row])[:60]})"


def first_rows(rows: list[int], count: int, ids: Any = None) -> str:
    """Name at most five row numbers, with their ids where rows have them, and say how many more."""
    shown = ", ".join(with_id(row, ids) for row in rows[:5])
    more = count - len(rows[:5])
    return f"row {shown}" if count == 1 else f"rows {shown}" + (f" and {more} more" if more else "")
