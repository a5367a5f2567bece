"""The package as a library: its names and their examples, what it takes for an image, and what it refuses."""

import ast
import doctest
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image, ImageCms
from torch import Tensor

import ddncodec
from ddncodec import Codec, Latent, api, codec, container
from ddncodec.errors import UnknownWeights, UnreadableImage
from ddncodec.guides import Guide, Objective
from ddncodec.images import Picture, Pixels, srgb_pixels
from ddncodec.inputs import AnyImage
from ddncodec.network.base import Generator
from ddncodec.weights import WeightsInfo, load_network
from ddncodec_cli.app import app

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
SMALL = GOLDEN / "k2-planes.safetensors"  # 16×16


@pytest.fixture(scope="module")
def small() -> Codec:
    return ddncodec.load_model(SMALL, "cpu")


@pytest.fixture(scope="module")
def face() -> Pixels:
    with Image.open(ROOT / "examples/face.png") as image:
        return np.array(image.convert("RGB"))


def as_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, -3) / 255


# Names and their examples.


PUBLIC = {name: getattr(ddncodec, name) for name in ddncodec.__all__} | {"Guide": Guide, "Objective": Objective}


@pytest.mark.parametrize(("name", "value"), PUBLIC.items())
def test_every_public_name_is_documented_with_an_example_that_works(name: str, value: object) -> None:
    found = [test for test in doctest.DocTestFinder().find(value, name, globs={}) if test.examples]
    assert found
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in found:
        lines: list[str] = []
        assert runner.run(test, out=lines.append).failed == 0, "".join(lines)


def public_callables() -> Iterator[tuple[str, object]]:
    """The public names, and the methods of those that are classes."""
    for name in ddncodec.__all__:
        value = getattr(ddncodec, name)
        yield name, value
        if inspect.isclass(value) and not issubclass(value, Exception):
            yield from ((f"{name}.{method}", getattr(value, method)) for method in dir(value)
                        if not method.startswith("_") and callable(getattr(value, method)))


@pytest.mark.parametrize(("name", "value"), [*public_callables()])
def test_every_argument_and_result_of_a_public_name_is_documented(name: str, value: object) -> None:
    text = inspect.getdoc(value) or ""
    if "see `" in text:  # the arguments are explained there
        return
    if name != "DdnError":
        for argument in inspect.signature(value).parameters:  # type: ignore[arg-type]
            assert argument == "self" or f"    {argument}: " in text, argument
    if inspect.isfunction(value) or inspect.ismethod(value):
        assert "Returns:\n" in text


