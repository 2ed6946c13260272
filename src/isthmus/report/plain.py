"""Foreign text on a terminal: paths, names and labels are shown, and never obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

KEPT = "\n\xa0\u200c\u200d"
"""Line ends, no-break spaces and the joiners inside words and emoji are no control characters."""


def visible(text: str, kept: str = KEPT) -> str:
    """The text with control characters, directions and stray bytes of names as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text
    )


LONGEST = 2000
"""Letters of a text that a page shows; what is longer is cut."""
LONGEST_NAME = 60
OURS = ("live", "demo")
"""Parts of a report that hold our own long texts: rows and pictures as letters."""


def name_of(value: Any) -> str:
    """What somebody calls a thing, on one line, escaped and cut for people to read."""
    line = " ".join(visible(str(value), kept="\xa0").split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def tamed(value: Any) -> Any:
    """A report whose texts have no control characters, no turned directions and no end of letters.

    Args:
        value: plain dicts, lists and texts; a copy is returned.
    """
    if isinstance(value, dict):
        return {k: v if k in OURS else tamed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [tamed(item) for item in value]
    if isinstance(value, str):
        shown = visible(value)
        return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
    return value


def plain_console(**options: Any) -> Console:
    """A console on which brackets are no markup, colons no emoji, and control characters escapes.

    Args:
        options: of ``rich.console.Console``.
    """
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **given: Any) -> Text:
            return super().render_str(visible(text), **given)

    return Plain(**{"markup": False, "emoji": False, "highlight": False} | options)
