"""Perturbed pictures: what Pillow alone does, the wrapping of the library, the library itself."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.perturb._corruptions import enlargement
from isthmus.perturb.images import IMAGE_FAMILIES, ImagePerturbation
from refusals import refused

pil_image = pytest.importorskip("PIL.Image")
from PIL import features  # noqa: E402

COMMON = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
EXTRA = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
SIZES = [(17, 23), (32, 32), (72, 72), (224, 224), (300, 200)]
NO_LIBRARY_NEEDED = [n for n, row in IMAGE_FAMILIES.items() if row.extra == "images"]
WEBP = pytest.mark.skipif(not features.check("webp"), reason="this Pillow was built without WebP")


def picture(width: int, height: int) -> Any:
    """Waves, ramps and a red box: something for blurs, colours and blocks to act on."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 100 * np.sin(9 * x / width + 4 * y / height)
    pixels = np.stack([waves, 255 * x / width, 255 * y / height], axis=-1)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (200, 30, 30)
    return pil_image.fromarray(pixels.astype(np.uint8))


def array(image: Any) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


def apply(family: str, level: float, image: Any, seed: int = 0, index: int = 0) -> Any:
    return ImagePerturbation(family, level).apply(image, seed, index)


# --- the table and the record ---------------------------------------------------------------


def test_the_table_holds_the_published_families() -> None:
    published = [n for n, row in IMAGE_FAMILIES.items() if row.extra == "corruptions"]
    assert published == COMMON + EXTRA
    assert [n for n in published if IMAGE_FAMILIES[n].group == "validation"] == EXTRA
    assert all(IMAGE_FAMILIES[n].levels == (1, 2, 3, 4, 5) for n in published)


def test_every_listed_level_can_be_made_and_says_what_it_is() -> None:
    said = [
        ImagePerturbation(name, level).describe()
        for name, row in IMAGE_FAMILIES.items()
        for level in row.levels
    ]
    assert len(set(said)) == sum(len(row.levels) for row in IMAGE_FAMILIES.values())
    assert "fog, severity 3 of 5 (fog in front)" in said
    assert "rescale_box, factor 1.5 (scaled down and up again (box))" in said


def test_importing_brings_in_neither_pillow_nor_the_library() -> None:
    code = (
        "import sys, isthmus.perturb.images as m; m.ImagePerturbation('fog', 1);"
        "print([n for n in ('PIL', 'imagecorruptions', 'cv2') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("family", "level", "said"),
    [
        ("haze", 1, "image family 'haze' is unknown; choose one of gaussian_noise, "),
        ("fog", 0, "the severity of fog is 0, expected a whole number from 1 to 5"),
        ("fog", 6, "the severity of fog is 6"),
        ("fog", 2.5, "the severity of fog is 2.5"),
        ("fog", True, "the severity of fog is True"),
        ("jpeg", 101, "the quality of jpeg is 101, expected a whole number from 1 to 100"),
        ("rescale_box", 0.5, "the factor of rescale_box is 0.5, expected a finite number"),
        ("rescale_box", float("nan"), "the factor of rescale_box is nan"),
        ("rescale_box", float("inf"), "the factor of rescale_box is inf"),
    ],
)
def test_other_families_and_levels_are_refused(family: str, level: float, said: str) -> None:
    with refused("unknown-family" if family == "haze" else "bad-level", said):
        ImagePerturbation(family, level)


def test_other_images_are_refused() -> None:
    change = ImagePerturbation("jpeg", 50)
    with refused("image-mode", "RGBA"):
        change.apply(picture(8, 8).convert("RGBA"), 0, 0)
    with refused("not-an-image", "ndarray"):
        change.apply(np.zeros((8, 8, 3), np.uint8), 0, 0)
    with refused("empty-image", "0 x 5"):
        change.apply(pil_image.new("RGB", (0, 5)), 0, 0)


# --- Pillow alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [5, 50, 95])
@pytest.mark.parametrize("codec", ["jpeg", pytest.param("webp", marks=WEBP)])
def test_a_codec_gives_the_pixels_of_a_direct_encode(codec: str, quality: int) -> None:
    image = picture(61, 45)
    file = io.BytesIO()
    image.save(file, codec.upper(), quality=quality)
    expected = np.asarray(pil_image.open(file).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(apply(codec, quality, image)), expected)


