"""The adapters on the real libraries, with small random models saved and loaded as users do.

Every row must equal what the library's own call gives for the same input, whatever the batch.
The environment is made by ``.ci/install-models``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

try:
    import torchvision_shim

    torchvision_shim.install()
except ImportError:  # transformers and sentence-transformers work without torchvision
    pass

from isthmus.encoders import Encoder, load_encoder  # noqa: E402
from isthmus.encoders.embedding import embed  # noqa: E402
from refusals import refused  # noqa: E402

WORDS = ["a", "photo", "of", "the", "red", "green", "blue", "cat", "dog", "bird", "in", "tree"]
TEXTS = [
    "a photo of the red cat",
    "dog",
    "",
    "the small green bird in the tree on the large blue house",
    "unheard words, too",
    "a photo of " * 40,
    "bird dog cat",
]
BATCHES = [1, 3, 100]
TOLERANCE = 1e-5


def pictures() -> list[Any]:
    """Seven RGB pictures of different sizes and shapes, all of noise and colour."""
    rng = np.random.default_rng(3)
    sizes = [(32, 32), (64, 48), (48, 64), (20, 90), (100, 30), (33, 35), (224, 224)]
    made = []
    for width, height in sizes:
        pixels = rng.integers(0, 256, (height, width, 3)) * 0.5 + rng.integers(0, 128, 3)
        made.append(Image.fromarray(pixels.astype(np.uint8)))
    return made


def check(
    encode: Callable[..., np.ndarray], inputs: list[Any], direct: Callable[[list[Any]], Any]
) -> np.ndarray:
    """Rows of every batch size equal the library's call on all inputs and on each alone.

    Images are opened and prepared by two to four workers, whatever the machine's cores.
    """
    with torch.no_grad():
        together = np.asarray(direct(inputs))
        alone = np.concatenate([np.asarray(direct([item])) for item in inputs])
    assert np.ptp(together, axis=0).max() > 1e-3, "the model does not tell the inputs apart"
    for workers, size in enumerate(BATCHES, start=2):
        encode.__self__.workers = workers  # the encoder whose method it is
        rows = encode(inputs, batch_size=size)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, together, atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(rows, alone, atol=TOLERANCE, rtol=0)
    return together


def word_tokenizer(**special: str) -> Any:
    """A word-level tokenizer over ``WORDS``, wrapped for Transformers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [special[key] for key in ("pad_token", "bos_token", "eos_token", "unk_token")]
    vocabulary = {word: index for index, word in enumerate([*names, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{special['bos_token']} $A {special['eos_token']}",
        special_tokens=[(name, vocabulary[name]) for name in names[1:3]],
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def clip_tokenizer() -> Any:
    """CLIP's own tokenizer, with byte pairs learnt from ``WORDS``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    inner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([*WORDS, "photo of"] * 3, trainer)
    model = json.loads(inner.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(symbol, len(vocabulary))
        vocabulary.setdefault(f"{symbol}</w>", len(vocabulary))
    for name in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary.setdefault(name, len(vocabulary))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=20)


TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}


def save(network: Any, processor: Any, folder: Path, scale: float, bias: float | None) -> None:
    """Larger weights than at initialisation, so that inputs differ in their rows; then save."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
        for name in ("logit_scale", "logit_scale_t", "logit_scale_a"):
            if hasattr(network, name):
                getattr(network, name).fill_(math.log(scale))
        if bias is not None:
            network.logit_bias.fill_(bias)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


# -- transformers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    tokenizer = clip_tokenizer()
    text = {
        **TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 20,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**TOWER, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    folder = tmp_path_factory.mktemp("clip")
    processor = transformers.CLIPProcessor(image_processor=images, tokenizer=tokenizer)
    save(transformers.CLIPModel(config), processor, folder, 37.5, None)
    return folder


def test_transformers_clip(clip_folder: Path) -> None:
    import transformers

    encoder = load_encoder(f"transformers:{clip_folder}")
    assert (encoder.name, encoder.dim) == (f"transformers:{clip_folder}", 24)
    assert encoder.logit_scale == pytest.approx(37.5, rel=1e-6)
    assert encoder.bias is None
    network = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    processor = transformers.CLIPProcessor.from_pretrained(clip_folder)

    def images(batch: list[Any]) -> Any:
        return network.get_image_features(
            **processor(images=batch, return_tensors="pt")
        ).pooler_output

    def texts(batch: list[str]) -> Any:
        inputs = processor(
            text=batch, padding=True, truncation=True, max_length=20, return_tensors="pt"
        )
        return network.get_text_features(**inputs).pooler_output

    rows = check(encoder.encode_images, pictures(), images)
    assert np.ptp(np.linalg.norm(rows, axis=1)) > 1e-3  # raw, not normalised
    check(encoder.encode_texts, TEXTS, texts)

    with torch.no_grad():  # the logits of the model itself, from the rows and the scale
        both = processor(
            text=TEXTS[:3], images=pictures(), padding=True, truncation=True, return_tensors="pt"
        )
        logits = network(**both).logits_per_image.numpy()
    a, b = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS[:3])
    cosine = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    assert encoder.logit_scale is not None
    np.testing.assert_allclose(cosine * encoder.logit_scale, logits, atol=1e-4)


def test_transformers_siglip(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = word_tokenizer(
        pad_token="</s>", bos_token="<s>", eos_token="<e>", unk_token="<unk>"
    )
    tokenizer.model_input_names = ["input_ids"]
    text = {**TOWER, "vocab_size": 40, "max_position_embeddings": 16, "projection_size": 32}
    vision = {**TOWER, "image_size": 32, "patch_size": 8}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    processor = transformers.SiglipProcessor(image_processor=images, tokenizer=tokenizer)
    save(transformers.SiglipModel(config), processor, tmp_path, 12.0, -9.25)

    encoder = load_encoder(f"transformers:{tmp_path}")
    assert encoder.dim == 32
    assert encoder.logit_scale == pytest.approx(12.0, rel=1e-6)
    assert encoder.bias == pytest.approx(-9.25)
    network = transformers.SiglipModel.from_pretrained(tmp_path).eval()
    processor = transformers.SiglipProcessor.from_pretrained(tmp_path)

    def direct_images(batch: list[Any]) -> Any:
        return network.get_image_features(
            **processor(images=batch, return_tensors="pt")
        ).pooler_output

    def direct_texts(batch: list[str]) -> Any:
        inputs = processor(
            text=batch, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
        )
        return network.get_text_features(**inputs).pooler_output

    check(encoder.encode_images, pictures(), direct_images)
    check(encoder.encode_texts, TEXTS, direct_texts)


def test_transformers_siglip2(tmp_path: Path) -> None:
    """The variant with native resolutions: pictures of any shape become up to 16 patches."""
    transformers = pytest.importorskip("transformers")
    tokenizer = word_tokenizer(
        pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.model_input_names = ["input_ids"]
    text = {**TOWER, "vocab_size": 40, "max_position_embeddings": 64, "projection_size": 32}
    vision = {**TOWER, "num_patches": 16, "patch_size": 8}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    images = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    processor = transformers.Siglip2Processor(image_processor=images, tokenizer=tokenizer)
    save(transformers.Siglip2Model(config), processor, tmp_path, 50.0, -11.0)

    encoder = load_encoder(f"transformers:{tmp_path}")
    assert encoder.dim == 32
    assert encoder.logit_scale == pytest.approx(50.0, rel=1e-6)
    assert encoder.bias == pytest.approx(-11.0)
    network = transformers.Siglip2Model.from_pretrained(tmp_path).eval()
    saved = transformers.AutoProcessor.from_pretrained(tmp_path)

    def direct_images(batch: list[Any]) -> Any:
        inputs = saved.image_processor(images=batch, return_tensors="pt")
        return network.get_image_features(**inputs).pooler_output

    def direct_texts(batch: list[str]) -> Any:
        inputs = saved(text=batch, return_tensors="pt")  # its own defaults: padded to 64, cut
        return network.get_text_features(**inputs).pooler_output

    check(encoder.encode_images, pictures(), direct_images)
    check(encoder.encode_texts, TEXTS, direct_texts)


@pytest.mark.parametrize("fusion", [False, True])
def test_transformers_clap(tmp_path: Path, fusion: bool) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = word_tokenizer(
        bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    pad = tokenizer.pad_token_id
    text = {**TOWER, "vocab_size": 40, "max_position_embeddings": 34, "pad_token_id": pad}
    audio = {
        "window_size": 8,
        "num_mel_bins": 64,
        "spec_size": 256,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "hidden_size": 64,
        "patch_embeds_hidden_size": 16,
        "depths": [1, 1, 1],
        "num_attention_heads": [2, 2, 2],
        "projection_dim": 24,
        "enable_fusion": fusion,
        "aff_block_r": 2,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=16000,
        max_length_s=1,
        hop_length=160,
        fft_window_size=400,
        frequency_max=8000,
        truncation="fusion" if fusion else "rand_trunc",
    )
    processor = transformers.ClapProcessor(feature_extractor=extractor, tokenizer=tokenizer)
    save(transformers.ClapModel(config), processor, tmp_path, 14.0, None)

    encoder = load_encoder(f"transformers:{tmp_path}")
    assert encoder.dim == 24
    assert encoder.logit_scale == pytest.approx(14.0, rel=1e-6)
    network = transformers.ClapModel.from_pretrained(tmp_path).eval()
    saved = transformers.ClapProcessor.from_pretrained(tmp_path)

    def direct_texts(batch: list[str]) -> Any:
        longest = 34 - pad - 1
        inputs = saved.tokenizer(
            batch, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        return network.get_text_features(**inputs).pooler_output

    def direct_audio(batch: list[Any]) -> Any:
        sounds = [samples for samples, _ in batch]
        inputs = saved.feature_extractor(sounds, sampling_rate=16000, return_tensors="pt")
        inputs["is_longer"] = torch.zeros((len(batch), 1), dtype=torch.bool)
        return network.get_audio_features(**inputs).pooler_output

    rng = np.random.default_rng(0)
    time = np.arange(16000) / 16000
    sounds = [
        ((np.sin(2 * np.pi * pitch * time[:length]) * loud).astype(np.float32), 16000)
        for pitch, length, loud in [(220, 16000, 0.5), (440, 9000, 0.1), (3000, 4000, 0.9)]
    ]
    sounds += [(rng.normal(0, 0.2, 12000).astype(np.float32), 16000)]
    rows = check(encoder.encode_audio, sounds, direct_audio)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)  # by the library
    check(encoder.encode_texts, TEXTS, direct_texts)

    # a longer sound is its first second, each time; another rate is the same sound
    tail = rng.normal(0, 0.2, 30000).astype(np.float32)
    longer = (np.concatenate([sounds[0][0], tail]), 16000)
    for _ in range(3):
        np.testing.assert_allclose(
            encoder.encode_audio([longer]), encoder.encode_audio(sounds[:1]), atol=TOLERANCE
        )
    fine = np.arange(48000) / 48000
    resampled = encoder.encode_audio([((np.sin(2 * np.pi * 220 * fine) * 0.5).astype("f4"), 48000)])
    assert float((resampled @ encoder.encode_audio(sounds[:1]).T).item()) > 0.99
    with refused("no-such-side", "no image side"):
        encoder.encode_images(pictures())


def test_transformers_refuses_what_it_cannot_use(tmp_path: Path, clip_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    with refused("no-model"):
        load_encoder("transformers")
    with refused("no-such-model", "cannot load '/nowhere/at/all'") as caught:
        load_encoder("transformers:/nowhere/at/all")
    assert "\n" not in str(caught.value)
    bert = transformers.BertConfig(**TOWER, vocab_size=30)
    transformers.BertModel(bert).save_pretrained(tmp_path)
    word_tokenizer(
        pad_token="<p>", bos_token="<b>", eos_token="<e>", unk_token="<u>"
    ).save_pretrained(tmp_path)
    with refused("wrong-model", "'bert'"):
        load_encoder(f"transformers:{tmp_path}")
    if not torch.cuda.is_available():
        with refused("no-such-device", "0 CUDA devices"):
            load_encoder(f"transformers:{clip_folder}", device="cuda")
    with refused("no-such-device", "'cpu' or 'cuda"):
        load_encoder(f"transformers:{clip_folder}", device="toaster")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rows_of_a_cuda_device(clip_folder: Path) -> None:
    on_cpu = load_encoder(f"transformers:{clip_folder}")
    on_cuda = load_encoder(f"transformers:{clip_folder}", device="cuda")
    for kind, inputs in (("images", pictures()), ("texts", TEXTS)):
        a, b = (getattr(e, f"encode_{kind}")(inputs) for e in (on_cpu, on_cuda))
        assert isinstance(b, np.ndarray)
        np.testing.assert_allclose(a, b, atol=1e-3)


# -- sentence_transformers -----------------------------------------------------------------------


def test_sentence_transformers_two_sides(clip_folder: Path, tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    package.SentenceTransformer(str(clip_folder), device="cpu").save(str(tmp_path))
    encoder = load_encoder(f"sentence_transformers:{tmp_path}")
    network = package.SentenceTransformer(str(tmp_path), device="cpu")
    assert encoder.dim == 24
    assert encoder.logit_scale == pytest.approx(37.5, rel=1e-6)
    assert encoder.bias is None
    check(encoder.encode_images, pictures(), network.encode)
    check(encoder.encode_texts, TEXTS, network.encode)


def test_sentence_transformers_texts_only(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    inner = tmp_path / "bert"
    torch.manual_seed(0)
    bert = transformers.BertModel(transformers.BertConfig(**TOWER, vocab_size=40))
    bert.save_pretrained(inner)
    word_tokenizer(
        pad_token="[PAD]", bos_token="[CLS]", eos_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(inner)
    modules = [Transformer(str(inner), max_seq_length=12), Pooling(32), Normalize()]
    package.SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "st"))

    encoder = load_encoder(f"sentence_transformers:{tmp_path / 'st'}")
    network = package.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    assert (encoder.dim, encoder.logit_scale, encoder.bias) == (32, None, None)
    rows = check(encoder.encode_texts, TEXTS, network.encode)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    with refused("no-such-side", "no image side"):
        encoder.encode_images(pictures())
    with refused("no-such-model", "cannot load"):
        load_encoder("sentence_transformers:/nowhere/at/all")


# -- open_clip -----------------------------------------------------------------------------------


def open_clip_config(bias: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 64,
            "head_width": 32,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 20,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }
    if bias:
        config["init_logit_bias"] = -10.0
    return config


@pytest.fixture(scope="module", params=["dir", "file", "dir-with-bias"])
def open_clip_name(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any]:
    """(name for load_encoder, arguments of the library's own loader, its tokenizer's name)."""
    open_clip = pytest.importorskip("open_clip", exc_type=ImportError)
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip")
    config = open_clip_config(request.param == "dir-with-bias")
    (folder / "isthmus-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "isthmus-tiny.json")
    network = open_clip.create_model("isthmus-tiny")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
        network.logit_scale.fill_(math.log(66.0))
    if request.param == "file":
        torch.save(network.state_dict(), folder / "weights.pt")
        arguments = ("isthmus-tiny", str(folder / "weights.pt"))
        return f"open_clip:isthmus-tiny@{folder / 'weights.pt'}", arguments, "isthmus-tiny"
    saved = {"model_cfg": config, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(saved))
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    name = f"local-dir:{folder}"
    return f"open_clip:{folder}", (name, None), name


def test_open_clip(open_clip_name: tuple[str, Any, Any]) -> None:
    import open_clip

    name, (model, weights), tokenizer_name = open_clip_name
    encoder = load_encoder(name)
    network, _, transform = open_clip.create_model_and_transforms(model, pretrained=weights)
    network.eval()
    tokenizer = open_clip.get_tokenizer(tokenizer_name)
    assert (encoder.name, encoder.dim) == (name, 24)
    assert encoder.logit_scale == pytest.approx(66.0, rel=1e-6)
    has_bias = network.logit_bias is not None
    assert encoder.bias == (pytest.approx(-10.0) if has_bias else None)

    def images(batch: list[Any]) -> Any:
        return network.encode_image(torch.stack([transform(image) for image in batch]))

    rows = check(encoder.encode_images, pictures(), images)
    assert np.ptp(np.linalg.norm(rows, axis=1)) > 1e-3
    check(encoder.encode_texts, TEXTS, lambda batch: network.encode_text(tokenizer(batch)))


def test_open_clip_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", exc_type=ImportError)
    with refused("no-model"):
        load_encoder("open_clip")
    with refused("no-weights", "openai"):
        load_encoder("open_clip:ViT-B-32")
    with refused("no-such-model"):
        load_encoder("open_clip:ViT-Z-99@openai")
    with refused("no-weights", "ViT-B-32: openai"):
        load_encoder("open_clip:ViT-B-32@no-such-tag")
    with refused("no-such-model", "cannot load") as caught:
        load_encoder(f"open_clip:{tmp_path}")
    assert "\n" not in str(caught.value)


# -- onnx ----------------------------------------------------------------------------------------


def write_onnx(folder: Path, *, resize: str = "shortest", pad: str = "longest") -> None:
    """Two small graphs: means of 8 x 8 tiles times a matrix; a masked mean of word vectors."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)

    def constant(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    def model(nodes: list[Any], inputs: list[Any], outputs: list[str], constants: list[Any]) -> Any:
        rows = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(nodes, "tiny", inputs, rows, constants)
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=9)

    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["b", 3, 32, 40])
    image = model(
        [
            helper.make_node(
                "AveragePool", ["pixels"], ["tiles"], kernel_shape=[8, 8], strides=[8, 8]
            ),
            helper.make_node("Flatten", ["tiles"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["image_embeds"]),
        ],
        [pixels],
        ["tiles", "image_embeds"],
        [constant("w", 60, 16)],
    )
    onnx.save(image, folder / "image.onnx")

    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "n"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["b", "n"])
    axes = numpy_helper.from_array(np.array([2]), "last")
    middle = numpy_helper.from_array(np.array([1]), "middle")
    text = model(
        [
            helper.make_node("Gather", ["words", "input_ids"], ["vectors"]),
            helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["m", "last"], ["weights"]),
            helper.make_node("Mul", ["vectors", "weights"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["weights", "middle"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["text_embeds"]),
        ],
        [ids, mask],
        ["text_embeds"],
        [constant("words", 40, 16), axes, middle],
    )
    onnx.save(text, folder / "text.onnx")
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    word_tokenizer(**names).backend_tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "image": {
            "size": [32, 40],
            "resize": resize,
            "mean": [0.48, 0.46, 0.41],
            "std": [0.27, 0.26, 0.28],
            "output": "image_embeds",
        },
        "text": {"max_length": 9, "pad": pad, "pad_id": 0},
        "logit_scale": 100,
        "bias": None,
    }
    (folder / "preprocess.json").write_text(json.dumps(settings))


@pytest.mark.parametrize("pad", ["longest", "max_length"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_onnx_pair(tmp_path: Path, resize: str, pad: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("transformers")
    write_onnx(tmp_path, resize=resize, pad=pad)
    encoder = load_encoder(f"onnx:{tmp_path}")
    assert (encoder.dim, encoder.logit_scale, encoder.bias) == (16, 100.0, None)

    cpu = ["CPUExecutionProvider"]
    image = runtime.InferenceSession(str(tmp_path / "image.onnx"), providers=cpu)
    text = runtime.InferenceSession(str(tmp_path / "text.onnx"), providers=cpu)

    def pixels(picture: Any) -> np.ndarray:  # written anew, from the description in the docs
        width, height = picture.size
        if resize == "squash":
            picture = picture.resize((40, 32), Image.Resampling.BICUBIC)
        else:
            factor = max(40 / width, 32 / height)
            w, h = max(40, int(width * factor + 1e-9)), max(32, int(height * factor + 1e-9))
            picture = picture.resize((w, h), Image.Resampling.BICUBIC)
            left, top = round((w - 40) / 2), round((h - 32) / 2)
            picture = picture.crop((left, top, left + 40, top + 32))
        scaled = (np.asarray(picture) / 255.0 - [0.48, 0.46, 0.41]) / [0.27, 0.26, 0.28]
        return scaled.transpose(2, 0, 1).astype(np.float32)

    def images(batch: list[Any]) -> Any:
        return image.run(["image_embeds"], {"pixels": np.stack([pixels(p) for p in batch])})[0]

    def texts(batch: list[str]) -> Any:
        known = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
        ids = []
        for line in batch:
            words = line.lower().replace(",", " , ").split()[:7]
            ids.append([1, *(known.index(w) if w in known else 3 for w in words), 2])
        longest = max(len(row) for row in ids)
        feed = {
            "input_ids": np.array([row + [0] * (longest - len(row)) for row in ids]),
            "attention_mask": np.array(
                [[1] * len(row) + [0] * (longest - len(row)) for row in ids], np.int32
            ),
        }
        return text.run(None, feed)[0]

    check(encoder.encode_images, pictures(), images)
    check(encoder.encode_texts, TEXTS, texts)


@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_onnx_pictures_are_prepared_as_open_clip_does(tmp_path: Path, resize: str) -> None:
    pytest.importorskip("open_clip", exc_type=ImportError)
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from isthmus.encoders.onnx_pair import _Picture

    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    theirs = image_transform_v2(
        PreprocessCfg(size=32, mean=mean, std=std, resize_mode=resize), is_train=False
    )
    ours = _Picture({"size": 32, "mean": mean, "std": std, "resize": resize})
    for picture in pictures():
        np.testing.assert_allclose(ours(picture), theirs(picture).numpy(), atol=1e-5)


def test_onnx_with_one_side(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(tmp_path)
    (tmp_path / "text.onnx").unlink()
    (tmp_path / "tokenizer.json").unlink()
    encoder = load_encoder(f"onnx:{tmp_path}")
    assert encoder.encode_images(pictures()).shape == (7, 16)
    with refused("no-such-side", "no text side"):
        encoder.encode_texts(TEXTS)


def edit(folder: Path, side: str | None, **changes: Any) -> None:
    settings = json.loads((folder / "preprocess.json").read_text())
    (settings if side is None else settings[side]).update(changes)
    (folder / "preprocess.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("side", "changes", "code", "fact"),
    [
        ("image", {"output": None}, "ambiguous-output", "tiles, image_embeds"),
        ("image", {"output": "tiles"}, "wrong-axes", "(1, 3, 4, 5)"),
        ("image", {"mean": [0.5]}, "wrong-settings", "size, mean and std"),
        ("image", {"resize": "stretch"}, "wrong-settings", "shortest, squash"),
        ("text", {"max_length": None}, "wrong-settings", "max_length, got None"),
        (None, {"logit_scale": "high"}, "wrong-settings", "a number or null"),
        (None, {"image": None}, "wrong-settings", "no object for the side"),
    ],
)
def test_onnx_settings_that_do_not_fit(
    tmp_path: Path, side: str | None, changes: dict[str, Any], code: str, fact: str
) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(tmp_path)
    edit(tmp_path, side, **changes)
    with refused(code, fact):
        load_encoder(f"onnx:{tmp_path}")


def test_onnx_folders_that_lack_something(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with refused("no-model", "onnx:DIR"):
        load_encoder("onnx")
    with refused("no-such-file", "preprocess.json"):
        load_encoder(f"onnx:{tmp_path}")
    write_onnx(tmp_path)
    with refused("no-such-device", "'cuda'"):
        load_encoder(f"onnx:{tmp_path}", device="cuda")
    (tmp_path / "tokenizer.json").unlink()
    with refused("no-such-file", "tokenizer.json"):
        load_encoder(f"onnx:{tmp_path}")
    (tmp_path / "image.onnx").write_bytes(b"half a graph")
    with refused("no-such-model", "image.onnx"):
        load_encoder(f"onnx:{tmp_path}")
    (tmp_path / "image.onnx").unlink()
    (tmp_path / "text.onnx").unlink()
    with refused("no-such-model", "neither image.onnx"):
        load_encoder(f"onnx:{tmp_path}")
    (tmp_path / "preprocess.json").write_text("{")
    with refused("wrong-settings", "is not JSON"):
        load_encoder(f"onnx:{tmp_path}")


# -- from files to a file ------------------------------------------------------------------------


def test_embed_with_a_real_model(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, picture in enumerate(pictures()):
        picture.save(tmp_path / "in" / f"{index}.png")
    encoder: Encoder = load_encoder(f"transformers:{clip_folder}")
    embed(encoder, images=tmp_path / "in", out=tmp_path / "rows.npy", batch_size=3)
    rows = np.load(tmp_path / "rows.npy")
    np.testing.assert_allclose(rows, encoder.encode_images(pictures()), atol=TOLERANCE)
