import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ddncodec.codec import load_model
from ddncodec.errors import BadCheckpoint, DataMissing, UnknownWeights
from ddncodec.generate import sample
from ddncodec.latent import Latent
from ddncodec.network.base import Generator
from ddncodec.network.condition import condition_of, one_hot
from ddncodec.network.config import Condition
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.registry import build, config_from_json
from ddncodec.pixels import edges_of, grey_of, to_pixels, to_tensor
from ddncodec.samplers.streams import BatchStreams
from ddncodec.weights import load_network, read_info, save_network

PLAIN = BlockwiseConfig.default(4, 12, 8, channels=8, planes=16)
CLASSES, GREY = Condition("class", 3), Condition("grey", 1)
PIXEL = 2 / 255


def network(condition: Condition, config: BlockwiseConfig = PLAIN) -> Generator:
    torch.manual_seed(0)
    generator = build(replace(config, condition=condition)).eval()
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return generator


def test_grey_is_what_pillow_makes_of_colours() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    ours = to_pixels(grey_of(to_tensor(pixels[None])).expand(-1, 3, -1, -1))[0, :, :, 0].astype(int)
    assert np.abs(ours - np.asarray(Image.fromarray(pixels).convert("L"))).max() <= 1


def test_edges_are_where_grey_changes_and_as_strong_as_the_change() -> None:
    grey = torch.full((1, 1, 6, 8), -1.0)
    grey[..., 4:] = -0.5
    edges = edges_of(grey)
    torch.testing.assert_close(edges[0, 0, :, 3:5], torch.full((6, 2), 0.5))
    assert not edges[0, 0, :, :3].any()
    assert not edges[0, 0, :, 5:].any()
    assert edges_of(torch.tensor([[[[-1.0, 1], [1, 1]]]])).max() == 1


@pytest.mark.parametrize("planes", [16, 0])
def test_replay_with_the_condition_gives_the_encoders_image_and_with_another_does_not(planes: int) -> None:
    config = BlockwiseConfig.default(4, 12, 8, channels=8, planes=planes)
    images = torch.rand(3, 3, 8, 8) * 2 - 1
    for condition, labels in ((CLASSES, torch.tensor([0, 2, 1])), (GREY, None)):
        generator = network(condition, config)
        told = condition_of(condition, images, labels)
        assert told is not None
        encoded = generator.reconstruct(images, condition=told)
        replayed = generator.decode(encoded.indices, told)
        torch.testing.assert_close(replayed, encoded.image, rtol=0, atol=PIXEL)
        other = generator.decode(encoded.indices, told.roll(1, 0))
        assert (other - encoded.image).abs().amax((1, 2, 3)).min() > PIXEL


def test_every_stage_is_told_the_condition_and_learns_from_it() -> None:
    generator = network(CLASSES)
    images = torch.rand(6, 3, 8, 8) * 2 - 1
    generator.loss(images, 4.0, BatchStreams(0, 6), one_hot(torch.arange(6) % 3, 3)).total.backward()
    told = {name: p.grad for name, p in generator.named_parameters() if ".told.weight" in name}
    assert len(told) == len(PLAIN.stages)
    assert all(gradient is not None and gradient.any() for gradient in told.values())


def test_classes_that_are_unknown_or_out_of_range_are_refused() -> None:
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(DataMissing):
        condition_of(CLASSES, images, None)
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(DataMissing):
            condition_of(CLASSES, images, torch.tensor(labels))
    assert condition_of(None, images, None) is None


def test_a_conditional_network_survives_its_file_and_others_have_no_condition_in_theirs(tmp_path: Path) -> None:
    generator = network(CLASSES)
    save_network(tmp_path / "weights.safetensors", generator, "test")
    loaded = load_network(read_info(tmp_path / "weights.safetensors"))
    assert loaded.config == generator.config
    codec = load_model(str(tmp_path / "weights.safetensors"), "cpu")
    with pytest.raises(UnknownWeights, match="needs each image's class"):
        codec.encode(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UnknownWeights):
        codec.decode(Latent((0,) * 12, 4))
    assert "condition" not in PLAIN.to_json()


def test_samples_of_a_class_pick_nodes_as_often_as_its_training_images_did(tmp_path: Path) -> None:
    generator = network(CLASSES)
    for layer in generator.layers:
        layer.usage[:, :, 1] = torch.tensor([0.0, 300, 0, 100])
        layer.usage[:, 2, 2] = 70_000  # more than half precision holds
    save_network(tmp_path / "weights.safetensors", generator, "test")
    codec = load_model(str(tmp_path / "weights.safetensors"), "cpu")
    for temperature, likelier in ((1.0, 0.75), (0.5, 0.9)):
        picks = {label: torch.tensor([drawn.latent.indices for drawn in sample(
            200, codec, temperature=temperature, condition=label)])
            for label in range(3)}
        shares = {label: torch.bincount(some.flatten(), minlength=4) / some.numel() for label, some in picks.items()}
        torch.testing.assert_close(shares[0], torch.full((4,), 0.25), rtol=0, atol=0.04)  # nothing was counted
        torch.testing.assert_close(shares[1], torch.tensor([0, likelier, 0, 1 - likelier]), rtol=0, atol=0.04)
        assert shares[2].tolist() == [0, 0, 1, 0]


def test_odds_that_are_none_are_refused(tmp_path: Path) -> None:
    generator = network(CLASSES)
    generator.layers[0].usage[0, 0] = -1
    save_network(tmp_path / "weights.safetensors", generator, "test")
    with pytest.raises(BadCheckpoint, match="below zero"):
        load_network(read_info(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("condition", [
    {"kind": "class", "channels": 1}, {"kind": "class", "channels": 10**6}, {"kind": "grey", "channels": 3},
    {"kind": "smell", "channels": 1}, {"kind": ["class"], "channels": 2}, {"kind": "class"}, {"channels": 2},
    {"kind": "class", "channels": "2"}, "class", [], 1, {},
])
def test_a_condition_that_is_none_is_refused(condition: object) -> None:
    fields = json.loads(PLAIN.to_json()) | {"condition": condition}
    with pytest.raises(BadCheckpoint):
        config_from_json(json.dumps(fields))
