"""Export into torch models: each is saved, loaded and asked as its users do, against NumPy.

The environment is made by ``.ci/install-models``; models are small and random.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

from test_encoders_models import (  # noqa: E402, F401
    TEXTS,
    TOWER,
    clip_folder,
    open_clip_config,
    pictures,
    save,
    word_tokenizer,
)
from test_export import (  # noqa: E402
    ALL,
    CANDIDATES,
    DIM,
    NEW_CANDIDATES,
    NEW_QUERIES,
    ROLES,
    all_closers,
    answers,
    close_to,
)

from isthmus.closers.maps import AffineMap  # noqa: E402
from isthmus.deploy.export import (  # noqa: E402
    append_to_sentence_transformer,
    as_cosine,
    as_euclidean,
    as_inner_product,
    export_closer,
    fold_into_siglip,
    from_json,
    to_json,
    torch_module,
    wrap_open_clip,
)
from refusals import refused  # noqa: E402
from worlds import fitted, two_modalities  # noqa: E402

WIDE = 24  # of the small CLIP models
FITTED = all_closers(*two_modalities(120, WIDE, seed=8))


def tensor(rows: np.ndarray) -> Any:
    return torch.as_tensor(np.asarray(rows, np.float32))


# -- modules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_module_gives_the_numpy_rows_and_numbers(name: str, tmp_path: Path) -> None:
    closer = ALL[name]
    for role, rows in zip(ROLES, (NEW_QUERIES, NEW_CANDIDATES)):
        module = torch_module(closer, role)
        with torch.no_grad():
            close_to(module(tensor(rows)), closer.apply(rows, role))
            close_to(module(tensor(rows[0])), closer.apply(rows[:1], role)[0])
            if role == "candidate":
                close_to(module.candidate_bias(tensor(rows)), closer.candidate_bias(rows))
        state = module.state_dict()
        assert {values.dtype for values in state.values()} <= {torch.float32}
        torch.save(state, tmp_path / "state.pt")
        other = torch_module(from_json(to_json(closer)), role)
        for values in other.buffers():
            values.zero_()
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        torch.testing.assert_close(other(tensor(rows)), module(tensor(rows)), rtol=0, atol=0)


def test_modules_keep_gradients_half_precision_and_extreme_lengths() -> None:
    closer = ALL["centering"]
    module = torch_module(closer, "query")
    rows = tensor(NEW_QUERIES).requires_grad_()
    module(rows).sum().backward()
    assert torch.isfinite(rows.grad).all()
    half = tensor(NEW_QUERIES).half()
    assert module(half).dtype == torch.float32
    close_to(module(half), closer.apply(half.numpy(), "query"))
    for length in (1e-30, 1e30):
        close_to(module(tensor(NEW_QUERIES) * length), closer.apply(NEW_QUERIES, "query"))
    doubled = module.double()
    np.testing.assert_allclose(
        doubled(torch.as_tensor(NEW_QUERIES)), closer.apply(NEW_QUERIES, "query"), atol=1e-7
    )


@pytest.mark.parametrize("build", [as_inner_product, as_cosine, as_euclidean])
@pytest.mark.parametrize("name", ["center-queries", "center-both", "biased-shift", "span"])
def test_modules_carry_the_coordinates(name: str, build: Any) -> None:
    wide = build(ALL[name], np.concatenate([CANDIDATES, NEW_CANDIDATES]))
    for role, rows in zip(ROLES, (NEW_QUERIES, NEW_CANDIDATES)):
        module = torch_module(wide, role)
        out = module(tensor(rows))
        assert out.shape[1] == module.dim_out
        close_to(out, wide.apply(rows, role))
    assert not module.candidate_bias(tensor(NEW_CANDIDATES)).any()


def test_modules_refuse() -> None:
    with refused("unequal-dimensions", "the closer 12 dimensions"):
        torch_module(ALL["none"], "query")(torch.zeros(2, DIM + 1))
    with refused("no-bias"):
        torch_module(ALL["center-queries"], "query").candidate_bias(torch.zeros(2, DIM))
    with refused("unknown-role", "query, candidate"):
        torch_module(ALL["none"], "both")  # type: ignore[arg-type]


def test_tensors_pass_the_evening_coordinate() -> None:
    even = as_cosine(ALL["center-queries"], tensor(CANDIDATES))
    rows = even.apply(tensor(CANDIDATES), "candidate")
    assert isinstance(rows, torch.Tensor)
    close_to(rows, even.apply(CANDIDATES, "candidate"))


# -- sentence-transformers -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTED)
def test_sentence_transformers_saved_and_loaded_without_trust(
    name: str, clip_folder: Path, tmp_path: Path
) -> None:
    package = pytest.importorskip("sentence_transformers")
    closer = FITTED[name]
    model = package.SentenceTransformer(str(clip_folder), device="cpu")
    images, texts = pictures(), TEXTS
    raw_images, raw_texts = model.encode(images), model.encode(texts)
    if closer.bias_weights is not None:
        with refused("bias-has-no-place", "encode_document"):
            append_to_sentence_transformer(model, closer)
        assert len(list(model.children())) == 1
        closer = as_inner_product(closer, raw_texts)
    assert append_to_sentence_transformer(model, closer) is model
    model.save(str(tmp_path / "st"))
    files = [p for p in (tmp_path / "st").rglob("*") if p.suffix == ".py"]
    assert not files, "code was saved with the model"
    modules = json.loads((tmp_path / "st" / "modules.json").read_text())
    assert all(entry["type"].startswith("sentence_transformers.") for entry in modules)
    loaded = package.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    assert loaded.similarity_fn_name == closer.score
    close_to(loaded.encode_query(images), closer.apply(raw_images, "query"))
    close_to(loaded.encode_document(texts), closer.apply(raw_texts, "candidate"))
    close_to(loaded.encode_query(texts), closer.apply(raw_texts, "query"))
    with pytest.raises(ValueError, match="Could not determine route"):
        loaded.encode(texts)


def test_sentence_transformers_answers_are_the_closers(clip_folder: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    model = package.SentenceTransformer(str(clip_folder), device="cpu")
    raw_images, raw_texts = model.encode(pictures()), model.encode(TEXTS)
    closer = fitted("center-queries", raw_images, raw_texts)
    append_to_sentence_transformer(
        model, as_inner_product(closer, raw_texts), modalities=("image", "text")
    )
    queries, documents = model.encode(pictures()), model.encode(TEXTS)  # by what they are
    np.testing.assert_array_equal(queries, model.encode_query(pictures()))
    np.testing.assert_array_equal(documents, model.encode_document(TEXTS))
    close_to(model.encode_query(TEXTS)[:, :-1], closer.apply(raw_texts, "query"))
    found = model.similarity(queries, documents).argmax(dim=1).numpy()
    np.testing.assert_array_equal(found, answers(closer, raw_images, raw_texts))


def test_sentence_transformers_with_the_bias_apart(clip_folder: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    model = package.SentenceTransformer(str(clip_folder), device="cpu")
    raw = model.encode(TEXTS)
    closer = FITTED["center-both"]
    append_to_sentence_transformer(model, closer, bias_apart=True)
    close_to(model.encode_document(TEXTS), closer.apply(raw, "candidate"))


def test_sentence_transformers_refuses(clip_folder: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    model = package.SentenceTransformer(str(clip_folder), device="cpu")
    even = as_cosine(FITTED["center-queries"], two_modalities(120, WIDE, seed=8)[1])
    with refused("coordinate-has-no-place"):
        append_to_sentence_transformer(model, even)
    with refused("unequal-dimensions", "24 dimensions"):
        append_to_sentence_transformer(model, ALL["mean-shift"])
    with refused("unknown-modalities"):
        append_to_sentence_transformer(model, FITTED["none"], modalities=("text", "text"))
    model.truncate_dim = 8
    with refused("truncated-model", "8 dimensions"):
        append_to_sentence_transformer(model, FITTED["none"])
    model.truncate_dim = None
    append_to_sentence_transformer(model, FITTED["mean-shift"])
    with refused("closer-twice", "routes"):
        append_to_sentence_transformer(model, FITTED["mean-shift"])


def test_a_sentence_transformer_is_written(clip_folder: Path, tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    form = "sentence-transformers"
    export_closer(FITTED["coral"], to=form, out=tmp_path / "st", model=clip_folder)
    raw = package.SentenceTransformer(str(clip_folder), device="cpu").encode(TEXTS)
    loaded = package.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    close_to(loaded.encode_query(TEXTS), FITTED["coral"].apply(raw, "query"))


# -- SigLIP --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def siglip_folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    tokenizer = word_tokenizer(
        pad_token="</s>", bos_token="<s>", eos_token="<e>", unk_token="<unk>"
    )
    tokenizer.model_input_names = ["input_ids"]
    text = {**TOWER, "vocab_size": 40, "max_position_embeddings": 16, "projection_size": 32}
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "siglip":
        vision = {**TOWER, "image_size": 32, "patch_size": 8}
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
        processor = transformers.SiglipProcessor(image_processor=images, tokenizer=tokenizer)
        save(with_biases(transformers.SiglipModel(config)), processor, folder, 12.0, -9.25)
        return folder
    vision = {**TOWER, "num_patches": 16, "patch_size": 8}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    images = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    processor = transformers.Siglip2Processor(image_processor=images, tokenizer=tokenizer)
    save(with_biases(transformers.Siglip2Model(config)), processor, folder, 12.0, -9.25)
    return folder


def with_biases(model: Any) -> Any:
    """Trained heads have biases; new ones start at zero, which would hide A·b."""
    with torch.no_grad():
        model.text_model.head.bias.normal_(0, 0.3)
        model.vision_model.head.mlp.fc2.bias.normal_(0, 0.3)
    return model


def siglip_inputs(folder: Path) -> tuple[Any, Any]:
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(folder)
    images = processor.image_processor(images=pictures(), return_tensors="pt")
    texts = processor.tokenizer(
        TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )
    return images, {"input_ids": texts["input_ids"]}


def siglip_rows(model: Any, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    images, texts = siglip_inputs(folder)
    with torch.no_grad():
        return (
            model.get_image_features(**images).pooler_output.numpy(),
            model.get_text_features(**texts).pooler_output.numpy(),
        )


FOLDS = [
    "none",
    "mean-shift",
    "liang-shift",
    "centering",
    "orthogonal-shift",
    "database-shift",
    "coral",
    "standardise",
    "procrustes",
    "gaussian-ot",
]


@pytest.mark.parametrize("method", FOLDS)
def test_siglip_folds_closers_of_raw_rows(method: str, siglip_folder: Path, tmp_path: Path) -> None:
    import transformers

    model = transformers.AutoModel.from_pretrained(siglip_folder).eval()
    images, texts = siglip_rows(model, siglip_folder)
    if method in FOLDS[:6]:
        query, closer = "image", fitted(method, images, texts, normalised=False)
        maps = (closer.query, closer.candidate)
    else:  # a matrix has a place in the text head only
        query, closer = "text", fitted(method, texts, images, normalised=False)
        maps = (closer.candidate, closer.query)
        with refused("matrix-has-no-place", "image head"):
            fold_into_siglip(model, fitted(method, images, texts, normalised=False), query="image")
        np.testing.assert_array_equal(siglip_rows(model, siglip_folder)[0], images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = fold_into_siglip(model, closer, query=query)
    differ = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
    assert sorted(differ) == sorted(changed)
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModel.from_pretrained(tmp_path).eval()
    for found, side, raw in zip(siglip_rows(loaded, siglip_folder), maps, (images, texts)):
        steps = replace(side, renormalised=False)  # the model's own scores normalise
        close_to(found, steps(raw))
    if closer.score == "cosine":
        given_images, given_texts = siglip_inputs(siglip_folder)
        with torch.no_grad():
            logits = loaded(**given_images, **given_texts).logits_per_image.numpy()
        a, b = (side(raw) for side, raw in zip(maps, (images, texts)))
        a, b = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (a, b))
        np.testing.assert_allclose(logits, 12.0 * a @ b.T - 9.25, atol=2e-4)


def test_siglip_refuses_what_is_not_exact(siglip_folder: Path) -> None:
    import transformers

    model = transformers.AutoModel.from_pretrained(siglip_folder).eval()
    images, texts = siglip_rows(model, siglip_folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with refused("normalised-differs", "query rows"):
        fold_into_siglip(model, fitted("mean-shift", images, texts))
    with refused("normalised-differs", "query rows"):
        fold_into_siglip(model, fitted("realign", images, texts, normalised=False))
    with refused("bias-has-no-place", "a bias per candidate"):
        fold_into_siglip(
            model, fitted("center-queries", images, texts, normalised=False, score="dot")
        )
    bent = fitted(
        "mean-shift", images, texts, normalised=False, score="euclidean", renormalise=True
    )
    with refused("normalised-differs", "euclidean"):
        fold_into_siglip(model, bent)
    with refused("unequal-dimensions", "12 dimensions to 12, the model has 32"):
        fold_into_siglip(model, ALL["mean-shift, raw"])
    short = fitted("drop-dimensions", texts, images, normalised=False)
    short = replace(short, candidate=AffineMap(32))
    with refused("unequal-dimensions", "without dropping"):
        fold_into_siglip(model, short, query="text")
    with refused("unknown-side"):
        fold_into_siglip(model, ALL["none"], query="sound")
    with refused("wrong-model", "SiglipModel"):
        fold_into_siglip(torch.nn.Linear(2, 2), ALL["none"])
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_an_offset_behind_the_normalisation_is_no_bias_before_it(siglip_folder: Path) -> None:
    """Why unit rows are refused: folding the offset all the same gives other rows."""
    import transformers

    model = transformers.AutoModel.from_pretrained(siglip_folder).eval()
    images, texts = siglip_rows(model, siglip_folder)
    closer = fitted("mean-shift", images, texts)
    forced = replace(closer, query=replace(closer.query, normalised=False))
    fold_into_siglip(model, forced)
    found = siglip_rows(model, siglip_folder)[0]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert np.abs(found - closer.apply(images, "query")).max() > 1e-2


def test_a_siglip_is_written(siglip_folder: Path, tmp_path: Path) -> None:
    import transformers

    model = transformers.AutoModel.from_pretrained(siglip_folder).eval()
    images, texts = siglip_rows(model, siglip_folder)
    closer = fitted("mean-shift", images, texts, normalised=False)
    export_closer(closer, to="siglip", out=tmp_path / "out", model=siglip_folder)
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    found = siglip_rows(loaded, tmp_path / "out")[0]
    close_to(found, replace(closer.query, renormalised=False)(images))


# -- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sentence-transformers", "siglip"])
def test_a_kill_inside_a_librarys_save_leaves_the_old_folder(
    form: str, clip_folder: Path, siglip_folder: Path, tmp_path: Path
) -> None:
    """Killed once a part of the new files is there; the next run replaces the folder whole."""
    if form == "siglip":
        source = siglip_folder
        closer = fitted("mean-shift", *two_modalities(60, 32, seed=1), normalised=False)
    else:
        source, closer = clip_folder, FITTED["coral"]
    place = closer.save(tmp_path / "closer.safetensors")
    out = tmp_path / "out"
    program = f"""
