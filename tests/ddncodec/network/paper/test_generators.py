from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ddncodec.network.cosines import cosine_planes
from ddncodec.network.paper.blockwise import BlockwiseGenerator
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.paper.generator import BlockPass, PaperGenerator
from ddncodec.network.registry import build
from ddncodec.pixels import downsample
from ddncodec.samplers.guided import GuidedSampler, chain_dropout
from ddncodec.samplers.protocol import Shape
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams

AnyConfig = BlockwiseConfig | SingleShotConfig | RecurrentConfig
PIXEL = 2 / 255  # one 8-bit step, in the network's units

CONFIGS = [
    BlockwiseConfig.default(2, 100, 16, channels=8, planes=24),
    BlockwiseConfig.default(2, 30, 8, channels=8, planes=0),
    BlockwiseConfig.default(7, 20, 16, channels=8, planes=24),
    BlockwiseConfig.default(64, 10, 16, channels=8, planes=0),
    BlockwiseConfig.default(3, 1, 1, channels=4, planes=1),
]


SINGLE_SHOT = SingleShotConfig.default(7, 12, 16, channels=8)
PAPER = [SINGLE_SHOT, replace(SINGLE_SHOT, learning_residual=False, leak=0)]
RECURRENT = RecurrentConfig(k=5, levels=7, resolution=8, leak=2, chain_dropout=0.0, widths=(4, 8))


def network(config: BlockwiseConfig) -> BlockwiseGenerator:
    """An untrained network whose corrections and gains are not the neutral ones that it starts from."""
    generator = sampled(config)
    assert isinstance(generator, BlockwiseGenerator)
    return generator


def sampled(config: AnyConfig) -> PaperGenerator:
    torch.manual_seed(0)
    generator = build(config).eval()
    assert isinstance(generator, PaperGenerator)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    return generator


def targets(config: AnyConfig, count: int) -> Tensor:
    return torch.rand(count, 3, config.resolution, config.resolution) * 2 - 1


def first_block(generator: BlockwiseGenerator, target: Tensor) -> BlockPass:
    return next(iter(generator.blocks(GuidedSampler(target), len(target))))


@pytest.mark.parametrize("config", [*CONFIGS, *PAPER, RECURRENT])
def test_replay_gives_the_encoders_own_reconstruction_alone_as_in_a_batch(
    config: AnyConfig,
) -> None:
    generator = sampled(config)
    encoded = generator.reconstruct(targets(config, 64))
    assert encoded.indices.shape == (64, config.levels)
    assert 0 <= encoded.indices.min() <= encoded.indices.max() < config.k
    torch.testing.assert_close(generator.decode(encoded.indices), encoded.image, rtol=0, atol=PIXEL)
    for i in (0, 63):
        alone = generator.decode(encoded.indices[i : i + 1])
        torch.testing.assert_close(alone, encoded.image[i : i + 1], rtol=0, atol=PIXEL)


