"""The commands as a person runs them: what is printed where, exit codes, files."""

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer

import isthmus as im
from commands import run
from isthmus.cli import main
from isthmus.cli.app import COMMANDS, app
from isthmus.cli.output import minute_lines
from isthmus.closers.closer import Closer


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two files of paired rows with a gap, 60 x 16, and the folder as working directory."""
    rng = np.random.default_rng(0)
    meaning = rng.standard_normal((60, 16))
    offset = np.zeros(16)
    offset[0] = 4.0
    np.save(tmp_path / "a.npy", (meaning + offset).astype(np.float32))
    b = meaning + 0.3 * rng.standard_normal((60, 16)) - offset
    np.save(tmp_path / "b.npy", b.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


AUDIT = ("audit", "a.npy", "b.npy", "--names", "pictures,captions", "--trials", "1")
CLOSE = ("close", "a.npy", "b.npy", "--out", "c.safetensors")


def test_audit_writes_both_reports_and_both_closers(pair, capsys):
    code, out, _ = run(capsys, *AUDIT, "--out", "report")
    assert code == 0
    report = json.loads((pair / "report" / "report.json").read_text())
    assert report["schema"] == 1
    assert report["inputs"]["a"]["name"] == "pictures"
    page = (pair / "report" / "report.html").read_text()
    for text in ("pictures", "isthmus apply", "a.npy"):
        assert text in page
    assert [report["inputs"][side]["source"] for side in "ab"] == ["a.npy", "b.npy"]
    for direction in report["directions"]:
        closer = Closer.load(pair / "report" / direction["recommendation"]["file"])
        assert closer.name == direction["recommendation"]["closer"]
        said = " ".join(out.split())
        flips = direction["recommendation"]["flips_before"]
        assert f"{direction['query_name']} → {direction['candidate_name']}" in said
        assert f"{flips:.1%}" in said


@pytest.mark.usefixtures("no_verdict")
def test_json_has_standard_output_to_itself(pair, capsys):
    code, out, err = run(capsys, *AUDIT, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["seed"] == 0
    assert "Wrote isthmus-report/report.html" in err


@pytest.mark.slow
@pytest.mark.usefixtures("no_verdict")
def test_same_seed_same_report(pair, capsys):
    one, two = (json.loads(run(capsys, *AUDIT, "--seed", "5", "--json")[1]) for _ in range(2))
    assert one.pop("created") <= two.pop("created")
    assert one == two


@pytest.mark.slow
@pytest.mark.usefixtures("no_verdict")
def test_shards_give_the_report_of_one_file(pair, capsys):
    a, b = np.load("a.npy"), np.load("b.npy")
    for side, rows, cuts in (("a", a, (0, 40, 60)), ("b", b, (0, 10, 55, 60))):
        (pair / side).mkdir()
        for i, (start, stop) in enumerate(pairwise(cuts)):
            np.save(pair / side / f"part_{i}.npy", rows[start:stop])
    one = json.loads(run(capsys, *AUDIT, "--json")[1])
    two = json.loads(run(capsys, "audit", "a", "b", *AUDIT[3:], "--json")[1])
    assert one["directions"][0]["clean"] == two["directions"][0]["clean"]
    assert one["gap"]["norm"] == pytest.approx(two["gap"]["norm"], rel=1e-12)
    assert one["gap"]["rmg"] == pytest.approx(two["gap"]["rmg"], rel=1e-12)


def test_close_then_apply_is_the_closer_on_the_rows(pair, capsys):
    code, out, _ = run(capsys, *CLOSE, "--method", "center-queries")
    assert code == 0
    assert "clean agreement 1.0000" in out
    assert "guarantee: exact" in out
    closer = Closer.load("c.safetensors")
    for role, rows in (("query", "a.npy"), ("candidate", "b.npy")):
        code, _, _ = run(
            capsys, "apply", "c.safetensors", rows, "--role", role, "--out", f"{role}.npy"
        )
        assert code == 0
        np.testing.assert_allclose(
            np.load(f"{role}.npy"), closer.apply(np.load(rows), role), rtol=1e-6, atol=1e-7
        )
    bias = np.load("candidate.bias.npy")
    b = np.load("b.npy").astype(float)
    unit = b / np.linalg.norm(b, axis=1, keepdims=True)
    np.testing.assert_allclose(bias, unit @ closer.bias_weights, rtol=1e-5, atol=1e-6)
    assert not (pair / "query.bias.npy").exists()


def test_apply_to_parquet_keeps_the_bias_as_a_column(pair, capsys):
    import pyarrow.parquet as pq

    run(capsys, *CLOSE)
    code, out, _ = run(
        capsys, "apply", "c.safetensors", "b.npy", "--role", "candidate", "--out", "c.parquet"
    )
    assert code == 0
    assert "c.parquet:bias" in out
    closer = Closer.load("c.safetensors")
    stored = pq.read_table("c.parquet").column("bias").to_numpy()
    np.testing.assert_allclose(stored, closer.candidate_bias(np.load("b.npy")), rtol=1e-6)


@pytest.mark.usefixtures("no_verdict")
def test_labels_make_b_the_class_texts(pair, capsys):
    np.save("labels.npy", np.arange(60) % 7)
    np.save("classes.npy", np.load("b.npy")[:7])
    code, out, _ = run(
        capsys, "audit", "a.npy", "classes.npy", "--labels", "labels.npy", "--trials", "2", "--json"
    )
    assert code == 0
    report = json.loads(out)
    assert report["inputs"]["labels"] is True
    assert report["directions"][0]["task"] == "zero-shot"
    assert report["directions"][0]["candidates"] == 7


REFUSED = [
    (("audit", "a.npy", "nowhere.npy"), "there is no file or folder 'nowhere.npy'"),
    (("audit", "a.npy", "b.npy", "--score", "manhattan"), "score 'manhattan' is unknown"),
    (("audit", "a.npy", "b.npy", "--names", "one"), "expected two different names"),
    (("audit", "a.npy", "b.npy", "--levels", "x"), "expected numbers"),
    (("audit", "a.npy", "b.npy", "--levels", "0"), "variances above 0"),
    (("audit", "a.npy", "b.npy", "--convention", "sigma"), "level convention 'sigma' is unknown"),
    (("audit", "a.npy", "b.npy", "--floor", "2"), "floor 2.0; expected at least 0 and at most 1"),
    (("audit", "a.npy", "b.npy", "--trials", "0"), "trials 0; expected at least 1"),
    (("audit", "a.npy", "short.npy", "--paired"), "row i cannot belong to row i"),
    (("audit", "a.npy", "narrow.npy"), "both sides must come from"),
    (("audit", "a.npy", "nan.npy"), "holds NaN or infinity in 2 of 60 rows"),
    (("audit", "a.npy", "zero.npy"), "has 1 zero vector"),
    (("audit", "a.npy", "b.npy", "--labels", "a.npy"), "expected"),
    ((*CLOSE, "--method", "magic"), "choose one of"),
    (("close", "a.npy", "b.npy", "--out", "c.npy"), "a closer is a .safetensors file"),
    ((*CLOSE, "--variance", "0.9"), "has no option"),
    ((*CLOSE, "--option", "rank"), "--option rank: expected NAME=VALUE, such as rank=64"),
    ((*CLOSE, "--method", "subspace", "--option", "rank=a"), "subspace got rank='a'"),
    ((*CLOSE, "--method", "subspace", "--option", "ridge=1"), "subspace has no option 'ridge'"),
    (("apply", "a.npy", "b.npy", "--role", "query", "--out", "x.npy"), "a.npy"),
    (("apply", "c.safetensors", "b.npy", "--role", "both", "--out", "x.npy"), "query, candidate"),
    (("embed", "--encoder", "emoji", "--out", "x.npy"), "either images or texts"),
    (
        ("embed", "--encoder", "emoji", "--images", ".", "--workers", "0", "--out", "x.npy"),
        "workers 0; expected at least 1",
    ),
    (("embed", "--encoder", "nonesuch", "--texts", "t.txt", "--out", "x.npy"), "nonesuch"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_refusals_are_one_sentence_and_code_1(pair, capsys, words, sentence):
    b = np.load("b.npy")
    np.save("short.npy", b[:50])
    np.save("narrow.npy", b[:, :9])
    b[[3, 8], 2] = np.nan
    np.save("nan.npy", b)
    b = np.load("b.npy")
    b[4] = 0
    np.save("zero.npy", b)
    Path("t.txt").write_text("one\ntwo\n")
    before = sorted(p.name for p in pair.iterdir())
    code, out, err = run(capsys, *words)
    assert code == 1
    assert err.startswith("isthmus: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert out == ""
    assert sorted(p.name for p in pair.iterdir()) == before


def test_bad_usage_is_code_2(pair, capsys):
    code, _, err = run(capsys, "audit", "a.npy")
    assert code == 2
    assert "Missing argument" in err
    code, _, _ = run(capsys, "nonsense")
    assert code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"Example: isthmus {command}" in " ".join(out.split())


def test_embed_texts_and_pictures(pair, capsys):
    pytest.importorskip("onnxruntime")
    from isthmus.encoders import load_encoder
    from isthmus.encoders.emoji_world import load_world

    Path("t.txt").write_text("red heart\npig\nsnowflake\n")
    embed = ("embed", "--encoder", "emoji")
    code, out, _ = run(capsys, *embed, "--texts", "t.txt", "--out", "t.npy", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 3
    direct = load_encoder("emoji").encode_texts(["red heart", "pig", "snowflake"])
    np.testing.assert_allclose(np.load("t.npy"), direct, atol=1e-5)
    Path("pictures").mkdir()
    drawn = load_world().pictures("google")[:3]
    for i, picture in enumerate(drawn):
        picture.save(f"pictures/{i}.png")
    Path("pictures/9.png").write_bytes(b"no picture")
    code, out, _ = run(capsys, *embed, "--images", "pictures", "--out", "p.npy")
    assert code == 0
    assert "1 could not be read" in out
    direct = load_encoder("emoji").encode_images(drawn)
    np.testing.assert_allclose(np.load("p.npy"), direct, atol=1e-5)
    before = Path("p.npy").read_bytes()
    words = ("--images", "pictures", "--workers", "3", "--out", "p.npy")
    assert run(capsys, *embed, *words)[0] == 0
    assert Path("p.npy").read_bytes() == before


def test_console_script_in_a_fresh_process(pair):
    """The real entry point, with nothing but the package: version, and a refusal's exit code."""
    command = [sys.executable, "-c", "from isthmus.cli import main; main()"]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, env=env)
    assert version.stdout.startswith("isthmus ")
    refused = subprocess.run(
        [*command, "audit", "a.npy", "none.npy"], capture_output=True, text=True, env=env
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("isthmus: there is no file")


@pytest.mark.slow
def test_an_encoding_without_our_signs_gets_plain_ones(pair, monkeypatch, no_verdict):
    """Arrows fall back, names that cannot be printed are escaped, and JSON stays whole."""
    words = ("audit", "a.npy", "b.npy", "--trials", "1", "--out", "o", "--names", "Bild,テ→")

    def printed(*more):
        """What comes out of terminals of Western Europe."""
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2)]
        for name, stream in zip(("stdout", "stderr"), streams):
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, "argv", ["isthmus", *words, *more])
        monkeypatch.setattr(logging.getLogger("isthmus"), "propagate", True)  # comes back after
        with contextlib.suppress(SystemExit):
            main()
        for stream in streams:
            stream.flush()
        return [stream.buffer.getvalue().decode("cp1252") for stream in streams]

    text, _ = printed()
    assert "Bild -> \\u30c6->" in text
    assert "_to_" not in text
    text, said = printed("--json")
    assert json.loads(text)["inputs"]["b"]["name"] == "テ→"
    assert "_to_" not in said


