"""``isthmus canary``: does another runtime, export or model version still give the same vectors?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, argument
from isthmus.cli.output import show

if TYPE_CHECKING:
    from isthmus.deploy.canary import Canary, CanaryCheck

GATE_FAILED = 3
WORDS = {
    "not-finite": "some vectors are NaN or infinite: an overflow, often of float16",
    "zero": "some vectors are zero: inputs failed",
    "order": "rows stand in each other's places",
    "norms": "the vectors have another length, which changes scores by dot product and distance",
    "shift": "one common vector was added to all rows",
    "changed": "rows moved by more than rounding: another preprocessing, padding or model",
    "rounding": "rows moved no more than float16 or another runtime moves them",
    "same": "rows are the same, but for what they move from run to run",
}
"""Kind of change -> what it means."""

Subject = Annotated[str, argument("ROWS|ENCODER", f"{options.INPUT}; or NAME[:MODEL] to run.")]

group = typer.Typer(
    help="Does another runtime, export or model version still give the same vectors?\n\n"
    "Example: isthmus canary make emoji --texts names.txt --out canary.safetensors",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@group.command()
def make(
    rows: Subject,
    out: Annotated[Path, about("The canary's file, .safetensors or .json.")],
    images: options.Images = None,
    texts: options.Texts = None,
    ids: Annotated[str | None, about("Names of the inputs: one per line, or a JSON list.")] = None,
    again: Annotated[
        list[str] | None, about("Rows of the same inputs from another run of the same; repeatable.")
    ] = None,
    max_inputs: Annotated[int, about("Inputs kept, evenly spaced.")] = 256,
    batch_size: options.BatchSize = 64,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Keep the vectors of a few inputs, and how far they move when nothing changes.

    Example: isthmus canary make emoji --texts names.txt --out canary.safetensors
    """
    options.check_output(out, "a canary", ".safetensors", ".json")
    with options.asked(im.make_canary, locals()) as given:
        made = im.make_canary(**given)
    made.save(out)
    lines = [*made_sentences(made), f"wrote {out}"]
    show(lines, {**made.to_dict(), "out": str(out)}, as_json=json)


@group.command()
def check(
    canary: Annotated[Path, argument("CANARY", "A file of canary make.")],
    rows: Subject,
    images: options.Images = None,
    texts: options.Texts = None,
    rounding: Annotated[
        float, about("Distance of unit rows that passes; 0: only what a re-run moves.")
    ] = 3e-3,
    batch_size: options.BatchSize = 64,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Hold new vectors of the same inputs against a canary. Exit code 3: they changed.

    Example: isthmus canary check canary.safetensors onnx:exported --texts names.txt
    """
    with options.asked(im.check_canary, locals()) as given:
        found = im.check_canary(**given)
    value = {"canary": str(canary), "rows": rows, **found.to_dict()}
    show(check_sentences(found), value, as_json=json)
    if not found.passed:
        raise SystemExit(GATE_FAILED)


def made_sentences(made: Canary) -> list[str]:
    """What was kept."""
    again = (
        f"from run to run rows move by up to {made.jitter:.2g} of their length"
        if made.jitter
        else "one run alone: how far rows move when nothing changes is not known"
    )
    lines = [
        f"{len(made.ids)} of {made.total} {made.kind}, vectors of {made.vectors.shape[1]} "
        f"dimensions; {again}"
    ]
    if made.digests:
        lines.append(f"digests kept: {', '.join(sorted(made.digests))}")
    return lines


def check_sentences(found: CanaryCheck) -> list[str]:
    """Passed or not, then why."""
    state: dict[bool, str] = {True: "PASSED", False: "FAILED"}
    lines = [f"{state[found.passed]} ({found.kind}): {WORDS[found.kind]}."]
    if found.kind in ("not-finite", "zero"):
        lines.append(f"{found.flips} of {found.inputs} inputs.")
    else:
        lines.append(
            f"Rows moved by up to {found.worst:.2g} of their length (median {found.middle:.2g}; a "
            f"re-run up to {found.tolerance:.2g}); the nearest other input changed for "
            f"{found.flips} of {found.inputs}."
        )
    if found.kind == "norms":
        lines.append(f"New vectors are {found.scale:.3g} times as long.")
    if found.kind == "shift":
        lines.append(f"It is {found.shifted:.0%} of the squared movement.")
    if found.kind == "order":
        lines.append(f"{found.displaced} inputs have the vector of another one.")
    if found.kind != "same":
        short = (n if len(n) <= 40 else n[:39] + "…" for n in found.worst_inputs)
        lines.append(f"Moved most: {', '.join(short)}.")
    if found.changed_digests:
        lines.append(f"Different from when it was made: {', '.join(found.changed_digests)}.")
    return lines
