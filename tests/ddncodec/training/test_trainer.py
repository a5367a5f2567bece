import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ddncodec.errors import BadCheckpoint, DataMissing, InputMissing
from ddncodec.network.config import NetworkConfig, PrincipalConfig
from ddncodec.network.split_and_prune import MIN_PICKS
from ddncodec.samplers import Chance
from ddncodec.training.checkpoint import load_state
from ddncodec.training.config import TrainConfig
from ddncodec.training.data import Folder
from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import BEST_FILE, STATE_FILE, Trainer
from ddncodec.training.watch import LOG_FILE, PREVIEW_FILE
from ddncodec.weights import load_network, read_info

CPU = World(torch.device("cpu"))
PLANES = NetworkConfig.default(4, 12, 8, channels=8, planes=16)  # K > 2: chain dropout draws random numbers
CONV = NetworkConfig.default(4, 12, 8, channels=8, planes=0)
PRINCIPAL = PrincipalConfig(k=4, resolution=8, axes=40, coded_axes=20, depth=3, frequencies=(40, 20, 10), width=8,
                            segments=(4, 8), block_bits=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty small pictures, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(40):
        coarse = Image.fromarray(random.integers(0, 256, (3, 4, 3), np.uint8))
        coarse.resize((20, 24), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def config(photos: Path) -> TrainConfig:
    return TrainConfig(data=str(photos), steps=8, batch=6, warmup=2, start_images=36, validation_images=2,
                       validate_every=3, save_every=4)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_state(folder / STATE_FILE)[0]


@pytest.mark.parametrize("network", [PLANES, CONV])
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(
    network: NetworkConfig, config: TrainConfig, tmp_path: Path
) -> None:
    unbroken = Trainer.create(tmp_path / "unbroken", Recipe(network, config), CPU)
    # Make splits happen, and after the break too.
    broken = Trainer.create(tmp_path / "broken", Recipe(network, config), CPU)
    for trainer in (unbroken, broken):
        trainer.network.layers[-1].usage[:, 0] = 2.2 * MIN_PICKS
        trainer.network.layers[-1].usage[:, 1:] = 0.55 * MIN_PICKS
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


def test_a_run_leaves_its_best_weights_a_log_and_a_preview(config: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path / "mine", Recipe(PLANES, config), CPU)
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
def test_training_lowers_the_loss(network: NetworkConfig, config: TrainConfig, tmp_path: Path) -> None:
    run = replace(config, steps=100, lr=3e-3, node_lr=9e-3, save_every=100, validate_every=100)
    trainer = Trainer.create(tmp_path, Recipe(network, run), CPU)
    images = trainer.source.images(range(36))

    def loss() -> float:
        with torch.no_grad():
            return trainer.network.loss(images, run.final_weight, Chance(0, 36)).total.item()

    before = loss()
    list(trainer.run())
    assert loss() < 0.85 * before


def test_a_principal_run_couples_its_picks_and_resumes_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    run = replace(config, head_steps=3, couple_images=40, couple_at=0.5, augment=0.5)
    unbroken = Trainer.create(tmp_path / "unbroken", Recipe(PRINCIPAL, run), CPU)
    for progress in unbroken.run():
        dithered = bool(unbroken.network.state_dict()["trees.dither"].any())
        assert dithered == (progress.step > 4)
    broken = Trainer.create(tmp_path / "broken", Recipe(PRINCIPAL, run), CPU)
    for progress in broken.run():
        if progress.step == 4:  # saved just before the picks are coupled
            broken.request_stop()
    resumed = Trainer.resume(tmp_path / "broken", CPU)
    list(resumed.run())
    for name, tensor in state(tmp_path / "unbroken").items():
        assert torch.equal(tensor, state(tmp_path / "broken")[name]), name


def test_moments_and_average_follow_a_split(config: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path, Recipe(PLANES, replace(config, ema=1.0)), CPU)
    trainer.train_step()
    layer, averaged = trainer.network.layers[-1], trainer.average.layers[-1]
    layer.usage[:] = MIN_PICKS
    layer.usage[0] = torch.tensor([0.0, 3, 1, 1]) * MIN_PICKS
    trainer._follow(torch.zeros(12, 4))
    moments = trainer.optimizer.state[layer.nodes]
    for moment in (moments["exp_avg"], moments["exp_avg_sq"]):
        assert torch.equal(moment[0, 0], moment[0, 1])
        assert not torch.equal(moment[0, 0], moment[0, 2])
    near, far = (averaged.nodes[0, 0] - averaged.nodes[0, i] for i in (1, 2))
    assert near.norm() < 0.1 * far.norm()  # the copy is jittered, and the average has moved a little to it


def test_autocast_to_bfloat16_trains(config: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer.create(tmp_path, Recipe(PLANES, replace(config, precision="bfloat16", steps=2)), CPU)
    assert all(np.isfinite(progress.loss) for progress in trainer.run())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_cuda_saves_what_the_cpu_resumes(config: TrainConfig, tmp_path: Path) -> None:
    list(Trainer.create(tmp_path, Recipe(PLANES, config), World(torch.device("cuda"))).run())
    assert load_file(tmp_path / STATE_FILE)


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
    with pytest.raises(BadCheckpoint):
        Trainer.resume(tmp_path, CPU)


def test_a_folder_is_passed_over_whole_in_an_order_that_its_seed_decides(photos: Path) -> None:
    source = Folder(photos, 8, seed=3)
    assert source.skipped == 1
    assert len(source.validation(100)) == 2
    passes = [source.images(range(first, first + 38)) for first in (0, 38)]
    keys = [sorted(image.sum().item() for image in images) for images in passes]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 38
    assert not torch.equal(*passes)
    assert torch.equal(Folder(photos, 8, seed=3).images(range(35, 40)), source.images(range(35, 40)))
    assert not torch.equal(Folder(photos, 8, seed=4).images(range(35, 40)), source.images(range(35, 40)))


def test_no_images_are_told_of(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataMissing):
            Folder(folder, 8, seed=0)