def test_the_names_are_listed_and_looked_at_without_torch() -> None:
    code = ("import ddncodec, sys; assert 'binddn' in ddncodec.list_models(); print(*dir(ddncodec));"
            "assert not {'torch', 'numpy', 'PIL'} & sys.modules.keys()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted([*ddncodec.__all__, "__version__"])


def test_a_codec_and_what_is_drawn_are_shown_in_a_line(small: Codec) -> None:
    assert repr(small) == f"<Codec 'k2-planes' {small.info.id.hex()}: 16×16, K = 2, L = 96, on cpu>"
    drawn = ddncodec.sample(1, small)[0]
    assert len(repr(drawn)) < 120
    with Image.open(BytesIO(drawn._repr_png_())) as image:
        assert np.array_equal(np.asarray(image), drawn.pixels)


def test_no_error_of_the_library_speaks_of_an_option_of_the_command_line() -> None:
    def options(command: Any) -> set[str]:
        below = getattr(command, "commands", {}).values()
        return {name for param in command.params for name in param.opts}.union(*map(options, below))

    names = {name for name in options(typer.main.get_command(app)) if name.startswith("-")}
    assert {"--model", "--data", "--lr", "-f"} <= names
    for path in (ROOT / "ddncodec").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for raised in (node for node in ast.walk(tree) if isinstance(node, ast.Raise | ast.Call)):
            for text in (part.value for part in ast.walk(raised) if isinstance(part, ast.Constant)):
                assert not isinstance(text, str) or not names & set(re.findall(r"(?<![\w-])--?\w[\w-]*", text)), text


# What is an image.


def kinds(pixels: Pixels) -> dict[str, AnyImage]:
    return {"array": pixels, "picture": Image.fromarray(pixels), "tensor": as_tensor(pixels),
            "half": as_tensor(pixels).double(), "RGBA": np.dstack([pixels, np.full_like(pixels[..., 0], 255)])}


def test_the_same_picture_has_the_same_latent_in_whichever_kind_it_comes(small: Codec, face: Pixels) -> None:
    expected = small.encode(face)
    for name, image in kinds(face).items():
        assert small.encode(image) == expected, name
        assert ddncodec.encode(image, small) == ddncodec.encode(face, small), name


def test_grey_is_three_equal_channels_and_transparency_lies_over_white(small: Codec, face: Pixels) -> None:
    grey = face[..., 0]
    assert small.encode(grey) == small.encode(np.dstack([grey] * 3))
    opaque = np.zeros_like(grey)
    opaque[20:] = 255
    over_white = np.where(opaque[..., None] == 0, np.uint8(255), face)
    assert small.encode(np.dstack([face, opaque])) == small.encode(over_white)


def test_a_batch_is_a_list_an_array_or_a_tensor(small: Codec, face: Pixels) -> None:
    images = np.stack([face, face[::-1], face[:, ::-1]])
    expected = small.encode_batch(list(images))
    assert small.encode_batch(images) == expected
    assert small.encode_batch(as_tensor(images)) == expected
    mixed = [images[0], Image.fromarray(images[1]), as_tensor(images[2])]
    assert small.encode_batch(mixed) == expected
    files = ddncodec.encode_batch(mixed, small)
    assert [container.from_bytes(file).latent for file in files] == expected
    assert np.array_equal(ddncodec.decode_batch(files, small)[2], ddncodec.decode(files[2], small))


def test_nothing_is_a_batch_too(small: Codec) -> None:
    assert small.encode_batch([]) == small.decode_batch([]) == ddncodec.encode_batch([], small) == []
    assert ddncodec.decode_batch([]) == []
    assert small.decode_tensor([]).shape == (0, 3, 16, 16)


def test_a_tensor_comes_out_where_asked_for(small: Codec, face: Pixels) -> None:
    latents = [small.encode(face), small.encode(face[::-1], levels=30)]
    images = small.decode_tensor(latents)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    for image, pixels in zip(images, small.decode_batch(latents), strict=True):
        assert (255 * image.permute(1, 2, 0).numpy() - pixels).__abs__().max() < 0.501


@pytest.mark.parametrize(("image", "error"), [
    (np.zeros((8, 8, 3)), TypeError), (np.zeros((8, 8, 3), np.int64), TypeError), (np.zeros((8, 8), bool), TypeError),
    (np.zeros((8, 8, 2), np.uint8), ValueError), (np.zeros((8, 8, 1), np.uint8), ValueError),
    (np.zeros(8, np.uint8), ValueError), (np.zeros((2, 8, 8, 3), np.uint8), ValueError),
    (np.zeros((0, 8, 3), np.uint8), ValueError), (np.zeros((8, 0), np.uint8), ValueError),
    (torch.zeros(3, 8, 8, dtype=torch.uint8), TypeError), (torch.zeros(8, 8, 3), ValueError),
    (torch.zeros(1, 3, 8, 8), ValueError), (torch.zeros(3, 0, 8), ValueError), (torch.zeros(8, 8), ValueError),
    (torch.full((3, 8, 8), 1.01), ValueError), (torch.full((3, 8, 8), -0.01), ValueError),
    (torch.full((3, 8, 8), torch.nan), ValueError), (torch.full((3, 8, 8), torch.inf), ValueError),
    (Image.new("RGB", (0, 8)), ValueError), (Image.new("F", (8, 8)), UnreadableImage),
    ("face.png", TypeError), ([[0, 0, 0]], TypeError), (None, TypeError), (b"", TypeError),
])
def test_what_is_no_image_is_refused(small: Codec, image: AnyImage, error: type[Exception]) -> None:
    for encode in (small.encode, lambda one: ddncodec.encode(one, small), lambda one: small.encode_batch([one])):
        with pytest.raises(error) as refusal:
            encode(image)
        assert "\n" not in str(refusal.value)


def test_a_single_image_is_no_batch(small: Codec, face: Pixels) -> None:
    for image in (face, as_tensor(face), face[..., 0]):
        with pytest.raises(ValueError, match="a batch is"):
            small.encode_batch(image)


@pytest.mark.parametrize("arguments", [{"levels": 0}, {"levels": 97}, {"effort": 0}, {"effort": 2}, {"effort": 4}])
def test_levels_and_effort_out_of_range_are_refused(small: Codec, face: Pixels, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be 1 to 96|must be 1 or 3"):  # a paper's network has one search
        ddncodec.encode(face, small, **arguments)


# Bytes.


def test_decode_is_the_inverse_of_encode_by_a_name_a_path_or_a_codec(small: Codec, face: Pixels) -> None:
    for model in ("binddn", SMALL, str(SMALL), small):
        wide = face[:40]
        decoded = ddncodec.decode(ddncodec.encode(wide, model), None if model == "binddn" else model)
        assert decoded.shape == wide.shape
        assert decoded.dtype == np.uint8
        assert np.abs(decoded.astype(int) - wide).mean() < 25


def test_bytes_of_other_weights_are_refused(small: Codec, face: Pixels) -> None:
    ours, theirs = ddncodec.encode(face, small), ddncodec.encode(face, levels=9)
    for arguments in ((ours,), (ours, "binddn"), (theirs, small)):
        with pytest.raises(UnknownWeights):
            ddncodec.decode(*arguments)
    with pytest.raises(UnknownWeights):
        ddncodec.decode_batch([theirs, ours])


def test_a_loop_loads_weights_once_and_again_where_they_changed(
    tmp_path: Path, face: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def counted(info: WeightsInfo) -> Generator:
        loaded.append(info.id)
        return load_network(info)

    monkeypatch.setattr(codec, "load_network", counted)
    path = tmp_path / "weights.safetensors"
    for name in ("k2-planes", "k8-principal"):
        shutil.copy(GOLDEN / f"{name}.safetensors", tmp_path / "new")
        (tmp_path / "new").replace(path)
        for _ in range(3):
            ddncodec.decode(ddncodec.encode(face, path), path)
            ddncodec.sample(1, path)
    assert len(loaded) == len(set(loaded)) == 2


def test_decoded_pixels_are_in_srgb(small: Codec, face: Pixels) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    data = container.to_bytes(small.to_stream(Picture(face, swapped), small.encode(face)))
    plain = ddncodec.decode(ddncodec.encode(face, small), small)
    assert np.array_equal(ddncodec.decode(data, small), srgb_pixels(Picture(plain, swapped)))
    assert not np.array_equal(ddncodec.decode(data, small), plain)


# Images that are drawn.


def test_image_i_of_a_seed_is_the_same_in_whatever_batch(small: Codec) -> None:
    all_four = ddncodec.sample(4, small, seed=3)
    assert ddncodec.sample(2, small, seed=3, first=2)[1].latent == all_four[3].latent
    assert ddncodec.sample(1, small, seed=4)[0].latent != all_four[0].latent


def test_a_conditional_model_is_given_a_class_or_an_image() -> None:
    bags, boots = (ddncodec.sample(2, "fashion-class", temperature=0.5, condition=label) for label in (8, 9))
    assert bags[0].latent != boots[0].latent
    grey = np.full((64, 64), 60, np.uint8)
    dark, = ddncodec.sample(1, "faces-colour", condition=grey)
    light, = ddncodec.sample(1, "faces-colour", condition=as_tensor(np.dstack([grey + 140] * 3)))
    assert dark.pixels.mean() + 70 < light.pixels.mean()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"count": 0}, "count must be above 0"), ({"temperature": 0}, "temperature"), ({"temperature": np.nan}, "above 0"),
    ({"condition": 1}, "binddn takes no condition"), ({"model": "fashion-class"}, "takes a class"),
    ({"model": "fashion-class", "condition": 10}, "classes 0 to 9"),
    ({"model": "fashion-class", "condition": np.zeros((8, 8), np.uint8)}, "takes a class"),
    ({"model": "faces-colour", "condition": 1}, "takes an image"), ({"seed": -1}, "non-negative"),
])
def test_a_sample_that_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ddncodec.sample(**arguments)  # type: ignore[arg-type]


def test_a_prefix_of_another_network_and_a_guide_without_objectives_are_refused(small: Codec) -> None:
    with pytest.raises(UnknownWeights):
        ddncodec.sample(1, small, prefix=Latent((2,), 3))
    with pytest.raises(ValueError, match="objectives must be above 0"):
        ddncodec.guide([], 1, small)
    assert api.codec_of(small) is small
