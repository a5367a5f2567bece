import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddncodec.errors import BadCheckpoint, BadRecipe, InputMissing, NotFinite
from ddncodec.network.config import Condition, GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.samplers.streams import BatchStreams
from ddncodec.training.checkpoint import load_state, previous, save_state
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.estimate import estimate
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import BEST_FILE, STATE_FILE, Trainer, train_once
from ddncodec.training.watch import BOARD_FOLDER, LOG_FILE, PREVIEW_FILE
from ddncodec.weights import load_network, read_info

CPU = World(torch.device("cpu"))
PLANES = BlockwiseConfig.default(4, 12, 8, channels=8, planes=16)  # K > 2: chain dropout draws random numbers
CONV = BlockwiseConfig.default(4, 12, 8, channels=8, planes=0)
TOLD = replace(CONV, condition=Condition("grey", 1))
RECURRENT = RecurrentConfig(k=4, levels=6, resolution=8, leak=1, chain_dropout=0.1, widths=(8, 8))
PRINCIPAL = PrincipalConfig(k=4, resolution=8, axes=40, coded_axes=20, depth=3, frequencies=(40, 20, 10), width=8,
                            segments=(4, 8), block_bits=8, refiner=(4, 8))


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(params=DEVICES)
def world(request: pytest.FixtureRequest) -> World:
    """One process, on each kind of device."""
    return World(torch.device(request.param))


@pytest.fixture
def config(photos: Path) -> TrainConfig:
    return TrainConfig(data=str(photos), steps=8, batch=6, warmup=2, start_images=36, validation_images=2,
                       validate_every=3, save_every=4)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_state(folder / STATE_FILE)[0]


@pytest.mark.parametrize("network", [PLANES, CONV, TOLD, RECURRENT])
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(
    network: GeneratorConfig, config: TrainConfig, tmp_path: Path
) -> None:
    unbroken = Trainer.create(tmp_path / "unbroken", Recipe(network, config), CPU)
    # Make splits happen, and after the break too.
    broken = Trainer.create(tmp_path / "broken", Recipe(network, config), CPU)
    for trainer in (unbroken, broken):
        trainer.network.layers[-1].usage[:, 0] = 2.2 * config.split_gate
        trainer.network.layers[-1].usage[:, 1:] = 0.55 * config.split_gate
    list(unbroken.run())
    for progress in broken.run():
        if progress.step == 5:
            broken.request_stop()
    assert broken.step == 5
    torch.rand(3)  # the global random state has no say
    resumed = Trainer.resume(tmp_path / "broken", CPU)
    assert list(progress.step for progress in resumed.run()) == [6, 7, 8]
    expected, actual = state(tmp_path / "unbroken"), state(tmp_path / "broken")
    assert expected.keys() == actual.keys()
    assert unbroken.splits > 0
    for name, tensor in expected.items():
        assert torch.equal(tensor, actual[name]), name
    facts = [load_state(tmp_path / name / STATE_FILE)[1] for name in ("unbroken", "broken")]
    assert facts[0] == facts[1]


def test_what_is_trained_once_goes_on_where_it_stopped_and_is_left_where_it_is_over(
    config: TrainConfig, tmp_path: Path
) -> None:
    recipe = Recipe(PLANES, config)
    begun = Trainer.create(tmp_path / "mine", recipe, CPU)
    for progress in begun.run():
        if progress.step == 5:
            begun.request_stop()
    assert not begun.over
    best = train_once(recipe, tmp_path / "mine")
    trained = Trainer.resume(tmp_path / "mine", CPU)
    assert (best, trained.step, trained.over) == (tmp_path / "mine" / BEST_FILE, config.steps, True)
    before = {path: path.stat().st_mtime_ns for path in best.parent.iterdir()}
    train_once(recipe, tmp_path / "mine")
    assert {path: path.stat().st_mtime_ns for path in best.parent.iterdir()} == before


