"""What tests ask of a refusal: its code and one key fact, not its whole sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from isthmus.errors import IsthmusError


@contextmanager
def refused(
    code: str, *facts: str, kind: type[IsthmusError] = IsthmusError
) -> Iterator[pytest.ExceptionInfo[IsthmusError]]:
    """The body is refused with this code, and the sentence names each of ``facts``."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value}"
    for fact in facts:
        assert fact in str(caught.value)