@WEBP
def test_a_picture_too_wide_for_webp_is_refused() -> None:
    with refused("image-too-large", "20000 x 1", "16383"):
        apply("webp", 50, pil_image.new("RGB", (20_000, 1)))


def test_a_pillow_without_webp_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with refused("no-webp"):
        apply("webp", 50, picture(8, 8))


def test_box_rescaling_is_the_mean_of_the_squares() -> None:
    image = picture(24, 16)
    squares = array(image).reshape(8, 2, 12, 2, 3).mean(axis=(1, 3))
    expected = squares.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_allclose(array(apply("rescale_box", 2, image)), expected, atol=1)


def test_nearest_rescaling_invents_no_colour() -> None:
    image = picture(40, 30)
    before = {tuple(p) for p in np.asarray(image).reshape(-1, 3)}
    out = np.asarray(apply("rescale_nearest", 4, image)).reshape(-1, 3)
    assert {tuple(p) for p in out} <= before
    assert len(np.unique(out, axis=0)) <= 10 * 8


@pytest.mark.parametrize("family", [n for n in NO_LIBRARY_NEEDED if n.startswith("rescale")])
def test_rescaling_by_one_is_a_copy_and_harsher_is_further(family: str) -> None:
    image = picture(224, 224)
    same = apply(family, 1, image)
    assert same is not image
    assert same.tobytes() == image.tobytes()
    mild, harsh = (np.abs(array(apply(family, f, image)) - array(image)).mean() for f in (1.5, 16))
    assert 0 < mild < harsh


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (1, 50)])
@pytest.mark.parametrize("family", NO_LIBRARY_NEEDED)
def test_pillow_families_keep_the_size_and_the_input(family: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    before = image.tobytes()
    for level in IMAGE_FAMILIES[family].levels:
        if family == "webp" and not features.check("webp"):
            continue
        out = apply(family, level, image)
        assert (out.mode, out.size) == ("RGB", size)
    assert image.tobytes() == before


# --- the wrapping, on a stand-in for the library --------------------------------------------


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    functions: dict[str, Any] = {}
    module = types.ModuleType("imagecorruptions")
    module.corruption_dict = functions  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)
    return functions


def noise(image: Any, severity: int) -> np.ndarray:
    return np.random.uniform(0, 255, np.asarray(image).shape)  # noqa: NPY002


def test_each_image_has_its_own_draws_in_any_order(stand_in: dict[str, Any]) -> None:
    stand_in["shot_noise"] = noise
    image = picture(20, 20)
    forward = [apply("shot_noise", 1, image, 5, i).tobytes() for i in range(6)]
    backward = [apply("shot_noise", 1, image, 5, i).tobytes() for i in reversed(range(6))]
    assert forward == backward[::-1]
    others = [apply("shot_noise", 2, image, 5, 0), apply("shot_noise", 1, image, 6, 0)]
    assert len({*forward, *(o.tobytes() for o in others)}) == 8


def test_the_global_generator_is_put_back_even_after_a_failure(stand_in: dict[str, Any]) -> None:
    def fails(image: Any, severity: int) -> None:
        np.random.uniform(size=3)  # noqa: NPY002
        raise RuntimeError("no frost today")

    stand_in["shot_noise"], stand_in["frost"] = noise, fails
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.uniform(size=5)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    apply("shot_noise", 1, picture(20, 20))
    with pytest.raises(RuntimeError, match="no frost today"):
        apply("frost", 1, picture(20, 20))
    np.testing.assert_array_equal(np.random.uniform(size=5), expected)  # noqa: NPY002


def test_a_small_picture_reaches_families_with_lengths_enlarged(stand_in: dict[str, Any]) -> None:
    seen = []

    def keep(image: Any, severity: int) -> Any:
        seen.append(image.size)
        return image

    stand_in["fog"] = stand_in["contrast"] = stand_in["pixelate"] = keep
    for size in [(17, 23), (72, 72), (150, 224), (1, 50), (3, 2)]:
        image = picture(*size)
        for family in ("fog", "contrast", "pixelate"):
            assert apply(family, 1, image).tobytes() == image.tobytes()  # enlarging adds nothing
    assert seen[0::3] == [(221, 299), (216, 216), (150, 224), (20, 1000), (336, 224)]
    assert seen[1::3] == [(17, 23), (72, 72), (150, 224), (1, 50), (3, 2)]
    assert seen[2::3] == [(17, 23), (72, 72), (150, 224), (4, 200), (6, 4)]


