"""One family of errors. Every message says what was got, what was expected and what to do.

The command line prints the message of an :class:`IsthmusError` as one sentence and exits with 1;
anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class IsthmusError(Exception):
    """Base of everything Isthmus refuses on purpose."""


class ShapeError(IsthmusError):
    """An array has the wrong number of axes, or two arrays do not fit together."""


class DtypeError(IsthmusError):
    """An array holds something other than floating-point numbers."""


class ValuesError(IsthmusError):
    """Rows hold NaN, infinity, or a zero vector where a cosine is asked for."""


class NotPaired(IsthmusError):
    """Something that needs pairs was asked of unpaired or differently long sides."""


class LabelsError(IsthmusError):
    """Labels or relevance judgements do not fit the rows they speak of."""


class OptionError(IsthmusError):
    """An option has a value that is not one of its values; the message lists them."""


class FileError(IsthmusError):
    """A file is missing, or a name does not say which of its columns or keys is meant."""


class CorruptFile(FileError):
    """A file is truncated, or is not what its name says it is."""


class CloserError(IsthmusError):
    """A closer cannot be fitted, composed or applied as asked."""


class MissingExtra(IsthmusError):
    """A library that belongs to an extra is not installed."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package '{library}', which is not installed; "
            f"install it with: pip install 'isthmus[{extra}]'"
        )
        self.library = library
        self.extra = extra


def first_rows(rows: list[int], count: int) -> str:
    """Name at most five row numbers and say how many more there are."""
    shown = ", ".join(str(r) for r in rows[:5])
    more = count - len(rows[:5])
    return f"row {shown}" if count == 1 else f"rows {shown}" + (f" and {more} more" if more else "")