def test_a_run_leaves_its_best_weights_a_log_and_a_preview(config: TrainConfig, world: World, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path / "mine", Recipe(PLANES, config), world)
    measured = [progress.psnr for progress in trainer.run() if progress.psnr is not None]
    info = read_info(tmp_path / "mine" / BEST_FILE)
    assert (info.name, info.config) == ("mine", PLANES)
    load_network(info)
    log = [json.loads(line) for line in (tmp_path / "mine" / LOG_FILE).read_text().splitlines()]
    assert [entry["psnr"] for entry in log] == measured
    assert [entry["step"] for entry in log] == [3, 6, 8]
    assert max(measured) == trainer.best_psnr
    with Image.open(tmp_path / "mine" / PREVIEW_FILE) as preview:
        assert preview.size == (8 * 2, 8 * 5)


@pytest.mark.parametrize("network", [PLANES, CONV])
def test_training_lowers_the_loss(network: BlockwiseConfig, config: TrainConfig, world: World, tmp_path: Path) -> None:
    run = replace(config, steps=100, lr=3e-3, node_lr=9e-3, save_every=100, validate_every=100)
    trainer = Trainer.create(tmp_path, Recipe(network, run), world)
    images = trainer.source.images(range(36)).to(world.device)

    def loss() -> float:
        with torch.no_grad():
            return trainer.network.loss(images, run.final_weight, BatchStreams(0, 36)).total.item()

    before = loss()
    list(trainer.run())
    assert loss() < 0.85 * before


@pytest.fixture
def principal(config: TrainConfig) -> Recipe:
    """All phases: eight steps, coupled after half of them, then four of the refiner alone; gradients are clipped."""
    return Recipe(PRINCIPAL, replace(config, head_steps=3, couple_images=40, couple_at=0.5, augment=0.5,
                                     refiner_steps=4, clip=0.001))


def stopped(folder: Path, recipe: Recipe, step: int, steps: int = 8) -> Trainer:
    """A run that was stopped after a step."""
    trainer = Trainer.create(folder, replace(recipe, train=replace(recipe.train, steps=steps)), CPU)
    for progress in trainer.run():
        if progress.step == step:
            trainer.request_stop()
    assert trainer.step == step
    return trainer


# Saved just before the picks are coupled, just before the refiner learns alone, and while it does.
@pytest.mark.parametrize("step", [4, 8, 10])
def test_a_principal_run_resumes_bit_for_bit_from_all_of_its_phases(step: int, principal: Recipe, tmp_path: Path
                                                                    ) -> None:
    unbroken = Trainer.create(tmp_path / "unbroken", principal, CPU)
    for progress in unbroken.run():
        dithered = bool(unbroken.network.state_dict()["trees.dither"].any())
        assert dithered == (progress.step > 4)
    stopped(tmp_path / "broken", principal, step)
    assert [progress.step for progress in Trainer.resume(tmp_path / "broken", CPU).run()] == [*range(step + 1, 13)]
    for name, tensor in state(tmp_path / "unbroken").items():
        assert torch.equal(tensor, state(tmp_path / "broken")[name]), name


@pytest.mark.parametrize("step", [3, 6])
def test_a_state_of_an_older_version_resumes_bit_for_bit(step: int, principal: Recipe, tmp_path: Path) -> None:
    """One that does not know whether it is coupled, nor of a refiner that learns alone, nor of other lengths."""
    recipe = replace(principal, train=replace(principal.train, refiner_steps=0))
    list(Trainer.create(tmp_path / "new", recipe, CPU).run())
    stopped(tmp_path / "old", recipe, step)
    tensors, facts = load_state(tmp_path / "old" / STATE_FILE)
    for name in ("coupled", "refining_since", "schedule_changed"):
        del facts[name]
    for name in ("refiner_steps", "refiner_lr"):
        del facts["train"][name]
    save_state(tmp_path / "old" / STATE_FILE, tensors, facts)
    list(Trainer.resume(tmp_path / "old", CPU).run())
    for name, tensor in state(tmp_path / "new").items():
        assert torch.equal(tensor, state(tmp_path / "old")[name]), name


