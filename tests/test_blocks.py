"""Every block of code, command and output in the pages runs, or says here why it does not.

A block of output is what the command before it prints, or the one in its mark ``<!-- printed on
DATA: COMMAND -->``, or in the same block below ``$ COMMAND``; on COCO where nothing else is said.
Python blocks that are marked ``runnable`` and that a page's own tests run (``run_blocks``) are left
to these.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer

import commands
from isthmus.cli.app import app
from test_docs import DOCS, PAGES, ROOT
from worlds import two_modalities

NOT_RUN = {
    (
        "encoders",
        'import isthmus as im*"transformers:',
    ): "a Transformers model; tests marked torch build one",
    ("export", "from isthmus.deploy.export import append_to_sentence"): "torch; test_export_torch",
    ("losses", "from isthmus.lab.losses"): "torch; test_losses",
    ("monitor", "from isthmus.lab.monitor"): "torch and your training; examples/monitor_torch.py",
    ("stores", "*"): "a store's client or server; tests marked stores run a block of each",
    ("engines", "*"): "a cluster of Dask or Ray; tests marked engines start one",
    ("harnesses", "*"): "mteb, LangChain and others; tests marked torch make the same calls",
    ("*", "isthmus * *://*"): "a server; tests marked stores start one",
    ("deploy", 'isthmus deploy closer.safetensors "'): "a store's client; tests marked stores",
    ("deploy", "ALTER TABLE"): "a PostgreSQL server; tests marked stores",
    ("lab", "isthmus lab paper"): "minutes, or models; it runs as the notebook and in python.md",
    ("perturbations", "from PIL import"): "the extra corruptions; tests marked so",
    ("canary", "$ isthmus canary make"): "digests of one machine; test_canary",
    ("canary", "# .github"): "another repository's workflow",
    ("recommend", "$ isthmus recommend texts.npy"): "video; test_advise",
}
"""(page, how the block or line begins) -> why nothing runs it here."""
PROGRAM = re.compile(r"(isthmus|make|python|ISTHMUS_REAL_DATA=\S+ python) ")
FENCE = re.compile(r"^(?:<!-- ([^>]*) -->\n)?```([a-z]*)\n(.*?)^```$", re.M | re.S)
NUMBERS = re.compile(r"\d+\.\d+")


class Block(NamedTuple):
    page: str
    mark: str
    lang: str
    text: str

    @property
    def kind(self) -> str:
        if self.lang in ("python", "json", "toml", "yaml", "sql"):
            return self.lang
        if self.text.startswith("$ "):
            return "session"
        typed = self.lang == "console" or PROGRAM.match(self.text)
        return "commands" if typed else "printed"

    def reason(self, line: str = "") -> str | None:
        """Why the block, or one of its lines, is not run."""
        text = line or self.text
        for (page, start), why in NOT_RUN.items():
            if page in (self.page, "*") and matches(start, text):
                return why
        return None


def matches(start: str, text: str) -> bool:
    pattern = "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", start))
    return re.match(pattern, text, re.S) is not None


def blocks_of(page: str) -> Iterator[Block]:
    """Fenced blocks, and indented lines that are commands."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for mark, lang, body in FENCE.findall(text):
        yield Block(page, mark, lang, body)
    for lines in re.findall(r"(?:^    .+\n)+", FENCE.sub("", text), re.M):
        body = re.sub(r"^    ", "", lines, flags=re.M)
        if PROGRAM.match(body):
            yield Block(page, "", "", body)


NAMES = tuple(name for name in (*PAGES, "../README", "../CONTRIBUTING") if name != "index")
BLOCKS = [block for name in NAMES for block in blocks_of(name)]
TESTS = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.rglob("test_*.py"))
CLAIMED = {
    *re.findall(r'run_blocks\("([\w/-]+)"\)', TESTS),
    *re.findall(r'docs\W+([\w-]+)\.md"', TESTS),
}
"""Pages whose marked blocks are run by tests of their own, which look at what comes out."""


