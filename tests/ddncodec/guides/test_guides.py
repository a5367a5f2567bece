"""Guides: what each looks at, what a mask hides, what objectives let expect, and the ten lines of the docs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ddncodec import generate
from ddncodec.codec import Codec, load_model
from ddncodec.errors import BadCheckpoint, DataMissing, InputMissing
from ddncodec.guides import Guide, Objective
from ddncodec.guides.kinds import Classifier, Clip, Edges, Grey, Pixels, Smaller, Style
from ddncodec.metrics.features import load_features
from ddncodec.network.principal.expectation import GaussianExpectation, is_affine
from ddncodec.network.principal.generator import PrincipalGenerator

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_model(str(ROOT / "tests/golden/k2-principal.safetensors"), "cpu")


@pytest.fixture(scope="module")
def face(codec: Codec) -> Tensor:
    """An image that the network can nearly draw."""
    return generate_image(codec, 1)


def generate_image(codec: Codec, seed: int) -> Tensor:
    drawn = generate.sample(1, codec, seed=seed, temperature=0.5)[0]
    return codec.network.decode(torch.tensor([drawn.latent.indices]))


def images(count: int, side: int = 16) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_each_guide_looks_at_what_it_says() -> None:
    pictures = images(3)
    assert torch.equal(Pixels().transform(pictures), pictures)
    assert Smaller(4, 8).transform(pictures)[1, 2, 3, 5] == pytest.approx(pictures[1, 2, 12:16, 10:12].mean().item())
    grey = Grey().transform(pictures)
    assert torch.allclose(Grey().transform(grey.expand(-1, 3, -1, -1)), grey, atol=1e-6)
    assert not Edges().transform(torch.full((1, 3, 8, 8), 0.3)).any()
    assert Edges().transform(pictures).shape == (3, 1, 16, 16)


def test_style_does_not_see_where_things_are_but_sees_how_they_look() -> None:
    style, pictures = Style(load_features()), images(1, 64)
    smooth = nn.functional.interpolate(pictures[:, :, :8, :8], size=64, mode="bicubic")
    seen, turned, other = style.transform(torch.cat([pictures, pictures.roll(16, 3), smooth]))
    assert (seen - turned).norm() < 0.2 * (seen - other).norm()


def test_pixels_outside_of_a_mask_count_neither_in_the_image_nor_in_the_target() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    one, other = images(2).split(1)
    changed = torch.where(mask > 0, one, other)
    for guide in (Pixels(), Grey(), Smaller(4, 4), Edges()):
        objective = Objective.like(guide, one, mask=mask)
        assert objective.distances(changed[None]).item() == pytest.approx(0, abs=1e-6)
        assert objective.distances(other[None]).item() > 0.1
        assert Objective.like(guide, one).distances(changed[None]).item() > 0.1


def test_which_guides_are_affine_is_found_by_trying() -> None:
    picture = images(1)
    affine: list[Guide] = [Pixels(), Grey(), Smaller(4, 4)]
    assert all(is_affine(Objective.like(guide, picture), 16) for guide in affine)
    assert not is_affine(Objective.like(Edges(), picture), 16)


def test_what_affine_objectives_let_expect_is_the_gaussians_conditional_mean(codec: Codec) -> None:
    """Against the textbook's formula, with every pixel's covariance written out."""
    network = codec.network
    assert isinstance(network, PrincipalGenerator)
    mask = torch.ones(1, 1, 16, 16)
    mask[..., :6] = 0
    picture, noise = images(1), 0.2
    objectives = [Objective.like(Grey(), picture, mask=mask), Objective.like(Smaller(4, 4), picture, noise=noise)]
    prediction = torch.randn(2, network.config.axes, generator=torch.Generator().manual_seed(1)) * 0.1
    expectation = GaussianExpectation.of(network.spectrum, network.deviation, objectives, typical=0)
    assert expectation is not None
    found = expectation.given(prediction, 1)
    unit = torch.eye(3 * 256).view(-1, 3, 16, 16)
    weights, noises = [], []
    for objective in objectives:
        linear = objective.seen(unit).T.double()
        weights.append(linear)
        noises.append((0.01 + objective.noise**2) * linear.square().sum(1).clamp(min=1e-12))
    observe, variance = torch.cat(weights), torch.cat(noises)
    basis = (network.spectrum.image(network.spectrum.basis.T) - network.spectrum.mean).flatten(1).T.double()
    spread = network.deviation[1].double().square()
    seen = observe @ basis
    gain = spread[:, None] * seen.T
    covariance = seen @ gain + variance.diag()
    for row, start in zip(found, prediction, strict=True):
        drawn = network.spectrum.synthesise(start[None]).flatten().double()
        missing = observe @ (picture.flatten().double() - drawn)
        expected = start + (gain @ torch.linalg.solve(covariance, missing)).float()
        # The gain to white noise is found by 64 probes, to a fifth.
        assert (row - expected).norm() < 0.15 * (expected - start).norm()


def test_guided_images_are_nearer_to_the_target(codec: Codec, face: Tensor) -> None:
    mask = torch.ones(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 0
    free = generate.sample(1, codec, seed=5, temperature=0.5)
    for objective in (Objective.like(Smaller(4, 4), face), Objective.like(Grey(), face),
                      Objective.like(Pixels(), face, mask=mask),
                 Objective.like(Edges(), face), Objective.like(Pixels(), face, noise=0.2)):
        guided = generate.guide([objective], 1, codec, top=1, lookahead=4)

        def distance(drawn: generate.Drawn, objective: Objective = objective) -> float:
            return objective.distances(codec.network.decode(torch.tensor([drawn.latent.indices]))[None]).item()

        assert distance(guided[0]) < 0.3 * distance(free[0])


def test_objectives_combine_each_by_its_mask_and_weight(codec: Codec, face: Tensor) -> None:
    """One face on the left, another on the right, and the edges of a third, which count little or much."""
    left = torch.zeros(1, 1, 16, 16)
    left[..., :8] = 1
    one, other, third = face, generate_image(codec, 2), generate_image(codec, 3)
    halves = [Objective.like(Pixels(), one, mask=left), Objective.like(Grey(), other, mask=1 - left)]

    def distances(weight: float) -> list[float]:
        edges = Objective.like(Edges(), third, weight)
        drawn = generate.guide([*halves, edges], 1, codec, top=1, lookahead=5)[0]
        image = codec.network.decode(torch.tensor([drawn.latent.indices]))
        return [half.distances(image[None]).item() / half.distances(third[None]).item() for half in halves] + [
            edges.distances(image[None]).item()]

    little, much = distances(0.01), distances(10)
    assert max(little[:2]) < 0.3
    assert much[2] < little[2]


def test_every_result_is_a_latent_that_decodes_to_its_very_pixels(codec: Codec, face: Tensor) -> None:
    for drawn in (*generate.sample(3, codec), *generate.guide([Objective.like(Grey(), face)], 3, codec)):
        assert drawn.latent.levels == codec.levels
        assert np.array_equal(codec.decode(drawn.latent), drawn.pixels)


@pytest.mark.cuda
def test_a_gpu_draws_what_the_cpu_does(face: Tensor) -> None:
    drawn = []
    for device in ("cpu", "cuda"):
        codec = load_model(str(ROOT / "tests/golden/k2-principal.safetensors"), device)
        mask = torch.ones(1, 1, 16, 16, device=codec.device)
        mask[..., :4] = 0
        here = face.to(codec.device)
        objectives = [Objective.like(Smaller(4, 4), here, mask=mask), Objective.like(Edges(), here, weight=0.5)]
        drawn.append([*generate.guide(objectives, 2, codec, top=1, lookahead=3),
                      *generate.sample(2, codec, temperature=0.5)])
    for one, other in zip(*drawn, strict=True):
        assert one.latent.prefix(9) == other.latent.prefix(9)  # later a near-tie may fall either way


class Bright(nn.Module):
    """Logits of dark and bright."""

    def forward(self, pictures: Tensor) -> Tensor:
        mean = pictures.flatten(1).mean(1, keepdim=True)
        return torch.cat([-20 * mean, 20 * mean], 1)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same one, in both kinds of file."""
    folder = tmp_path_factory.mktemp("classifiers")
    torch.jit.save(torch.jit.script(Bright()), folder / "bright.pt")  # type: ignore[no-untyped-call]
    batch = torch.export.Dim("batch")
    program = torch.export.export(Bright(), (torch.zeros(4, 3, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "bright.pt2")
    return [folder / "bright.pt", folder / "bright.pt2"]


def test_a_classifier_from_a_file_makes_images_of_its_class(classifiers: list[Path], codec: Codec) -> None:
    for path in classifiers:
        objectives = [Classifier.load(path, label, 16, CPU).objective() for label in (0, 1)]
        means = [generate.guide([one], 1, codec, lookahead=3, typical=0)[0].pixels.mean() for one in objectives]
        assert means[0] + 30 < means[1]


def test_files_that_are_no_classifiers_are_refused(classifiers: list[Path], tmp_path: Path) -> None:
    (tmp_path / "junk.pt").write_bytes(b"junk")
    (tmp_path / "junk.pt2").write_bytes(b"junk")
    for path in (tmp_path / "junk.pt", tmp_path / "junk.pt2"):
        with pytest.raises(BadCheckpoint):
            Classifier.load(path, 0, 16, CPU)
    with pytest.raises(BadCheckpoint):
        Classifier.load(classifiers[0], 2, 16, CPU)
    with pytest.raises(InputMissing):
        Classifier.load(tmp_path / "missing.pt", 0, 16, CPU)


class StandIn(nn.Module):
    """As much of a CLIP as the guide needs: what a text or an image embeds to is its mean colour."""

    visual = SimpleNamespace(image_size=8, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))

    def encode_image(self, pictures: Tensor, normalize: bool) -> Tensor:
        assert pictures.shape[2:] == (8, 8) and normalize
        return nn.functional.normalize(pictures.mean((2, 3)), dim=1)

    def encode_text(self, tokens: Tensor, normalize: bool) -> Tensor:
        return nn.functional.normalize(tokens.float(), dim=1)


def test_a_text_is_where_its_embedding_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codec: Codec) -> None:
    weights = tmp_path / "clip.pt"
    weights.write_bytes(b"")
    colours = {"red": [1, -1, -1], "blue": [-1, -1, 1]}
    package = SimpleNamespace(create_model=lambda name, pretrained, device: StandIn(),
                              get_tokenizer=lambda name: lambda texts: torch.tensor([colours[text] for text in texts]))
    monkeypatch.setitem(sys.modules, "open_clip", package)
    clip = Clip("ViT-B-32", weights, CPU)
    red, blue = (generate.guide([clip.objective(text)], 1, codec, lookahead=3)[0].pixels.mean((0, 1))
                 for text in colours)
    assert red[0] > blue[0] and red[2] < blue[2]
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(DataMissing, match="open-clip-torch"):
        Clip("ViT-B-32", weights, CPU)
    with pytest.raises(InputMissing):
        Clip("ViT-B-32", tmp_path / "missing.pt", CPU)


def test_the_guide_in_the_docs_works_as_it_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/guides.md").read_text(), re.DOTALL)
    assert example is not None
    assert len(example[1].strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example[1], names)
    with Image.open("darker-below.png") as picture:
        pixels = np.asarray(picture).astype(float)
    assert pixels.shape == (64, 64, 3)
    assert pixels[:32].mean() > pixels[32:].mean() + 20


def test_figures_in_the_docs_are_the_measured_ones() -> None:
    report = json.loads((ROOT / "docs/guided.json").read_text())
    text = (ROOT / "docs/guides.md").read_text()
    for name, methods in report["tasks"].items():
        for method, found in methods.items():
            assert f"| {name} | {method} | {found['psnr']:.2f} dB | {found['fd64']:.1f} |" in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (ROOT / "docs" / target).exists(), target
