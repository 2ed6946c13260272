"""A result as JSON text for whatever prints it."""

from __future__ import annotations

import json
from typing import Any

from isthmus.data.atomic import plain


def json_text(value: Any, encoding: str) -> str:
    """``value`` as one JSON document; what is no number is null.

    Letters that ``encoding`` lacks are escaped, so that no name is lost.
    """
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(plain(value), indent=2)
    return text