@pytest.mark.parametrize(("stop", "steps", "coupled"), [
    (2, 14, 7), (2, 6, 3), (6, 20, None), (6, 7, None),  # before and after the picks are coupled, longer and shorter
    (3, 4, 3), (3, 1, 3),  # the new length's half is behind, in the latter case all of it
    (8, 20, None), (12, 20, None), (12, 8, None),  # before the refiner's steps, and after them
])
def test_picks_are_coupled_once_whichever_way_the_length_changes(
    stop: int, steps: int, coupled: int | None, principal: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, principal, stop)
    resumed = Trainer.resume(tmp_path, CPU, steps)
    times: list[int] = []
    monkeypatch.setattr(resumed, "_couple", lambda network: times.append(resumed.step))
    done = [progress.step for progress in resumed.run()]
    assert times == ([] if coupled is None else [coupled])
    assert done == [*range(stop + 1, max(stop, steps) + 5)] if (stop, steps) != (12, 8) else not done


@pytest.mark.parametrize(("stop", "steps"), [(3, 20), (3, 6), (8, 16), (12, 20)])
def test_the_learning_rate_does_not_jump_where_the_length_changes(
    stop: int, steps: int, principal: Recipe, tmp_path: Path
) -> None:
    before = stopped(tmp_path, principal, stop)
    expected = before.schedule(stop)
    resumed = Trainer.resume(tmp_path, CPU, steps)
    rates = [[group["lr"] for group in resumed.optimizer.param_groups]]
    for progress in resumed.run():
        if progress.step < steps:
            rates.append([group["lr"] for group in resumed.optimizer.param_groups])
        if progress.step == stop + 1:  # what is changed once is remembered
            resumed.save()
            again = Trainer.resume(tmp_path, CPU)
            assert [group["lr"] for group in again.optimizer.param_groups] == rates[-1]
    train = principal.train
    assert rates[0] == [train.lr * expected, train.lr / 20 * expected]
    assert [rate for rate, _ in rates] == pytest.approx([train.lr * resumed.schedule(s) for s in range(stop, steps)])


def test_the_refiner_learns_alone_on_top_of_the_average_of_all_parts(principal: Recipe, tmp_path: Path) -> None:
    all_parts = stopped(tmp_path, principal, 8)
    average = {name: tensor.clone() for name, tensor in all_parts.average.state_dict().items()}
    resumed = Trainer.resume(tmp_path, CPU)
    list(resumed.run())
    for part in (resumed.network, resumed.average):
        changed = {name for name, tensor in part.state_dict().items() if not torch.equal(tensor, average[name])}
        assert changed == {name for name, _ in part.named_parameters() if name.startswith("refiner.")}


def test_a_run_whose_refiner_learned_alone_goes_back_to_all_parts(principal: Recipe, tmp_path: Path) -> None:
    stopped(tmp_path, principal, 10)
    resumed = Trainer.resume(tmp_path, CPU, 14)
    heads = [parameter.clone() for parameter in resumed.network.dense[0].parameters()]
    steps = [progress.step for progress in resumed.run()]
    assert steps == [*range(11, 19)]  # four of all parts, four of the refiner
    assert not any(map(torch.equal, heads, resumed.network.dense[0].parameters()))


def test_a_run_may_begin_with_the_refiner_of_another_model(principal: Recipe, tmp_path: Path) -> None:
    list(Trainer.create(tmp_path / "first", principal, CPU).run())
    best = tmp_path / "first" / BEST_FILE
    expected = load_network(read_info(best)).state_dict()
    train = replace(principal.train, refiner_from=str(best))
    second = Trainer.create(tmp_path / "second", Recipe(principal.network, train), CPU)
    for network in (second.network, second.average):
        for name, tensor in network.state_dict().items():
            if name.startswith("refiner."):
                assert torch.equal(tensor, expected[name]), name
    assert expected["refiner.leave.weight"].any()
    for other in (replace(PRINCIPAL, refiner=(4, 4)), replace(PRINCIPAL, refiner=())):
        with pytest.raises(BadRecipe, match="no refiner that fits"):
            Trainer.create(tmp_path / "third", Recipe(other, replace(train, refiner_steps=0)), CPU)
    assert not (tmp_path / "third/recipe.toml").exists()


@pytest.mark.parametrize("network", [PLANES, replace(PRINCIPAL, refiner=())])
def test_steps_of_a_refiner_that_there_is_not_are_refused(network: GeneratorConfig) -> None:
    with pytest.raises(BadRecipe, match="no refiner"):
        Recipe(network, TrainConfig(refiner_steps=1))