import os, signal, torchvision_shim
from pathlib import Path
torchvision_shim.install()
from isthmus.deploy.export import export_closer
def kills(*_, **__):
    found = [p.name for p in Path({str(tmp_path)!r}).rglob("*config*") if "isthmus-" in str(p)]
    assert found, "nothing was written yet"
    os.kill(os.getpid(), signal.SIGKILL)
if {form!r} == "siglip":
    from transformers import ProcessorMixin
    ProcessorMixin.save_pretrained = kills
else:
    from isthmus.deploy.export import sbert
    import sentence_transformers
    sbert._modules(sentence_transformers).Router.save = kills
export_closer({str(place)!r}, to={form!r}, out={str(out)!r}, model={str(source)!r})
"""

    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    for old in (False, True):
        if old:
            export_closer(closer, to=form, out=out, model=source)
        before = files()
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert done.returncode == -9, done.stderr
        assert files() == before
    export_closer(place, to=form, out=out, model=source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["closer.safetensors", "out"]
    assert not [name for name, data in files().items() if b".isthmus-" in data]
    (out / "mine.txt").write_text("notes")
    with refused("not-ours", "mine.txt"):
        export_closer(place, to=form, out=out, model=source)


def test_a_save_that_fails_is_one_sentence(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("sentence_transformers")

    def fails(*_: Any) -> None:
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(package.SentenceTransformer, "save", fails)
    with refused("model-not-saved", "No space left on device"):
        export_closer(
            FITTED["coral"], to="sentence-transformers", out=tmp_path / "st", model=clip_folder
        )
    assert not list(tmp_path.iterdir())


# -- OpenCLIP ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_clip_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    open_clip = pytest.importorskip("open_clip", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("open_clip_export")
    (folder / "isthmus-export.json").write_text(json.dumps(open_clip_config(True)))
    open_clip.add_model_config(folder / "isthmus-export.json")
    return tiny_clip()


def tiny_clip(seed: int = 0) -> Any:
    import open_clip

    network = open_clip.create_model("isthmus-export").eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
        network.logit_scale.fill_(math.log(66.0))
    return network


def clip_inputs(network: Any) -> tuple[Any, Any]:
    torch.manual_seed(3)
    size = network.visual.image_size
    size = size if isinstance(size, tuple) else (size, size)
    tokens = torch.randint(1, network.vocab_size, (5, network.context_length))
    return torch.randn(6, 3, *size), tokens


@pytest.mark.parametrize("name", FITTED)
def test_open_clip_wrapped(name: str, open_clip_model: Any) -> None:
    closer = FITTED[name]
    images, tokens = clip_inputs(open_clip_model)
    for query in ("image", "text"):
        wrapped = wrap_open_clip(open_clip_model, closer, query=query).eval()
        roles = ROLES if query == "image" else ROLES[::-1]
        with torch.no_grad():
            raw = open_clip_model.encode_image(images), open_clip_model.encode_text(tokens)
            found = wrapped.encode_image(images), wrapped.encode_text(tokens)
            for rows, role, out in zip(raw, roles, found):
                close_to(out, closer.apply(rows.numpy(), role))
            side = roles.index("candidate")
            numbers = wrapped.candidate_bias((images, tokens)[side])
            close_to(numbers, closer.candidate_bias(raw[side].numpy()))
            all_out = wrapped(images, tokens)
        torch.testing.assert_close(all_out[0], found[0])
        assert float(all_out[2]) == pytest.approx(66.0, rel=1e-5)
        assert len(all_out) == 4
        assert wrapped(images)[1] is None


def test_open_clip_saves_with_the_closer_and_never_loses_it(
    open_clip_model: Any, tmp_path: Path
) -> None:
    closer = FITTED["mean-shift"]
    wrapped = wrap_open_clip(open_clip_model, closer).eval()
    torch.save(wrapped.state_dict(), tmp_path / "closed.pt")
    state = torch.load(tmp_path / "closed.pt", weights_only=True)
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: .*closing"):
        tiny_clip().load_state_dict(state)
    other = wrap_open_clip(tiny_clip(seed=1), closer).eval()
    other.load_state_dict(state)
    images, _ = clip_inputs(open_clip_model)
    with torch.no_grad():
        torch.testing.assert_close(other.encode_image(images), wrapped.encode_image(images))
    assert wrapped.context_length == open_clip_model.context_length
    with pytest.raises(AttributeError, match="nothing_of_the_sort"):
        wrapped.nothing_of_the_sort


def test_open_clip_normalises_for_cosine_only(open_clip_model: Any) -> None:
    images, _ = clip_inputs(open_clip_model)
    wrapped = wrap_open_clip(open_clip_model, FITTED["coral"])
    with torch.no_grad():
        rows = wrapped.encode_image(images, normalize=True)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(6))
    wrapped = wrap_open_clip(open_clip_model, FITTED["center-queries"])
    with refused("normalised-differs", "dot"):
        wrapped.encode_image(images, normalize=True)
    with refused("unknown-side"):
        wrap_open_clip(open_clip_model, FITTED["coral"], query="query")
