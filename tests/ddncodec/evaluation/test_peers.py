from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from ddncodec.evaluation import payload
from ddncodec.evaluation.compressai_zoo import ZOO
from ddncodec.evaluation.eigenfaces import HEADER, LIMIT, Basis, Eigenfaces, Quantised, allotted, at_fixed_rate
from ddncodec.evaluation.peers import FILE_CODECS, FileCodec, Ladder, tune_image
from ddncodec.metrics.distortion import Pixels, squared_errors
from ddncodec.pixels import to_tensor

BUDGETS = (150, 400)


@pytest.fixture(scope="module")
def image() -> Pixels:
    picture = Image.new("RGB", (64, 64), "teal")
    ImageDraw.Draw(picture).ellipse([10, 6, 50, 60], "peachpuff")
    return np.asarray(picture)


@pytest.mark.parametrize("codec", FILE_CODECS, ids=lambda codec: codec.name)
def test_files_are_within_the_budget_and_more_bytes_are_better(codec: FileCodec, image: Pixels) -> None:
    best, smallest = tune_image(codec, image, BUDGETS)
    for budget, coded in zip(BUDGETS, best, strict=True):
        assert (coded is None) == (smallest > budget)
        if coded is not None:
            assert 0 < coded.payload <= coded.size <= budget
    if all(best):
        errors = [squared_errors(image[None], coded.pixels[None])[0] for coded in best if coded]
        assert errors == sorted(errors, reverse=True)
    assert best[-1] is not None


@pytest.mark.parametrize("codec", FILE_CODECS, ids=lambda codec: codec.name)
def test_the_search_finds_the_highest_step_that_fits(codec: FileCodec, image: Pixels) -> None:
    small = image[::2, ::2]
    ladder, budget = Ladder(codec, small), 380
    found = ladder.highest_within(budget)
    assert found is not None
    assert len(codec.encode(small, found)) <= budget
    assert found == codec.steps - 1 or len(codec.encode(small, found + 1)) > budget


def saved(image: Pixels, kind: str, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def test_payloads_are_what_is_left_without_the_parts_that_are_known(image: Pixels) -> None:
    data = saved(image, "JPEG")
    scan = data.index(b"\xff\xda")
    assert payload.jpeg(data) == len(data) - 2 - scan - 2 - int.from_bytes(data[scan + 2 : scan + 4])
    assert payload.jpeg(saved(image, "JPEG", progressive=True)) < len(saved(image, "JPEG", progressive=True)) - 200
    data = saved(image, "WEBP", quality=50)
    assert payload.webp(data) == int.from_bytes(data[16:20], "little") == len(data) - 20 - payload.webp(data) % 2
    data = saved(image, "AVIF", quality=50)
    assert payload.avif(data) == int.from_bytes(data[data.index(b"mdat") - 4 :][:4]) - 8


def test_a_jpeg_2000_without_comments_decodes_alike(image: Pixels) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = bytes(imagecodecs.jpeg2k_encode(image, level=30, codecformat="j2k", reversible=False))
    bare = payload.without_comments(data)
    assert b"OpenJPEG" in data
    assert b"OpenJPEG" not in bare
    assert (imagecodecs.jpeg2k_decode(bare) == imagecodecs.jpeg2k_decode(data)).all()
    assert payload.jpeg2000(bare) == payload.jpeg2000(data) == len(data) - 2 - data.index(b"\xff\x93") - 2


@pytest.fixture(scope="module")
def basis() -> Basis:
    torch.manual_seed(0)
    deviations = torch.linspace(1, 0.05, 192) ** 2
    axes = torch.linalg.qr(torch.randn(192, 192))[0]
    return Basis.fit((torch.randn(2_000, 192) * deviations @ axes.T).view(-1, 3, 8, 8) * 0.2, 100)


def test_bits_go_where_most_is_left() -> None:
    assert allotted(np.array([16.0, 4.0, 1.0, 0.01]), 6).tolist() == [3, 2, 1, 0]


def test_the_eigenface_coder_keeps_to_its_budget_and_its_bits_are_the_entropy(basis: Basis) -> None:
    drawn = basis.training[:50] @ basis.axes.T.numpy() + basis.mean.numpy()
    images = np.clip(np.rint((drawn.reshape(-1, 3, 8, 8).transpose(0, 2, 3, 1) + 1) * 127.5), 0, 255).astype(np.uint8)
    errors = {}
    for fixed in (False, True):
        tuned = Eigenfaces(fixed, lambda side: basis).tune(images, (24, 48), map, lambda count: None)
        for budget, row in zip((24, 48), tuned.coded, strict=True):
            found = [coded for coded in row if coded]
            assert len(found) == 50
            assert all(HEADER <= coded.size <= budget and coded.payload == coded.size - HEADER for coded in found)
            errors[fixed, budget] = squared_errors(images, np.stack([coded.pixels for coded in found])).mean()
    assert errors[False, 48] < errors[False, 24] < squared_errors(images, np.full_like(images, 128)).mean()
    assert errors[True, 48] < errors[True, 24]


def test_a_tables_bits_are_the_entropy_of_what_it_learned_from(basis: Basis) -> None:
    quantised = Quantised(basis.training, np.full(100, 0.1, np.float32), LIMIT, centred=True)
    cells = quantised.cells(basis.training)
    entropy = 0.0
    for column in cells.T:
        shares = np.unique(column, return_counts=True)[1] / len(column)
        entropy -= (shares * np.log2(shares)).sum()
    assert quantised.price(cells).mean() == pytest.approx(entropy, rel=0.02)


def test_one_bit_a_component_leaves_what_theory_says(basis: Basis) -> None:
    """Max (1960): a Gaussian's one-bit quantiser leaves 36.3% of the variance."""
    one = Basis(basis.mean, basis.axes[:, :1], basis.training[:, :1])
    decoded = at_fixed_rate(one, one.training, 1)
    assert np.square(decoded - one.training).mean() / one.training.var() == pytest.approx(0.363, abs=0.02)


def test_a_zoo_that_is_not_here_says_why() -> None:
    for peer in ZOO:
        assert peer.unavailable(64)


def test_analysis_is_the_inverse_of_synthesis(basis: Basis) -> None:
    coefficients = basis.training[:4]
    back = to_tensor(basis.synthesise(coefficients, 8)).flatten(1)
    plain = torch.from_numpy(coefficients) @ basis.axes.T + basis.mean
    assert (back - plain.clamp(-1, 1)).abs().max() < 1 / 127