def test_moments_and_average_follow_a_split(config: TrainConfig, world: World, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path, Recipe(PLANES, replace(config, ema=1.0)), world)
    trainer.train_step()
    layer, averaged = trainer.network.layers[-1], trainer.average.layers[-1]
    layer.usage[:] = config.split_gate
    layer.usage[0, :, 0] = torch.tensor([0.0, 3, 1, 1]) * config.split_gate
    trainer._follow(torch.zeros(12, 4, 1, device=world.device))
    moments = trainer.optimizer.state[layer.nodes]
    for moment in (moments["exp_avg"], moments["exp_avg_sq"]):
        assert torch.equal(moment[0, 0], moment[0, 1])
        assert not torch.equal(moment[0, 0], moment[0, 2])
    near, far = (averaged.nodes[0, 0] - averaged.nodes[0, i] for i in (1, 2))
    assert near.norm() < 0.1 * far.norm()  # the copy is jittered, and the average has moved a little to it


@pytest.mark.parametrize("network", [PLANES, CONV, PRINCIPAL])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_half_precision_trains_as_float32_does(
    network: BlockwiseConfig | PrincipalConfig, precision: str, config: TrainConfig, world: World, tmp_path: Path
) -> None:
    losses = []
    for kind in ("float32", precision):
        run = replace(config, precision=kind, steps=4, head_steps=3, couple_images=40)
        trainer = Trainer.create(tmp_path / kind, Recipe(network, run), world)
        losses.append([progress.loss for progress in trainer.run()])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]
    assert [progress.step for progress in Trainer.resume(tmp_path / precision, world, steps=5).run()] == [5]


