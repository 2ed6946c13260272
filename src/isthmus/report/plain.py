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