def lines_of(block: Block) -> list[str]:
    """Commands of a block, continued lines joined, comments taken off."""
    joined = block.text.replace("\\\n", " ")
    return [re.sub(r"\s+# .*", "", line) for line in joined.splitlines() if PROGRAM.match(line)]


def test_every_block_runs_or_says_why() -> None:
    counts: dict[str, int] = {}
    left: list[str] = []
    for block in BLOCKS:
        counts[block.kind] = counts.get(block.kind, 0) + 1
        whole = [block.reason()] if block.kind != "commands" else []
        reasons = whole or [block.reason(line) for line in block.text.splitlines()]
        begins = block.text.splitlines()[0][:50]
        left += [f"{block.page}: {begins} ({why})" for why in reasons if why]
    print(counts, "not run:", *left, sep="\n")
    assert len(NOT_RUN) <= 15
    unused = [
        key
        for key in NOT_RUN
        if not any(
            key[0] in (block.page, "*") and matches(key[1], line)
            for block in BLOCKS
            for line in (block.text, *block.text.splitlines())
            if line
        )
    ]
    assert unused == []


def test_commands_in_sentences_have_these_options() -> None:
    """Options that a page names in ``isthmus …`` are options of that command."""
    known = typer.main.get_command(app)
    wrong, count = [], 0
    for page in NAMES:
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        for said in re.findall(r"`(isthmus [a-z][^`]*)`", FENCE.sub("", text)):
            command, words = known, said.split()[1:]
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            asked = {word.partition("=")[0] for word in words if word.startswith("--")}
            count += 1
            if command is known or asked - options - {"--help"}:
                wrong.append(f"{page}: {said}")
    assert count > 50
    assert wrong == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files by the names that the pages use: 40 pairs in 16 dimensions, made up."""
    monkeypatch.chdir(tmp_path)
    images, captions = (r.astype(np.float32) for r in two_modalities(40, 16, seed=5))
    pairs = "query,candidate\n" + "".join(f"{i},{i}\n" for i in range(40))
    for name in ("images", "new", "images-int8", "videos", "gallery", "candidates", "jpeg"):
        np.save(f"{name}.npy", images)
    for name in ("captions", "captions-int8", "texts", "questions", "queries", "names", "typos"):
        np.save(f"{name}.npy", captions)
    np.save("pictures.npy", images)
    np.save("classes.npy", captions[:4])
    np.save("labels.npy", np.arange(40) % 4)
    for name in ("pairs", "right_images", "right_texts"):
        Path(f"{name}.csv").write_text(pairs)
    Path("gallery").mkdir()
    np.save("gallery/0.npy", images)
    from isthmus import fit

    fit("center-queries", captions, images).save("closer.safetensors")
    return tmp_path


WITH_COMMANDS = sorted({block.page for block in BLOCKS if block.kind == "commands"})


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_run(page: str, folder: Path, capsys: Any, no_verdict: None) -> None:
    for block in BLOCKS:
        if block.page != page or block.kind != "commands":
            continue
        for line in lines_of(block):
            if block.reason(line):
                continue
            words = shlex.split(line)
            if words[0] == "isthmus":
                code, _, err = commands.run(capsys, *words[1:])
                assert code in (0, 3), f"{line}: {err}"
            elif words[0] == "make":
                assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), line
            else:  # benchmarks and trainings: minutes to hours, but they are there
                words = words[words.index("python") + 1 :]
                name = words[1].replace(".", "/") if words[0] == "-m" else words[0]
                places = [ROOT / name, ROOT / f"{name}.py", ROOT / name / "__main__.py"]
                assert any(place.is_file() for place in places), line


WITH_PYTHON = sorted(
    {
        block.page
        for block in BLOCKS
        if block.kind == "python"
        and not block.reason()
        and not (block.page in CLAIMED and "runnable" in block.mark)
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_runs(page: str, folder: Path) -> None:
    for package in ("onnxruntime", "matplotlib", "pandas", "PIL"):
        pytest.importorskip(package)
    from PIL import Image

    for name in ("dog.png", "photos/1.png", "photos/2.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), "brown").save(name)
    Path("captions.txt").write_text("a dog\na cat\n")
    names: dict[str, Any] = {}
    for block in BLOCKS:
        mine = block.page == page and block.kind == "python" and not block.reason()
        if mine and not (page in CLAIMED and "runnable" in block.mark):
            exec(compile(block.text, f"{page}.md", "exec"), names)


@pytest.mark.parametrize("lang", ["json", "toml"])
def test_data_can_be_read(lang: str) -> None:
    read = {"json": json.loads, "toml": tomllib.loads}[lang]
    found = [read(block.text) for block in BLOCKS if block.kind == lang]
    assert found
    assert all(found)


def sessions() -> Iterator[tuple[str, str, str, str]]:
    """(page, data, command, what is printed) of every block of output."""
    command = ""
    for block in BLOCKS:
        if block.kind == "commands":
            command = (lines_of(block) or [command])[-1]
        elif block.kind == "printed" and not block.reason():
            mark = re.fullmatch(r"printed on (\w+): (.+)", block.mark)
            yield block.page, *(mark.groups() if mark else ("COCO", command)), block.text
        elif block.kind == "session" and not block.reason():
            for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
                asked, _, text = part.partition("\n")
                yield block.page, "COCO", asked, text


PRINTED = list(sessions())


def same_but_for_rounding(said: str, printed: str) -> bool:
    """Whether words are the same and numbers within 0.002 or 2 %; ``…`` stands for anything."""
    words = [re.escape(NUMBERS.sub("#", " ".join(part.split()))) for part in said.split("…")]
    plain, numbers = " ".join(printed.split()), NUMBERS.findall(" ".join(said.split()))
    found = re.search(".*?".join(f"({word})" for word in words), NUMBERS.sub("#", plain), re.S)
    if found is None:
        return False
    now: list[str] = []
    every = NUMBERS.findall(plain)
    for group in range(1, len(words) + 1):
        before = found.string[: found.start(group)].count("#")
        now += every[before : before + found[group].count("#")]
    values = np.array([now, numbers], float)
    return bool(np.allclose(*values, rtol=0.02, atol=0.002))


ASKED: dict[str, str] = {}
"""What a command printed: several pages show parts of it."""


def ask(command: str, page: str, capsys: Any) -> str:
    """What a command, or the Python blocks of a page, print."""
    if command in ASKED:
        return ASKED[command]
    if command == "the blocks above":
        out = io.StringIO()
        with redirect_stdout(out):
            names: dict[str, Any] = {}
            for block in BLOCKS:
                if block.page == page and "runnable" in block.mark:
                    exec(compile(block.text, f"{page}.md", "exec"), names)
        return out.getvalue()
    code, out, err = commands.run(capsys, *shlex.split(command)[1:])
    assert code in (0, 3), err
    ASKED[command] = out
    return out


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "command", "said"),
    [(page, command, said) for page, data, command, said in PRINTED if data == "COCO"],
)
def test_what_is_printed_on_coco(
    page: str,
    command: str,
    said: str,
    coco: np.ndarray,
    tmp_path: Path,
    monkeypatch: Any,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    images, captions = (rows.astype(np.float32) for rows in coco)
    np.save("images.npy", images)
    np.save("captions.npy", captions)
    if "sq4" in command:
        from isthmus import codecs

        np.save("images-sq4.npy", codecs.fit_codec("sq4", images[::2]).through(images))
    printed = ask(command, page, capsys)
    assert same_but_for_rounding(said, printed), printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"), [(command, said) for _, data, command, said in PRINTED if data == "emoji"]
)
def test_what_is_printed_on_emoji(
    command: str, said: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    printed = ask(command, "", capsys)
    assert same_but_for_rounding(said, printed), printed


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [
        ("a 1.00\nb", "x a  1.01 b y", True),
        ("a 1.00", "a 1.10", False),
        ("a … c 2.0", "z 9.9 a 7.5 b c 2.001", True),
        ("a 1.0", "b 1.0", False),
    ],
)
def test_the_comparison_can_fail(said: str, printed: str, same: bool) -> None:
    assert same_but_for_rounding(said, printed) == same
