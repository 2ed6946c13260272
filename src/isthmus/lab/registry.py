"""Every experiment by its name: a sentence, and the function that gives its rows and figures."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from isthmus.core.checks import one_of
from isthmus.core.progress import Progress, quiet
from isthmus.core.registry import Registry
from isthmus.data.atomic import atomic_path
from isthmus.data.file_errors import os_errors
from isthmus.data.records import Record
from isthmus.errors import OptionError
from isthmus.report.axes import draw
from isthmus.report.charts import Chart


@dataclass(frozen=True, eq=False)
class Findings(Record):
    """What an experiment found.

    Attributes:
        name: of the experiment. words: the sentence that it is about. seed: of everything random.
        table: one flat dict per row, measured beside predicted; where rows have a ``part``, each
            part is a table. figures: name -> chart. notes: sentences that the numbers alone do not
            say. summary: rows that stand for a long table on a screen; none: the table is short.
    """

    name: str
    words: str
    seed: int
    table: Sequence[dict[str, Any]]
    figures: dict[str, Chart] = field(default_factory=dict)
    notes: Sequence[str] = ()
    summary: Sequence[dict[str, Any]] = ()

    def rows(self) -> list[dict[str, Any]]:
        """The table."""
        return [dict(row) for row in self.table]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        return self.words, [dict(row) for row in self.summary or self.table]

    def plot(self, *figures: str, axes: Any = None) -> list[Any]:
        """Figures by name, or all, on matplotlib axes side by side.

        Raises:
            MissingExtra: matplotlib is not installed. OptionError: it has no such figure.
        """
        for figure in figures:
            one_of(figure, self.figures, "figure")
        return draw([self.figures[figure] for figure in figures or self.figures], axes)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write NAME.csv (or a NAME-PART.csv per part) and one NAME-FIGURE.svg per figure.

        Returns:
            The paths, in this order.

        Raises:
            FileError: a file cannot be written.
        """
        written = []
        for part in dict.fromkeys(row.get("part") for row in self.table):
            rows = [row for row in self.table if row.get("part") == part]
            written.append(Path(folder) / f"{self.name}{'' if part is None else f'-{part}'}.csv")
            _write_csv(written[-1], rows)
        for figure, chart in self.figures.items():
            path = Path(folder) / f"{self.name}-{figure}.svg"
            with atomic_path(path) as temporary, os_errors(path, "written"):
                temporary.write_text(chart.to_svg(), encoding="utf-8", newline="\n")
            written.append(path)
        return written


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (
        atomic_path(path) as temporary,
        os_errors(path, "written"),
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        name: lower case with hyphens. words: one sentence that says what it shows. home:
            "module:function", loaded when it is run, so that listing costs nothing; the function
            takes (seed, progress), and its own ``options`` by name, and returns (rows, figures by
            name, notes) and perhaps a summary.
    """

    name: str
    words: str
    home: str
    options: tuple[str, ...] = ()

    def run(self, *, seed: int = 0, progress: Progress = quiet, **options: Any) -> Findings:
        """Run it. Cost: seconds to a minute on one core, unless its sentence says otherwise.

        Raises:
            OptionError: an option that it does not have. Others: what its options say.
        """
        for name in options:
            if name not in self.options:
                own = ", ".join(self.options) or "none"
                text = f"{self.name} has no option '{name}'; its options are: {own}"
                raise OptionError("unknown-option", text)
        module, function = self.home.split(":")
        found = getattr(import_module(module), function)(seed, progress, **options)
        return Findings(self.name, self.words, seed, *found)


EXPERIMENTS: Registry[Experiment] = Registry("experiment", group="isthmus.lab", kind=Experiment)
"""Experiment by name, in the order in which a newcomer asks."""

for _name, _words, _home in (
    (
        "gradients",
        "Are the gradients exact? Against finite differences, and autograd where torch is there.",
        "checks:gradient_errors",
    ),
    (
        "causes",
        "Initialisation, temperature, data, training, loss: one thing changed at a time.",
        "practice:causes",
    ),
    (
        "orthogonal-part",
        "What no gradient reaches is kept, but by Adam and weight decay (D1 to D3).",
        "orthogonal:orthogonal_part",
    ),
    (
        "threshold",
        "Above G² = τ variance along the gap dies out, below it grows (D5 to D7, Theorem 3.1).",
        "laws:threshold",
    ),
    (
        "final-gap",
        "The gap at the start, less what varies along it: the final gap beside its law (D8).",
        "laws:final_gap",
    ),
    (
        "isotropic-start",
        "A gap needs two clusters, not a collapsed start (Theorem 3.2).",
        "starts:isotropic_start",
    ),
    (
        "doubly-stochastic",
        "Coordinates along the gap become the potentials that balance the softmaxes (2.1.5).",
        "starts:doubly_stochastic",
    ),
    (
        "temperature-law",
        "With a learned temperature the gap is an exact power of it (D4).",
        "orthogonal:temperature_law",
    ),
    (
        "sigmoid-law",
        "With the sigmoid loss the bias moves the gap; with InfoNCE nothing does.",
        "practice:sigmoid_law",
    ),
    (
        "optimisers",
        "How far momentum, Adam and weight decay take the final gap from its law.",
        "practice:optimisers",
    ),
    (
        "sphere",
        "Mismatched pairs at a low temperature make the loss prefer a gap (Liang et al. 2022).",
        "toys:sphere",
    ),
    (
        "divergence",
        "The large-batch loss drives two modalities apart, not one (Cai et al. 2026).",
        "toys:divergence",
    ),
    (
        "gap-robustness",
        "Trainings that differ in the gap alone: answers lost to noise (Theorems 3.4 and A).",
        "harm:gap_robustness",
    ),
    (
        "monitor",
        "Faults planted in emoji trainings, and what the monitor says of them. Kept trainings.",
        "monitor.planted:monitor",
    ),
    (
        "referee",
        "Does the size of a gap predict retrieval, flips, mixed search, clusters? Kept trainings.",
        "referee:referee",
    ),
    (
        "closing",
        "Is a gap better closed in training or afterwards? The same kept trainings.",
        "referee:closing",
    ),
):
    EXPERIMENTS.register(_name, Experiment(_name, _words, f"isthmus.lab.{_home}"))

# it walks through encoders, closers, stress and theory, which stand above; loaded when it is run
EXPERIMENTS.register(
    "paper",
    Experiment(
        "paper",
        "The base paper's tables and figures for your model and data, or for the emoji world.",
        "isthmus.workflows.paper.reproduced:paper",
        (
            *("encoder", "images", "labels", "classes", "texts", "questions"),
            *(
                "queries",
                "candidates",
                "rephrased",
                "strengths",
                "trials",
                "max_queries",
                "fit_share",
            ),
        ),
    ),
)
