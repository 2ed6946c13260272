"""``import isthmus as im``: every verb on arrays and on files, every record in every form."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus as im
from isthmus.cli.app import COMMANDS
from isthmus.data.records import Record

CALLS: dict[str, Callable[..., Any]] = {
    "audit": lambda a, b: im.audit(a, b, trials=1, levels=[0.02]),
    "calibrate": lambda a, b: im.calibrate(a, b, false_match_rate=0.05),
    "check_canary": lambda a, b: im.check_canary(im.make_canary(a), b),
    "compare": lambda a, b: im.compare(a, a, b, paired=True),
    "embed": lambda a, b: im.embed("emoji", texts=["a dog"], out="embedded.npy"),
    "fit": lambda a, b: im.fit("center-queries", a, b),
    "make_canary": lambda a, b: im.make_canary(a),
    "measure": lambda a, b: im.measure(a, b),
    "mixed": lambda a, b: im.mixed(None, a, b, draws=2),
    "plan": lambda a, b: im.plan(a, b, target=0.5, codecs=["sign", "int8"], depths=[0, 5]),
    "predict": lambda a, b: im.predict(a, b, noise=0.05),
    "recommend": lambda a, b: im.recommend(a, b, perturb="sq8", closers="center-queries"),
    "retrieve": lambda a, b: im.retrieve(a, b, 3),
    "stress": lambda a, b: im.stress(a, b, perturb="sq8", closers="center-queries"),
    "verify": lambda a, b: im.verify(im.fit("mean-shift", a, b), a, b),
}
"""Verb -> a small call on two inputs, rows or files."""
MOST_BYTES = 30_000

SHOWN = {"json", "out", "page", "verbose"}
"""Options of a command that say where its result goes: a record has ``to_dict`` and ``save``."""
PYTHON_ONLY = {"progress"}
"""Arguments that no command line can give."""
OWN = {"strength", "variance", "side", "renormalise"}
"""Options of closing methods: ``fit`` takes them, as ``--option`` does, by the registry."""
SAME: dict[str, tuple[str, set[str], set[str]]] = {
    "audit": ("audit", set(), set()),
    "calibrate": ("calibrate", set(), set()),
    "check_canary": ("canary check", set(), {"digests"}),
    "compare": ("compare", set(), set()),
    "embed": ("embed", set(), set()),
    "mixed": ("mixed", set(), set()),
    "fit": ("close", {*OWN, "option"}, {"pairs", "query_rows", "options"}),
    "make_canary": ("canary make", set(), {"digests"}),
    "plan": ("plan", set(), set()),
    "recommend": ("recommend", set(), set()),
    "retrieve": ("search", set(), set()),
    "stress": ("stress", set(), set()),
}
"""Verb -> its command, what only the command has, what only the verb has. Commands without a verb:
``close`` is ``fit`` and ``verify``; ``apply`` and ``export`` are methods and functions of a closer;
``demo`` is a story about ``audit``."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[Any, Any], ...]]:
    """Two paired sides, 40 x 12 float32, as arrays and files; we are in their folder."""
    from worlds import leave_verdict_out, two_modalities

    sides = [side.astype(np.float32) for side in two_modalities(40, 12, seed=3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("rows"))
        leave_verdict_out(patch)
        for name, side in zip("ab", sides):
            np.save(f"{name}.npy", side)
        yield (sides[0], sides[1]), ("a.npy", Path("b.npy").resolve())


@pytest.fixture(scope="module")
def records(both: Any) -> dict[str, Any]:
    """What each verb returns for arrays."""
    return {verb: call(*both[0]) for verb, call in CALLS.items()}


def figures(record: Any) -> Any:
    """Its dict as JSON, without what names files, times and versions."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                k: kept(v) for k, v in value.items() if k not in {"source", "sha256", "created"}
            }
        return [kept(v) for v in value] if isinstance(value, list) else value

    return kept(json.loads(json.dumps(record.to_dict())))


def test_what_a_record_prints_of_itself_is_cut() -> None:
    @dataclass(frozen=True)
    class Long(Record):
        text: str

        def card(self) -> tuple[str, list[dict[str, Any]]]:
            return self.text, []

    assert repr(Long("two\n lines")) == "<Long: two lines>"
    assert len(repr(Long("x" * 1000))) < 320


@pytest.mark.parametrize("verb", sorted(CALLS))
def test_files_and_arrays_give_the_same_record(verb: str, both: Any, records: Any) -> None:
    assert figures(CALLS[verb](*both[1])) == figures(records[verb])


@pytest.mark.parametrize("verb", sorted(CALLS))
def test_records_come_in_every_form(verb: str, records: Any, tmp_path: Path) -> None:
    record = records[verb]
    assert isinstance(record, Record)
    table = record.to_arrow()
    assert table.num_rows == len(record.rows()) > 0
    assert len(repr(record)) < 400
    assert repr(record).startswith(f"<{type(record).__name__}: ")
    page = record._repr_html_()
    assert "<table" in page
    assert len(page.encode()) <= MOST_BYTES
    suffix = ".safetensors" if isinstance(record, im.Closer) else ".json"
    path = record.save(tmp_path / f"record{suffix}")
    if hasattr(record, "load"):
        assert figures(type(record).load(path)) == figures(record)
    else:
        assert json.loads(path.read_text()) == json.loads(json.dumps(record.to_dict()))
    pytest.importorskip("pandas")
    assert len(record.to_frame()) == table.num_rows


def test_every_verb_is_called_here() -> None:
    assert set(CALLS) == set(im._VERBS)


@pytest.mark.parametrize("verb", sorted(im._VERBS))
def test_no_verb_has_the_name_of_a_module(verb: str) -> None:
    package = Path(im.__file__).parent
    assert not (package / f"{verb}.py").exists()
    assert not list((package / verb).rglob("*.py"))  # a folder that only caches old code is none
    assert im._VERBS[verb].split(".")[-1] != verb


def test_every_name_loads() -> None:
    for name in im.__all__:
        assert getattr(im, name) is not None
    assert set(im.__all__) <= set(dir(im))
    with pytest.raises(AttributeError, match="no attribute 'gap'"):
        _ = im.gap


def test_what_loads_lazily_is_typed() -> None:
    """The imports for type checkers name the same homes as the table."""
    text = Path(im.__file__).read_text(encoding="utf-8")
    for name, home in (im._VERBS | im._NOUNS).items():
        assert f"from isthmus.{home} import {name} as {name}\n" in text
    for name, home in im._MODULES.items():
        assert getattr(im, name) is import_module(f"isthmus.{home}")


def command_of(words: str) -> Callable[..., Any]:
    """The function of a command, or of a command of a group."""
    module, _, function = words.partition(" ")
    file = import_module(f"isthmus.cli.{module}")
    return vars(file)[function or "command"]


@pytest.mark.parametrize("verb", sorted(SAME))
def test_options_have_one_name(verb: str) -> None:
    command, only_command, only_python = SAME[verb]
    options = set(inspect.signature(command_of(command)).parameters)
    arguments = set(inspect.signature(getattr(im, verb)).parameters)
    assert options - arguments - SHOWN == only_command
    assert arguments - options - PYTHON_ONLY == only_python


@pytest.mark.parametrize("verb", sorted(SAME))
def test_options_have_one_default(verb: str) -> None:
    def defaults(function: Any) -> dict[str, Any]:
        found = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in found if p.name not in {*SHOWN, *PYTHON_ONLY}}

    def written(value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, tuple) else value

    command = defaults(command_of(SAME[verb][0]))
    python = defaults(getattr(im, verb))
    shared = [n for n in command if n in python and command[n] is not inspect.Parameter.empty]
    given = [n for n in shared if python[n] is not inspect.Parameter.empty]
    assert {n: command[n] for n in given} == {n: written(python[n]) for n in given}


def test_errors_are_the_kinds_that_python_expects(both: Any) -> None:
    a, b = both[0]
    for kind, code, call in (
        (ValueError, "unknown-score", lambda: im.predict(a, b, score="hamming")),
        (ValueError, "unequal-dimensions", lambda: im.predict(a, b[:, :5])),
        (OSError, "no-such-file", lambda: im.predict(a, "nowhere.npy")),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, im.IsthmusError)
        assert caught.value.code == code
    code = (
        "import sys; sys.modules['pandas'] = None; import isthmus as im, numpy as np\n"
        "try: im.predict(np.eye(4), np.eye(4)).to_frame()\n"
        "except ImportError as missing: print(missing.code)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "missing-extra"


def test_import_is_light() -> None:
    code = "import sys, isthmus; print(sorted(m for m in sys.modules if m.startswith('isthmus')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(out.stdout) == ["isthmus", "isthmus._version", "isthmus.errors"]


def test_every_command_is_compared_or_has_no_verb() -> None:
    assert {c.split()[0] for c, _, _ in SAME.values()} | {
        "close",
        "apply",
        "export",
        "demo",
    } <= set(COMMANDS)


@pytest.mark.parametrize(
    ("listing", "name"),
    [("closers", "center-both"), ("codecs", "rabitq"), ("encoders", "emoji"), ("lab", "final-gap")],
)
def test_what_there_is_is_listed(listing: str, name: str) -> None:
    module = getattr(im, listing)
    assert name in list(module)
    assert name in repr(module)
    assert name in module._repr_html_()