@pytest.mark.parametrize("network", [PLANES, CONV, PRINCIPAL])
@pytest.mark.parametrize("change", [{"accumulate": 3}, {"checkpoint_activations": True}], ids=str)
def test_memory_is_saved_at_no_cost_in_the_result(
    network: GeneratorConfig, change: dict[str, int], config: TrainConfig, world: World, tmp_path: Path
) -> None:
    run = replace(config, steps=4, head_steps=3, couple_images=40, augment=0.5)
    for name, settings in (("plain", {}), ("thrifty", change)):
        list(Trainer.create(tmp_path / name, Recipe(network, replace(run, **settings)), world).run())
    thrifty = state(tmp_path / "thrifty")
    for name, tensor in state(tmp_path / "plain").items():
        torch.testing.assert_close(thrifty[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("network", [PLANES, PRINCIPAL])
def test_checkpointed_activations_are_not_kept(network: BlockwiseConfig | PrincipalConfig) -> None:
    kept = [estimate(Recipe(network, TrainConfig(checkpoint_activations=flag)), CPU.device).activation_bytes
            for flag in (False, True)]
    assert kept[1] < 0.9 * kept[0]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a compiler")
def test_compiled_parts_train_alike(config: TrainConfig, world: World, tmp_path: Path) -> None:
    losses = []
    run = replace(config, steps=2, couple_images=40, head_steps=3)
    for flag in (False, True):
        recipe = Recipe(replace(PRINCIPAL, refiner=()), replace(run, compile=flag))
        trainer = Trainer.create(tmp_path / str(flag), recipe, world)
        losses.append([progress.loss for progress in trainer.run()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(("network", "level"), [(CONV, 3), (PLANES, 9)])
def test_a_loss_that_is_no_number_stops_the_run_at_its_level_and_keeps_the_last_state(
    network: BlockwiseConfig, level: int, config: TrainConfig, world: World, tmp_path: Path
) -> None:
    trainer = Trainer.create(tmp_path, Recipe(network, config), world)
    stopped = trainer.run()
    for progress in stopped:
        if progress.step == 5:
            break
    first = 0
    for layer in trainer.network.layers:
        if first <= level - 1 < first + layer.levels:
            with torch.no_grad():
                layer.nodes[level - 1 - first] = torch.nan
        first += layer.levels
    weights = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    with pytest.raises(NotFinite, match=f"step 6 is not finite, from level {level} of 12 on"):
        next(stopped)
    for name, tensor in trainer.network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0, equal_nan=True)
    assert load_state(tmp_path / STATE_FILE)[1]["step"] == 4
    assert [progress.step for progress in Trainer.resume(tmp_path, world).run()] == [5, 6, 7, 8]


def test_only_guided_picks_are_counted(config: TrainConfig, world: World, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path, Recipe(replace(PLANES, chain_dropout=0.5), config), world)
    trainer.train_step()
    counted = torch.cat([layer.usage for layer in trainer.network.layers]).sum(1)
    assert (counted <= 6).all()  # images of a batch
    assert 0.3 < counted.mean() / 6 < 0.7


def test_picks_are_counted_by_class_and_kept_as_the_odds_of_samples(
    config: TrainConfig, world: World, photos: Path, tmp_path: Path
) -> None:
    for label, first in (("a", 0), ("b", 15)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(first, first + 15):
            shutil.copy(photos / f"{i:02}.png", tmp_path / "data" / label)
    network = replace(CONV, chain_dropout=0.0, condition=Condition("class", 2))
    run = replace(config, data=str(tmp_path / "data"), steps=3)
    trainer = Trainer.create(tmp_path / "run", Recipe(network, run), world)
    list(trainer.run())
    labels = trainer.source.labels(range(18))
    assert labels is not None
    for layer in trainer.network.layers:
        assert layer.usage.sum(1).tolist() == [torch.bincount(labels, minlength=2).tolist()] * layer.levels
    best = load_network(read_info(tmp_path / "run" / BEST_FILE))
    assert best.shares is not None
    assert trainer.network.shares is not None
    kept, counted = (shares.cpu() / shares.cpu().sum(1, keepdim=True)
                     for shares in (best.shares, trainer.network.shares))
    torch.testing.assert_close(kept, counted, rtol=0, atol=1e-3)


def test_the_board_gets_losses_usage_and_pictures(config: TrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    list(Trainer.create(tmp_path, Recipe(PLANES, config), CPU).run())
    board = EventAccumulator(str(tmp_path / BOARD_FOLDER))
    board.Reload()
    log = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    for name in ("loss", "psnr", "usage"):
        assert [scalar.value for scalar in board.Scalars(name)] == pytest.approx([line[name] for line in log])
    tags = board.Tags()
    assert {f"error by resolution/{side}" for side in (1, 2, 4, 8)} <= set(tags["scalars"])
    assert sum(tag.startswith("error by level/") for tag in tags["scalars"]) == 12
    assert set(tags["images"]) == {"reconstructions", "samples"}
    assert all(0 < line["usage"] <= 2 for line in log)  # bits a level of four nodes


@pytest.mark.cuda
@pytest.mark.parametrize("network", [PLANES, CONV, TOLD, RECURRENT, PRINCIPAL])
def test_a_run_on_cuda_goes_on_on_the_cpu_and_learns_as_it(network: GeneratorConfig, config: TrainConfig, tmp_path: Path
                                                           ) -> None:
    run = replace(config, head_steps=3, couple_images=40)
    losses = {}
    for device in ("cpu", "cuda"):
        trainer = Trainer.create(tmp_path / device, Recipe(network, run), World(torch.device(device)))
        losses[device] = [progress.loss for progress in trainer.run()]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.02)
    assert [progress.step for progress in Trainer.resume(tmp_path / "cuda", CPU, steps=9).run()] == [9]


def test_a_state_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        Trainer.resume(tmp_path, CPU)
    (tmp_path / STATE_FILE).write_bytes(b"x" * 100)
    with pytest.raises(BadCheckpoint):
        Trainer.resume(tmp_path, CPU)


def test_a_state_of_another_shape_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path, Recipe(PLANES, replace(config, steps=1)), CPU)
    list(trainer.run())
    trainer.network.config = replace(PLANES, leak=2)
    trainer.save()
    previous(tmp_path / STATE_FILE).unlink()
    with pytest.raises(BadCheckpoint):
        Trainer.resume(tmp_path, CPU)


def test_a_run_goes_on_when_its_images_are_gone(config: TrainConfig, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    run = replace(config, data=str(tmp_path / "photos"), steps=2)
    list(Trainer.create(tmp_path / "x", Recipe(CONV, run), CPU).run())
    shutil.rmtree(tmp_path / "photos")
    assert [progress.step for progress in Trainer.resume(tmp_path / "x", CPU, steps=4).run()] == [3, 4]