@pytest.mark.parametrize("side", [1, 31, 32, 72, 149, 150, 223, 224, 1000])
def test_enlarged_sides_come_within_a_factor_of_one_and_a_half(side: int) -> None:
    worked = side * enlargement(side, side)
    assert worked >= 224 / 1.5
    assert worked <= max(side, 224 * 1.5)
    assert enlargement(side, side) == 1 or side < 150


def test_pixels_without_a_value_stay_what_they_were(stand_in: dict[str, Any]) -> None:
    def hole(image: Any, severity: int) -> np.ndarray:
        out = np.full((*np.asarray(image).shape,), 7.9)
        out[0] = np.nan
        return out

    stand_in["contrast"] = hole
    image = picture(9, 6)
    out = np.asarray(apply("contrast", 1, image))
    np.testing.assert_array_equal(out[0], np.asarray(image)[0])
    assert (out[1:] == 7).all()


def test_threads_do_not_share_draws(stand_in: dict[str, Any]) -> None:
    def slow(image: Any, severity: int) -> np.ndarray:
        rows = [np.random.uniform(0, 255, (40, 3)) for _ in range(40)]  # noqa: NPY002
        return np.stack(rows)

    stand_in["shot_noise"] = slow
    image = picture(40, 40)
    alone = [apply("shot_noise", 1, image, 0, i).tobytes() for i in range(64)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda i: apply("shot_noise", 1, image, 0, i).tobytes(), range(64))
        )
    assert together == alone


@pytest.mark.parametrize(
    ("seed", "index", "said"),
    [(-1, 0, "seed -1; expected"), (0, -2, "index -2; expected"), (0.5, 0, "seed is 0.5")],
)
def test_seeds_and_indices_count_from_nought(
    stand_in: dict[str, Any], seed: Any, index: int, said: str
) -> None:
    stand_in["shot_noise"] = noise
    with refused("bad-number", said):
        apply("shot_noise", 1, picture(9, 9), seed, index)


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with refused("missing-extra", "imagecorruptions-imaug", "isthmus[corruptions]"):
        apply("fog", 1, picture(9, 9))


def test_a_library_that_does_not_load_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "imagecorruptions.py").write_text("raise ImportError('libGL.so.1 is not there')")
    monkeypatch.delitem(sys.modules, "imagecorruptions", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with refused("library-broken", "libGL.so.1 is not there"):
        apply("fog", 1, picture(9, 9))


# --- the library itself ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("imagecorruptions")


@pytest.mark.corruptions
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", COMMON + EXTRA)
def test_corruptions_keep_any_size_and_change_the_picture(
    library: Any, family: str, size: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(*size)
    before = image.tobytes()
    for severity in (1, 5):
        out = apply(family, severity, image)
        assert (out.mode, out.size) == ("RGB", size)
        assert out.tobytes() != before
        assert np.asarray(out).std() > 1  # not one colour
    assert image.tobytes() == before
    assert capsys.readouterr().out == ""


@pytest.mark.corruptions
@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("family", [n for n in COMMON + EXTRA if not IMAGE_FAMILIES[n].random])
def test_families_without_chance_give_the_librarys_own_pixels(
    library: Any, family: str, severity: int
) -> None:
    image = picture(224, 224)
    own = library.corrupt(np.asarray(image), severity, family)
    np.testing.assert_array_equal(np.asarray(apply(family, severity, image)), own)


@pytest.mark.corruptions
def test_noise_has_the_strength_of_its_severity(library: Any) -> None:
    gray = pil_image.new("RGB", (224, 224), (127, 127, 127))
    for severity, sigma in enumerate((0.08, 0.12, 0.18), start=1):  # clipping bites beyond
        measured = np.asarray(apply("gaussian_noise", severity, gray)).std() / 255
        assert measured == pytest.approx(sigma, rel=0.03)
    for severity, amount in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), start=1):
        touched = (np.asarray(apply("impulse_noise", severity, gray)) != 127).mean()
        assert touched == pytest.approx(amount, rel=0.05)