def test_progress_without_a_terminal_is_a_line_a_minute(capsys):
    times = iter([0.0, 1.0, 59.9, 60.0, 119.0, 130.0])
    say = minute_lines(lambda: next(times))
    for done in range(5):
        say("stress", done, 9)
    assert capsys.readouterr().err == "stress: 2 of 9 (60 s)\nstress: 4 of 9 (130 s)\n"


def test_help_and_import_stay_light():
    code = (
        "import sys, isthmus; from isthmus.cli import app; "
        "print([m for m in ('torch','faiss','pandas','matplotlib','plotly','scipy','pyarrow',"
        "'sklearn','PIL','onnxruntime','jinja2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.slow
def test_close_takes_every_closer_and_its_own_options(pair, capsys):
    for method in ("procrustes", "realign", "low-rank-memo", "biased-shift"):
        code, _, _ = run(capsys, *CLOSE, "--method", method)
        assert code == 0
        assert Closer.load(pair / "c.safetensors").name == method
    code, _, _ = run(capsys, *CLOSE, "--method", "subspace", "--option", "rank=3")
    assert Closer.load(pair / "c.safetensors").candidate.dim_out == 3
    facts = {}
    for noise in ("rabitq", "bins-64"):
        run(capsys, *CLOSE, "--method", "ridge-shift", "--option", f"noise={noise}")
        facts[noise] = Closer.load(pair / "c.safetensors").facts["noise"]
    assert facts["rabitq"] > 20 * facts["bins-64"] > 0


@pytest.mark.parametrize(
    ("command", "name", "old"),
    [
        ("stress", "--targets", "--sides"),
        ("recommend", "--targets", "--side"),
        ("recommend", "--levels", "--level"),
        ("recommend", "--fit-share", "--share"),
        ("recommend", "--floats-per-candidate", "--beside"),
        ("close", "--normalised", "--normalise"),
    ],
)
def test_old_spellings_of_options_stay(command, name, old):
    options = typer.main.get_command(app).commands[command].params
    assert any({name, old} <= set(option.opts) for option in options)


def test_a_saved_calibration_decides_and_a_pool_closer_is_exported(pair, capsys):
    assert (
        run(capsys, "calibrate", "a.npy", "b.npy", "--false-match-rate", "0.1", "--out", "m.json")[
            0
        ]
        == 0
    )
    code, out, _ = run(capsys, "decide", "m.json", "a.npy", "b.npy", "--out", "d.json")
    expected = im.Calibration.load("m.json").decide("a.npy", "b.npy")
    assert code == 0
    assert f"{int(expected.match.sum())} of 60 queries have a match" in out
    assert json.loads(Path("d.json").read_text()) == expected.to_dict()
    assert run(capsys, "decide", "m.json", "a.npy", "b.npy", "--kind", "x", "--kinds", "y")[0] == 1
    moments = {name: im.Moments.of(np.load(f"{name}.npy")) for name in "ab"}
    im.PoolCloser.of(moments, normalised=False).save("pool.safetensors")
    assert run(capsys, "export", "pool.safetensors", "--to", "json", "--out", "pool.json")[0] == 0
    assert im.PoolCloser.load("pool.json").means == pytest.approx(
        im.PoolCloser.load("pool.safetensors").means
    )
    code, _, err = run(capsys, "export", "pool.json", "--to", "torch", "--out", "p.pt")
    assert code == 1
    assert "pool is exported as closer or json" in err


@pytest.mark.usefixtures("no_verdict")
def test_a_report_of_other_inputs_is_said_to_be_replaced(pair, capsys):
    for name in ("a.npy", "b.npy"):
        np.save(name, np.load(name)[:30])
    run(capsys, *AUDIT, "--out", "r")
    np.save("copy.npy", np.load("a.npy"))  # another name, the same rows
    assert "Replaced" not in run(capsys, "audit", "copy.npy", *AUDIT[2:], "--out", "r")[1]
    np.save("copy.npy", np.load("a.npy")[::-1])
    swapped = run(capsys, "audit", "copy.npy", *AUDIT[2:], "--unpaired", "--out", "r")[1]
    assert "Replaced the report of other inputs there: copy.npy and b.npy." in swapped
    Path("r/report.json").write_text("{")
    assert "Replaced" not in run(capsys, *AUDIT, "--out", "r")[1]


@pytest.mark.parametrize(
    ("words", "work"),
    [
        ("audit a.npy b.npy --out a.npy/report", "audit"),
        ("plan a.npy b.npy --out a.npy/plan.json", "plan"),
        ("calibrate a.npy b.npy --out a.npy/match.json", "calibrate"),
        ("close a.npy b.npy --out a.npy/closer.safetensors", "fit"),
        ("recommend a.npy b.npy --out a.npy/closer.safetensors", "recommend"),
        ("mixed a.npy b.npy --out a.npy/pool.json", "mixed"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    pair, capsys, monkeypatch, words, work
):
    def worked(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr(im, work, worked)
    code, _, err = run(capsys, *words.split())
    assert (code, err.count("\n")) == (1, 1)
    assert "could not be written (Not a directory)" in err


def test_tables_say_what_a_gain_is_against_and_do_not_show_a_law_twice(
    files_wide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 columns, a legend under the table, and no prediction beside a number by that law."""
    asked = "images.npy captions.npy --closers none,center-both --levels 0.02"
    code, out, _ = run(capsys, "stress", *asked.split(), "--perturb", "gaussian,sq8")
    assert code == 0
    table = [line for line in out.splitlines() if line.startswith(("closer ", "none", "center-"))]
    assert max(map(len, table)) <= 80
    assert "plain search by the same score" in out
    by_law = [line for line in out.splitlines() if "by law" in line]
    assert by_law == [line for line in out.splitlines() if "gaussian 0.02" in line]
    assert all(re.search(r" (0|1)\.\d{3} by law ", line) for line in by_law)
    code, out, _ = run(capsys, "recommend", *asked.split())
    assert code == 0
    (first,) = [line for line in out.splitlines() if line.startswith((">1", " 1"))]
    assert re.search(r"\d% by law ", first)
    code, out, _ = run(capsys, *["mixed", "images.npy", "captions.npy"])
    assert code == 0
    (head,) = [line for line in out.splitlines() if line.startswith("closing")]
    assert head.endswith("kept image   text")
