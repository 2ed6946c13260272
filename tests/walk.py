"""The files that a row's values go through, from ``isthmus audit`` to its flips in ``report.json``.

``python tests/walk.py`` prints them. A file counts where

- what its functions return changes the figure: the command runs once more for each file, and every
  array, table or number that functions of this file return about the rows is falsified. Files that
  only look at the rows (statistics, warnings, the gap) change nothing, and do not count;
- or a function of it hands the figure on: it is under way, called by the command, when the row of
  the stress table is made; or it writes ``report.json``.

The figure is the consistency of plain search under noise on candidates, which is one minus the
flips. Its row of the stress table is the first that an audit makes.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import io
import os
import struct
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, is_dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[1] / "src" / "isthmus"
ROWS = 60
"""Rows of each file: an array with an axis of as many holds something of every row."""
BEFORE = {"run", "wrapped"}
"""Functions under way that are called with names of files, and return nothing."""


class Watched(ast.NodeTransformer):
    """``return x`` becomes ``return __passed__(file, function, x)``, and ``yield x`` likewise."""

    def __init__(self, file: str) -> None:
        self.file, self.function = file, ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outside, self.function = self.function, node.name
        self.generic_visit(node)
        self.function = outside
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        return self.passed(node)

    def visit_Yield(self, node: ast.Yield) -> ast.AST:
        return self.passed(node)

    def passed(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None:
            names = [ast.Constant(self.file), ast.Constant(self.function)]
            call = ast.Call(ast.Name("__passed__", ast.Load()), [*names, node.value], [])
            node.value = ast.copy_location(call, node.value)
        return ast.fix_missing_locations(node)


class Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        path = Path(self.path)
        file = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return compile(Watched(file).visit(tree), self.path, "exec")


class Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname.split(".")[0] != "isthmus":
            return None
        spec = PathFinder.find_spec(fullname, path or [str(PACKAGE.parent)])
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(fullname, spec.loader.path)
        return spec


def falsified(value: Any, seen: Callable[[bytes], None], depth: int = 3) -> Any:
    """A copy with half of the rows in the place of the others, and numbers that are less.

    ``seen`` is told of what there was of the rows.
    """
    if isinstance(value, np.ndarray) and ROWS in value.shape:
        seen(value.tobytes())
        axis = value.shape.index(ROWS)
        moved = np.moveaxis(value.copy(), axis, 0)
        moved[: ROWS // 2] = moved[ROWS // 2 :]
        return np.moveaxis(moved, 0, axis)
    if type(value) is float:
        seen(struct.pack("d", value))
        return value * 0.9
    if depth and type(value) in (list, tuple):
        return type(value)(falsified(one, seen, depth - 1) for one in value)
    if depth and type(value) is dict:
        return {name: falsified(one, seen, depth - 1) for name, one in value.items()}
    if depth and is_dataclass(value) and not isinstance(value, type):
        same = copy(value)
        for name, one in vars(value).items():
            object.__setattr__(same, name, falsified(one, seen, depth - 1))
        return same
    return value


class Found(BaseException):
    """The figure is there, and files between the command and it; the rest says nothing of it."""


def under_way() -> list[str]:
    """Files of the package that the calls under way are of, but for those that only know names."""
    frame, found = sys._getframe(2), []
    while frame is not None:
        where = frame.f_code.co_filename
        if where.startswith(str(PACKAGE)) and frame.f_code.co_name not in BEFORE:
            found.append(Path(where).relative_to(PACKAGE).as_posix())
        frame = frame.f_back
    return found


@dataclass
class Run:
    """An audit, in which what the functions of a ``file`` return is false.

    ``seen``: file -> digest of what its functions returned of the rows, where no file is false.
    """

    file: str = ""
    seen: dict[str, Any] = field(default_factory=lambda: defaultdict(hashlib.sha256))

    def passed(self, where: str, function: str, value: Any) -> Any:
        if not self.file or where == self.file:
            other = falsified(value, self.seen[where].update)
            value = other if self.file else value
        if function == "row_of" and (value["closer"], value["side"]) == ("none", "candidates"):
            raise Found(value["consistency"], under_way())
        return value

    def figure(self, a: str, b: str) -> tuple[str, list[str]]:
        """The figure, or what went wrong; and the files between the command and it."""
        builtins.__passed__ = self.passed  # type: ignore[attr-defined]
        from isthmus.cli.app import app

        silent = io.StringIO()
        try:
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                app(["audit", a, b, "--trials", "2", "--levels", "0.05"], standalone_mode=False)
        except Found as found:
            return str(found.args[0]), found.args[1]
        except Exception as error:
            return repr(error), []
        raise AssertionError("the stress table has no such row")


def forked(task: Callable[[], str]) -> str:
    """What a task says in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, task().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


def walk() -> dict[str, str]:
    """File -> why it counts."""
    sys.meta_path.insert(0, Finder())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in "ab":
            rows = rng.standard_normal((ROWS, 7)) + 1
            np.save(f"{name}.npy", rows)
            np.save(f"{name}-other.npy", rows + 0.3 * rng.standard_normal((ROWS, 7)) - 2)
        Run().figure("a.npy", "a-other.npy")  # what is made once is made
        one, other = Run(), Run()
        figure, between = one.figure("a.npy", "a-other.npy")
        other.figure("b.npy", "b-other.npy")
        of_rows = [f for f in one.seen if one.seen[f].digest() != other.seen[f].digest()]
        found = dict.fromkeys(between, "hands on")
        for file in of_rows:
            said = forked(lambda file=file: Run(file).figure("a.npy", "a-other.npy")[0])
            if said != figure:
                found[file] = f"{figure} becomes {said}"
        from isthmus.data import write_json

        writer = Path(write_json.__code__.co_filename).relative_to(PACKAGE).as_posix()
    return found | {writer: "writes report.json"}


def main() -> None:
    found = walk()
    for file in sorted(found):
        print(f"{file:<40} {found[file]}")
    print(f"{len(found)} files")


if __name__ == "__main__":
    main()