@pytest.mark.corruptions
@pytest.mark.parametrize("size", [(72, 72), (224, 224)])
@pytest.mark.parametrize(
    "family",
    [
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "speckle_noise",
        "defocus_blur",
        "motion_blur",
        "zoom_blur",
        "gaussian_blur",
        "elastic_transform",
        "brightness",
        "contrast",
        "jpeg_compression",
        "spatter",
    ],
)
def test_harsher_severities_are_further_from_the_original(
    library: Any, family: str, size: tuple[int, int]
) -> None:
    image = picture(*size)
    distances = [
        np.mean([np.abs(array(apply(family, s, image, 0, i)) - array(image)) for i in range(4)])
        for s in (1, 2, 3, 4, 5)
    ]
    assert distances == sorted(distances)
    assert distances[4] > 1.5 * distances[0]


def digests(width: int, height: int) -> list[str]:
    """One digest for each family and a mild and a harsh severity, in the table's order."""
    image = picture(width, height)
    return [
        hashlib.sha256(apply(family, severity, image, 3, 11).tobytes()).hexdigest()
        for family in COMMON + EXTRA
        for severity in (1, 5)
    ]


@pytest.mark.corruptions
@pytest.mark.parametrize("size", [(60, 40), (180, 160)])
def test_every_family_repeats_under_four_threads_and_in_another_process(
    library: Any, size: tuple[int, int]
) -> None:
    image = picture(*size)
    here = digests(*size)
    jobs = [(f, s) for f in COMMON + EXTRA for s in (1, 5)]
    random.seed(99)
    order = random.sample(range(len(jobs)), len(jobs))
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(order, pool.map(lambda k: apply(*jobs[k], image, 3, 11).tobytes(), order)))
    assert [hashlib.sha256(found[k]).hexdigest() for k in range(len(jobs))] == here
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    code = (
        f"import sys; sys.path[:0] = {folders}\n"
        f"import test_perturb_images as t; print(chr(10).join(t.digests{size}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == here


@pytest.mark.corruptions
@pytest.mark.parametrize("family", COMMON + EXTRA)
def test_only_families_of_chance_change_with_the_index_and_the_seed(
    library: Any, family: str
) -> None:
    image = picture(160, 160)
    for severity in (1, 5):
        outs = {apply(family, severity, image, s, i).tobytes() for s, i in [(0, 0), (0, 1), (1, 0)]}
        assert len(outs) == (3 if IMAGE_FAMILIES[family].random else 1)


@pytest.mark.corruptions
def test_no_family_disturbs_the_generators_of_the_caller(library: Any) -> None:
    image = picture(40, 40)
    np.random.seed(5)  # noqa: NPY002
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002
    for family in COMMON + EXTRA:
        apply(family, 2, image)
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], numpys[1])
    assert after[2:] == numpys[2:]
    assert random.getstate() == pythons


@pytest.mark.corruptions
def test_blur_of_a_small_picture_is_the_same_share_of_it(library: Any) -> None:
    """Half black, half white: the blurred edge is as wide, in shares of the picture, at 32."""
    widths = []
    for side in (32, 224):
        pixels = np.zeros((side, side, 3), np.uint8)
        pixels[:, side // 2 :] = 255
        row = array(apply("gaussian_blur", 5, pil_image.fromarray(pixels)))[side // 2, :, 0]
        widths.append((np.abs(row - np.sort(pixels[0, :, 0])).sum() / 255) / side)
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


@pytest.mark.corruptions
def test_spatter_does_not_turn_a_small_picture_black(library: Any) -> None:
    gray = pil_image.new("RGB", (32, 32), (120, 120, 120))
    direct = []
    for i in range(200):
        np.random.seed(i)  # noqa: NPY002
        with np.errstate(invalid="ignore"):
            direct.append(np.asarray(library.corruption_dict["spatter"](gray, 1)))
    assert any(np.isnan(out).any() for out in direct)  # no drop fell: 0 / 0
    ours = [np.asarray(apply("spatter", 1, gray, 0, i)) for i in range(200)]
    assert min(out.min() for out in ours) > 100
