"""What holds for every generator."""

import pytest
import torch

from ddncodec.network.base import Generator
from ddncodec.network.config import GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.network.registry import build
from ddncodec.samplers.streams import BatchStreams

BINARY = PrincipalConfig(k=2, resolution=8, axes=20, coded_axes=10, depth=3, frequencies=(20, 10, 10), width=8,
                         segments=(4, 8), block_bits=4, refiner=(4, 8))
FOUR_NODES = PrincipalConfig(k=4, resolution=8, axes=20, coded_axes=10, depth=3, frequencies=(20, 10, 10), width=8,
                             segments=(2, 4), block_bits=4)
CONFIGS = [
    BlockwiseConfig.default(2, 12, 8, channels=8, planes=16), BlockwiseConfig.default(4, 12, 8, channels=8, planes=0),
    SingleShotConfig.default(4, 6, 8, channels=8),
    RecurrentConfig(k=4, levels=6, resolution=8, leak=1, chain_dropout=0.1, widths=(8, 8)), BINARY, FOUR_NODES,
]


def resting(generator: Generator) -> tuple[set[str], set[str]]:
    """The parameters said to rest, and those without a gradient after a training step on one image."""
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    generator.loss(image, 4.0, BatchStreams(0, 1)).total.backward()
    said = {id(parameter) for parameter in generator.resting}
    named = list(generator.named_parameters())
    return {name for name, p in named if id(p) in said}, {name for name, p in named if p.grad is None}


@pytest.mark.parametrize("config", CONFIGS)
def test_all_parameters_but_those_said_to_rest_have_a_gradient(config: GeneratorConfig) -> None:
    torch.manual_seed(0)
    said, found = resting(build(config))
    assert said == found


def test_where_the_refiner_learns_alone_all_other_parameters_rest() -> None:
    generator = PrincipalGenerator(BINARY)
    generator.refiner_alone = True
    said, found = resting(generator)
    assert said == found == {name for name, _ in generator.named_parameters() if not name.startswith("refiner.")}


@pytest.mark.parametrize("config", [BINARY, FOUR_NODES])
def test_coupled_all_parameters_have_a_gradient_though_no_pick_is_coupled(config: PrincipalConfig) -> None:
    generator = PrincipalGenerator(config)
    with torch.no_grad():
        generator.trees.gain[:, 0] = torch.arange(10, 0, -1)
        generator.trees.dither[9, 6] = 1  # of the axis that is split last, a cell below its first
    assert resting(generator) == (set(), set())
