"""The principal generator: its linear map, its trees, its couplings against brute force, and replay."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ddncodec.effort import GREEDY, LOOK_AHEAD
from ddncodec.errors import BadCheckpoint
from ddncodec.network.principal.axes import PrincipalAxes
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.network.principal.coupling import Codebook, Trellis, all_picks
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.network.principal.heads import Head
from ddncodec.network.principal.start import couple, fit_axes, fit_head, start
from ddncodec.network.principal.trees import Cells, SplitTrees
from ddncodec.network.registry import build, config_from_json
from ddncodec.samplers.replay import ReplaySampler
from ddncodec.samplers.streams import BatchStreams
from ddncodec.weights import FORMAT, load_network, read_info

SMALL = PrincipalConfig(k=2, resolution=16, axes=40, coded_axes=24, depth=5, frequencies=(60, 20, 10), width=16,
                        segments=(12, 18, 30), block_bits=12)
CONFIGS = [replace(SMALL, refiner=(8, 12), first_block=1), replace(SMALL, k=8, segments=(4, 6, 10)),
           replace(SMALL, k=64, segments=(2, 3, 5), first_block=6)]


def faces(count: int, side: int = 16) -> Tensor:
    """Smooth random pictures that have something in common, (count, 3, side, side) in [−1, 1]."""
    generator = torch.Generator().manual_seed(1)
    parts = torch.nn.functional.interpolate(torch.randn(30, 3, 4, 4, generator=generator), size=side, mode="bicubic")
    weights = torch.randn(count, 30, generator=generator) / torch.arange(1, 31)
    return torch.einsum("np,pchw->nchw", weights, parts).mul(0.3).clamp(-1, 1)


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: f"k{config.k}")
def network(request: pytest.FixtureRequest) -> PrincipalGenerator:
    """Fitted to data, its heads made to say something, and coupled."""
    torch.manual_seed(0)
    generator = PrincipalGenerator(request.param)
    start(generator, iter(torch.split(faces(1500), 500)), 30)
    couple(generator, iter([faces(1500)]))
    with torch.no_grad():
        if generator.refiner is not None:
            torch.nn.init.normal_(generator.refiner.leave.weight, std=0.01)
    return generator.requires_grad_(False).eval()


def error(network: PrincipalGenerator, effort: int, levels: int | None = None) -> float:
    images = faces(1700)[1500:]
    return (network.reconstruct(images, levels, effort).image - images).square().mean().item()


def test_replay_gives_the_encoders_own_reconstruction_alone_as_in_a_batch(network: PrincipalGenerator) -> None:
    images = faces(1520)[1500:]
    for effort in range(GREEDY, LOOK_AHEAD + 1):
        encoded = network.reconstruct(images, effort=effort)
        assert encoded.indices.shape == (20, network.config.levels)
        assert (encoded.indices >= 0).all()
        assert (encoded.indices < network.config.k).all()
        torch.testing.assert_close(network.decode(encoded.indices), encoded.image)
        for i in range(3):
            alone = network.decode(encoded.indices[i : i + 1])
            torch.testing.assert_close(alone[0], encoded.image[i], atol=1e-5, rtol=0)


def test_a_prefix_of_the_picks_decodes_and_more_picks_decode_better(network: PrincipalGenerator) -> None:
    images, levels = faces(1700)[1500:], network.config.levels
    indices = network.reconstruct(images).indices
    parts = [max(1, levels * part // 5) for part in range(6)]
    errors = [(network.decode(indices[:, :part]) - images).square().mean().item() for part in parts]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4


def test_greedy_encoding_of_fewer_levels_is_a_prefix(network: PrincipalGenerator) -> None:
    images = faces(1520)[1500:]
    whole = network.reconstruct(images).indices
    for levels in {1, network.config.levels // 2, network.config.levels - 1}:
        assert torch.equal(network.reconstruct(images, levels).indices, whole[:, :levels])


def test_more_effort_is_never_worse(network: PrincipalGenerator) -> None:
    errors = [error(network, effort) for effort in range(GREEDY, LOOK_AHEAD + 1)]
    assert errors[-1] <= errors[0]
    if isinstance(network.coupling, Trellis):
        assert errors[-1] < errors[0]


def test_a_head_learns_what_is_missing_and_how_much() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(4000, 24, generator=generator)
    spread = (seen[:, :1] / 2).exp()  # the first axis can be known, of the others only how far they spread
    missing = torch.cat([seen[:, 1:2].abs() - 0.8, spread * torch.randn(4000, 39, generator=generator)], 1)
    head = Head(SMALL, last=False)
    fit_head(head, seen[:3000], missing[:3000], torch.tensor([4.0] + 39 * [0.01]), 400)
    with torch.no_grad():
        mean, log_scale = head(seen[3000:])
    left = (missing[3000:, 0] - mean[:, 0]).square().mean()
    assert left < 0.3 * missing[3000:, 0].square().mean()
    found = torch.corrcoef(torch.stack([log_scale[:, 1:].mean(1), spread[3000:, 0].log()]))[0, 1]
    assert found > 0.9


def test_gradients_reach_heads_and_steps(network: PrincipalGenerator) -> None:
    trained = build(network.config)
    trained.load_state_dict(network.state_dict())
    trained.loss(faces(8), 4.0, BatchStreams(0, 8)).total.backward()
    gradients = {name: parameter.grad for name, parameter in trained.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    for name in ("trees.steps", "heads.0.mean.weight", "heads.0.log_scale.1.weight"):
        assert gradients[name].abs().sum() > 0  # type: ignore[union-attr]


def test_coefficients_keep_distances_and_come_back() -> None:
    spectrum = PrincipalAxes(8, 192, (64, 64, 64))
    spectrum.colours.copy_(torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q)
    spectrum.mean.uniform_(-1, 1)
    images = faces(6, 8)
    coefficients = spectrum.analyse(images)
    torch.testing.assert_close(spectrum.synthesise(coefficients), images)
    distance = (images[0] - images[1]).square().sum()
    torch.testing.assert_close((coefficients[0] - coefficients[1]).square().sum(), distance)


def test_axes_are_those_of_principal_component_analysis() -> None:
    images = faces(500)
    network = PrincipalGenerator(replace(SMALL, frequencies=(256, 256, 256)))
    found = fit_axes(network, iter([images]))
    flat = (images - images.mean(0)).flatten(1)
    variances = torch.linalg.eigvalsh(flat.T @ flat / len(flat)).flip(0)[: SMALL.axes]
    torch.testing.assert_close(found.square().mean(0), variances, atol=1e-5, rtol=1e-3)


def test_cells_are_split_by_falling_gain_whatever_the_batch() -> None:
    trees = SplitTrees(4, 2)
    trees.gain.copy_(torch.tensor([[4.0, 3.0, 0.5], [2.0, 0.0, 1.0], [2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    cells = Cells(trees, 2)
    axes, leaves = cells.best(2)
    assert axes.tolist() == [[0, 1]] * 2  # of equal gains the first axis
    assert leaves.tolist() == [[0, 0]] * 2
    cells.split(axes, torch.tensor([[0, 0], [1, 1]]))
    axes, leaves = cells.best(3)
    assert axes.tolist() == [[0, 2, 1], [2, 1, 0]]
    assert leaves.tolist() == [[1, 0, 1], [0, 2, 2]]


def test_viterbi_finds_the_best_picks_of_all() -> None:
    generator, trellis = torch.Generator().manual_seed(0), Trellis(12)
    residual, dither = torch.randn(12, 9, generator=generator), torch.rand(12, 9, generator=generator)
    steps = torch.randn(12, 9, 2, generator=generator)
    every = torch.tensor(list(product((0, 1), repeat=9)))
    shifts = trellis.shifts(every)

    def errors(picks: Tensor, shift: Tensor) -> Tensor:
        node = steps[:, None].expand(-1, picks.shape[1], -1, -1).gather(3, picks[..., None])[..., 0]
        return (residual[:, None] - node - shift * dither[:, None]).square().sum(2)

    best = errors(every.expand(12, -1, -1), shifts).min(1).values
    found = trellis.nearest(residual, steps, dither, greedy=False)
    torch.testing.assert_close(errors(found[:, None], trellis.shifts(found)[:, None])[:, 0], best)
    greedy = trellis.nearest(residual, steps, dither, greedy=True)
    first = (residual[:, 0] + dither[:, 0])[:, None] - steps[:, 0]  # the first state shifts down
    assert torch.equal(greedy[:, 0], first.abs().argmin(1))


def test_a_trellis_is_searched_greedily_split_by_split() -> None:
    generator, trellis = torch.Generator().manual_seed(0), Trellis(130)
    residual, dither = torch.randn(7, 130, generator=generator), torch.rand(7, 130, generator=generator)
    steps = torch.randn(7, 130, 2, generator=generator)
    picks = torch.zeros(7, 130, dtype=torch.int64)
    for i in range(130):
        shift = trellis.shifts(picks[:, : i + 1])[:, i]
        picks[:, i] = ((residual[:, i] - shift * dither[:, i])[:, None] - steps[:, i]).abs().argmin(1)
    assert torch.equal(trellis.nearest(residual, steps, dither, greedy=True), picks)


def test_a_long_block_is_searched_as_well_as_a_short_one() -> None:
    generator, trellis = torch.Generator().manual_seed(0), Trellis(130)
    dither, noise = (torch.rand(3, 130, generator=generator) for _ in range(2))
    steps = torch.stack([dither - 3, dither + 3], 2)  # so far apart that noise leaves no doubt
    picks = torch.randint(2, (3, 130), generator=generator)
    residual = steps.gather(2, picks[..., None])[..., 0] + trellis.shifts(picks) * dither + 0.1 * noise
    assert torch.equal(trellis.nearest(residual, steps, dither, greedy=False), picks)


def test_the_trellis_shifts_are_those_of_walking_through_its_states() -> None:
    trellis = Trellis(72)
    picks = torch.randint(2, (500, 72), generator=torch.Generator().manual_seed(0))
    state, walked = torch.zeros(500, dtype=torch.int64), []
    for pick in picks.unbind(1):
        walked.append(2.0 * (state % 2) - 1)
        state = trellis.following[state, pick]
    assert torch.equal(trellis.shifts(picks), torch.stack(walked, 1))
    assert torch.equal(trellis.shifts(picks[:, :7]), torch.stack(walked[:7], 1))


def test_a_codebooks_nearest_node_is_the_nearest_of_all_k() -> None:
    generator, codebook = torch.Generator().manual_seed(0), Codebook(3)
    torch.nn.init.normal_(codebook.offsets, generator=generator)
    residual, dither = torch.randn(5, 6, generator=generator), torch.rand(5, 6, generator=generator)
    steps = torch.randn(5, 6, 2, generator=generator)
    picks = codebook.nearest(residual, steps, dither, greedy=True)
    offsets = codebook.offsets.detach()
    for image, level in product(range(5), range(2)):
        part = slice(3 * level, 3 * level + 3)
        nodes = [steps[image, part].gather(1, pick[:, None])[:, 0] + dither[image, part] * offset
                 for pick, offset in zip(all_picks(3), offsets, strict=True)]
        nearest = min(range(8), key=lambda k: (nodes[k] - residual[image, part]).square().sum().item())
        assert picks[image, part].tolist() == all_picks(3)[nearest].tolist()


@pytest.mark.parametrize("k", [2, 16, 512, 65_536])
@pytest.mark.parametrize("resolution", [8, 64, 256])
def test_default_layouts_hold_what_was_asked_for(k: int, resolution: int) -> None:
    for levels in (1, 7, 1152):
        config = PrincipalConfig.default(k, levels, resolution)
        assert (config.k, config.levels, config.resolution) == (k, levels, resolution)
        assert config_from_json(config.to_json()) == config


def test_blocks_grow_from_the_first_to_the_longest_and_end_with_their_segment() -> None:
    def blocks(first_block: int) -> list[int]:
        network = PrincipalGenerator(replace(SMALL, first_block=first_block))
        return [splits.axes.shape[1] for splits in network.splits(ReplaySampler(torch.zeros(1, 60).long()), 1)]

    assert blocks(0) == [12, 12, 6, 12, 12, 6]
    assert blocks(1) == [1, 1, 2, 4, 4, 12, 6, 12, 12, 6]
    assert blocks(5) == [5, 5, 2, 12, 6, 12, 12, 6]


def test_short_first_blocks_bring_an_untypical_image_near_in_few_bits() -> None:
    """An image far out along the first axis: its first bits must not go to all axes alike, one each."""
    errors = []
    for first_block in (0, 1):
        torch.manual_seed(0)
        network = PrincipalGenerator(replace(SMALL, first_block=first_block))
        start(network, iter([faces(1500)]), 0)
        network.requires_grad_(False)
        images = faces(1700)[1500:]
        far = images[network.target(images)[:, 0].abs().argsort(descending=True)[:20]]
        errors.append((network.reconstruct(far, 8).image - far).square().mean().item())
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("change", [
    {"k": 3}, {"k": 1}, {"k": 2**17}, {"resolution": 20}, {"axes": 91}, {"axes": 0}, {"coded_axes": 41}, {"depth": 0},
    {"refiner": (0,)}, {"refiner": (8,) * 5}, {"refiner": (5_000,)},
    {"depth": 17}, {"frequencies": (60, 20)}, {"frequencies": (60, 20, 257)}, {"width": 0}, {"segments": ()},
    {"segments": (5, 0)}, {"block_bits": 25}, {"block_bits": 0}, {"segments": (70_000,)}, {"k": 4, "block_bits": 11},
    {"first_block": 13}, {"first_block": -1}, {"k": 4, "first_block": 3}, {"shrink": 1}, {"shrink": 9},
])
def test_configurations_that_are_none_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadCheckpoint):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_a_file_cannot_promise_more_heads_than_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, segments=(1,) * 5000)
    path = tmp_path / "many.safetensors"
    metadata = {"format": FORMAT, "name": "many", "config": config.to_json()}
    save_file({"deviation": torch.ones(5001, SMALL.axes).half()}, path, metadata)
    monkeypatch.setattr("ddncodec.weights.build", lambda config: pytest.fail("it was laid out"))
    with pytest.raises(BadCheckpoint, match="not those of its configuration"):
        load_network(read_info(path))


def test_a_refiner_learns_what_the_axes_cannot_draw() -> None:
    """Faces with a checkerboard as bright as their mean: no axis has it, but the picture implies it."""
    config = replace(SMALL, refiner=(8, 12), axes=24, frequencies=(20, 10, 10))
    network = PrincipalGenerator(config)
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2 - 1).float()
    images = faces(600) * 0.7
    images = images + 0.3 * images.mean((1, 2, 3), keepdim=True).abs() * board
    start(network, iter([images]), 20)
    assert network.refiner is not None
    optimizer = torch.optim.Adam(network.refiner.parameters(), 3e-3)

    def error(levels: int) -> float:
        return (network.reconstruct(images[:100], levels).image - images[:100]).square().mean().item()

    before = [error(levels) for levels in (30, 60)]
    trees = network.trees.steps.clone()
    for step in range(60):
        optimizer.zero_grad()
        network.loss(images[100:], 4.0, BatchStreams(step, 500)).total.backward()
        optimizer.step()
    assert torch.equal(network.trees.steps, trees)
    assert all(error(levels) < 0.9 * old for levels, old in zip((30, 60), before, strict=True))


def test_a_configuration_without_a_refiner_reads_and_writes_as_it_always_did() -> None:
    """The id of weights covers this text."""
    assert "refiner" not in SMALL.to_json()
    assert config_from_json(SMALL.to_json()) == SMALL
    refined = replace(SMALL, refiner=(8, 12))
    assert config_from_json(refined.to_json()) == refined


def test_steps_shrink_as_far_as_the_configuration_lets_them() -> None:
    """And the configurations of old, which do not say how far, read and write as they always did."""
    assert "shrink" not in SMALL.to_json()
    for config in (SMALL, replace(SMALL, shrink=5)):
        assert config_from_json(config.to_json()) == config
        network = PrincipalGenerator(config)
        for head in network.heads[:-1]:
            assert isinstance(head, Head) and head.log_scale is not None
            torch.nn.init.constant_(head.log_scale[1].bias, -7)
        _, scale = network.correct(1, torch.randn(2, config.axes))
        assert scale.log().flatten().tolist() == pytest.approx([-config.shrink] * 2 * config.coded_axes)
