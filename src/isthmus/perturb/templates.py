"""Prompt templates: what stands around a name, and swapping it for something else."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.errors import OptionError
from isthmus.perturb._seeds import item_rng
from isthmus.perturb._words import TextEdit, edited, how_many

SLOT = "{}"
"""Where the name goes; a template holds it once."""

PAPER_SWAP = ("a photo of {}", "photograph of {}")
"""The rephrasing studied with the modality gap: the first template becomes the second."""

TEMPLATES: tuple[str, ...] = (
    *PAPER_SWAP,
    "a picture of {}",
    "an image showing {}",
    "a snapshot of {}",
    "a close view of {}",
    "a distant view of {}",
    "a blurry shot of {}",
    "a sharp shot of {}",
    "a dim photo of {}",
    "a colour photo of {}",
    "a black and white print of {}",
    "a small icon of {}",
    "a pencil sketch of {}",
    "a painting with {} in it",
    "a phone picture with {} in the middle",
    "here we see {}",
    "this shows {}",
    "what you see is {}",
    "the subject of this picture is {}",
    "{} in a picture",
    "{}, seen from the front",
    "{} on a plain background",
    "someone took a picture of {}",
    "there is {} in this scene",
    "look at {}!",
)
"""Templates that need no article, so that any name fits as it is."""


def wrap(name: str, template: str = PAPER_SWAP[0]) -> str:
    """Put a name in a template. Braces in the name are text like any other."""
    before, after = _around(template)
    return f"{before}{name}{after}"


def unwrap(text: str, templates: Sequence[str] = TEMPLATES) -> tuple[str, str] | None:
    """The name and the template of a wrapped text, or None when none of the templates fits.

    Where several fit, the one with the most words of its own is taken. A template that is only
    the slot would fit everything and is passed over.
    """
    fits = []
    for template in templates:
        before, after = _around(template)
        inside = len(text) - len(before) - len(after)
        if (before or after) and inside > 0 and text.startswith(before) and text.endswith(after):
            fits.append((-len(template), template, text[len(before) : len(before) + inside]))
    if not fits:
        return None
    _, template, name = min(fits, key=lambda fit: fit[0])
    return name, template


def swap_template(
    text: str,
    level: int | float,
    seed: int,
    index: int,
    *,
    to: str | None = None,
    templates: Sequence[str] = TEMPLATES,
) -> TextEdit:
    """Give an already wrapped text another template, and leave other texts alone.

    ``level``: 0 leaves the text, anything above swaps (there is one template to swap). ``to`` is
    the new template; without it one of the others is drawn. ``templates`` are those recognised.
    The paper's swap is ``swap_template(text, 1, 0, 0, to=PAPER_SWAP[1], templates=PAPER_SWAP)``.
    ``edits`` is 0 or 1.
    """
    if to is not None:
        _around(to)
    if how_many(level, 1) == 0:
        return edited(text, text, 0, [], "no edit asked for")
    found = unwrap(text, templates)
    if found is None:
        return edited(text, text, 0, [], "not in any of the templates")
    name, old = found
    if to is None:
        others = [template for template in templates if template != old]
        if not others:
            raise OptionError(
                "no-other-template",
                f"the only template is {old!r}, expected another one to swap to",
            )
        rng = item_rng(seed, index, "template")
        to = others[rng.integers(len(others))]
    after = wrap(name, to)
    done = [] if after == text else [f"template: {old} -> {to}"]
    return edited(text, after, len(done), done, f"already in the template {to}")


def _around(template: str) -> tuple[str, str]:
    around = template.split(SLOT)
    if len(around) != 2:
        raise OptionError(
            "bad-template",
            f"the template {template!r} has {len(around) - 1} slots, expected one {SLOT}",
        )
    return around[0], around[1]