@pytest.mark.parametrize("config", [*CONFIGS, *PAPER, RECURRENT])
def test_a_prefix_of_the_picks_is_what_encoding_fewer_levels_gives(
    config: AnyConfig,
) -> None:
    generator, target = sampled(config), targets(config, 3)
    whole = generator.reconstruct(target).indices
    for levels in {1, (config.levels + 1) // 2, config.levels}:
        part = generator.reconstruct(target, levels)
        assert torch.equal(part.indices, whole[:, :levels])
        torch.testing.assert_close(generator.decode(whole[:, :levels]), part.image, rtol=0, atol=PIXEL)
        assert part.image.shape == target.shape


@pytest.mark.parametrize("config", [CONFIGS[2], *PAPER])
def test_every_level_takes_the_proposal_nearest_to_the_target(config: AnyConfig) -> None:
    generator, target = sampled(config), targets(config, 4)
    sampler = GuidedSampler(target)
    for block in generator.blocks(sampler, 4):
        if block.picks is None:
            continue
        offered, picks = block.picks.proposals, block.picks.choice.indices
        features, nodes, scale = offered.features, offered.nodes, offered.scale
        residual = downsample(target, offered.prediction.shape[-1]) - offered.prediction
        for level in range(len(nodes)):
            proposals = torch.stack([features.render(nodes[level, k] * scale[:, level, None, None])
                                     for k in range(config.k)], 1)
            distances = (residual[:, None] - proposals).square().sum((2, 3, 4))
            assert torch.equal(distances.argmin(1), picks[:, level])
            residual = residual - proposals[torch.arange(4), picks[:, level]]


@pytest.mark.parametrize("config", [CONFIGS[0], *PAPER])
def test_the_errors_of_a_loss_are_those_of_the_images_drawn(config: AnyConfig) -> None:
    generator, target = sampled(config), targets(config, 4)
    for block in generator.blocks(GuidedSampler(target), 4):
        if block.picks is not None:
            here = downsample(target, block.prediction.shape[-1])
            drawn = (here - block.prediction).square().mean((1, 2, 3))
            torch.testing.assert_close(block.picks.errors(here)[:, -1], drawn, rtol=1e-4, atol=1e-5)


def test_leak_conditions_what_follows_and_takes_no_part_in_the_choice_or_its_error() -> None:
    config = CONFIGS[0]
    generator, target = network(config), targets(config, 4)
    first = first_block(generator, target)
    later = generator.reconstruct(target).image
    with torch.no_grad():
        generator.layers[0].nodes[:, :, 3:] += 5
    leaked = first_block(generator, target)
    assert first.picks is not None
    assert leaked.picks is not None
    assert torch.equal(first.picks.choice.indices, leaked.picks.choice.indices)
    assert torch.equal(first.prediction, leaked.prediction)
    assert torch.equal(first.picks.errors(first.prediction), leaked.picks.errors(leaked.prediction))
    assert not torch.equal(generator.reconstruct(target).image, later)


def test_chain_dropout_picks_at_random_as_often_as_asked_and_says_where() -> None:
    config = CONFIGS[2]
    generator = network(config)
    forced = chain_dropout(0.3, Shape(200, config.levels, config.k), BatchStreams(0, 200), torch.device("cpu"))
    sampler = GuidedSampler(targets(config, 200), forced=forced)
    picks = [block.picks for block in generator.blocks(sampler, 200) if block.picks is not None]
    guided = torch.cat([one.choice.guided for one in picks if one.choice.guided is not None], 1)
    assert abs(1 - guided.float().mean().item() - 0.3) < 0.03


def test_replay_renders_no_proposal_that_was_not_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS[0]
    generator = network(config)
    indices = generator.reconstruct(targets(config, 2)).indices
    for name in ("ddncodec.network.paper.ddl.nearest_path", "ddncodec.network.paper.ddl.path_errors"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("replay searched"))
    generator.run(ReplaySampler(indices), 2)


def test_counters_are_part_of_the_state() -> None:
    generator = network(CONFIGS[0])
    assert {key for key in generator.state_dict() if key.endswith(".usage")}


def test_cosine_planes_are_orthonormal_and_start_with_the_constant_one() -> None:
    planes = torch.from_numpy(cosine_planes(40, 16))
    torch.testing.assert_close(planes @ planes.T, torch.eye(40), rtol=0, atol=1e-5)
    torch.testing.assert_close(planes[0], torch.full((256,), 1 / 16))


def test_the_recurrent_generator_picks_the_nearest_of_what_its_one_set_of_nodes_draws() -> None:
    generator, target = sampled(RECURRENT), targets(RECURRENT, 3)
    for block in generator.blocks(GuidedSampler(target), 3):
        assert block.picks is not None
        offered = block.picks.proposals
        assert offered.nodes.data_ptr() == generator.layers[0].nodes.data_ptr()
        drawn = torch.stack([offered.features.render(node.expand(3, -1, -1)) for node in offered.nodes[0]], 1)
        errors = (offered.prediction[:, None] + drawn - target[:, None]).square().sum((2, 3, 4))
        assert torch.equal(block.picks.choice.indices[:, 0], errors.argmin(1))


def test_picks_of_all_levels_count_for_the_nodes_that_levels_share() -> None:
    counts = torch.arange(35.0).view(7, 5)
    shared, = sampled(RECURRENT).picks_by_layer(counts)
    assert torch.equal(shared, counts.sum(0, keepdim=True))
    own = sampled(CONFIGS[2])
    assert torch.equal(torch.cat(list(own.picks_by_layer(torch.arange(140.0).view(20, 7)))),
                       torch.arange(140.0).view(20, 7))


def test_learning_residual_adds_to_the_prediction_and_without_it_nodes_replace_it() -> None:
    target = targets(SINGLE_SHOT, 2)
    for config in PAPER:
        before: Tensor | None = None
        for prediction, picks in sampled(config).blocks(GuidedSampler(target), 2):
            assert picks is not None
            drawn = picks.proposals.features.render(picks.weights[:, 0])
            base = picks.proposals.prediction
            torch.testing.assert_close(prediction, base + drawn)
            if before is not None and before.shape == base.shape:
                assert torch.equal(base, before if config.learning_residual else torch.zeros_like(base))
            before = prediction


def test_the_leak_of_a_level_conditions_the_next_one_and_is_not_added_up() -> None:
    generator, target = sampled(SINGLE_SHOT), targets(SINGLE_SHOT, 2)
    picks = generator.encode(target)

    def seen() -> list[Tensor]:
        found: list[Tensor] = []
        hook = generator.dense[5].register_forward_hook(lambda module, inputs, output: found.append(inputs[0].leak))
        generator.decode(picks)
        hook.remove()
        return found

    assert seen()[0].abs().max() > 0
    with torch.no_grad():
        generator.layers[4].nodes[:, :, 3:] = 0
    assert seen()[0].abs().max() == 0  # it is level 4's alone
