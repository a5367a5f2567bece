"""The training of looks: predictions that are the network's, losses that do what they say, runs that can go on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddncodec import load_model
from ddncodec.data import Faces
from ddncodec.effort import LOOK_AHEAD
from ddncodec.errors import BadCheckpoint, BadRecipe, NotFinite, UnknownWeights
from ddncodec.latent import Latent
from ddncodec.looks import load_look, look_path, looks_of
from ddncodec.network.principal.generator import PrincipalGenerator
from ddncodec.training.checkpoint import previous, read_state
from ddncodec.training.discriminator import Discriminator, deceived, hinge
from ddncodec.training.looks import CLOSE_UP, FORMAT, STATE_FILE, FacesAndCloseUps, LookConfig, LookTrainer
from ddncodec.training.watch import LOG_FILE, PREVIEW_FILE
from ddncodec.weights import load_network, read_info

GOLDEN = Path(__file__).parents[2] / "golden"
WEIGHTS = GOLDEN / "k2-growing.safetensors"
CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture
def config(photos: Path) -> LookConfig:
    return LookConfig("natural", str(WEIGHTS), data=str(photos), images=24, steps=6, batch=8, warmup=2,
                      validation_images=2, validate_every=3, save_every=2)


def network() -> PrincipalGenerator:
    found = load_network(read_info(WEIGHTS))
    assert isinstance(found, PrincipalGenerator)
    return found


def state(folder: Path) -> dict[str, torch.Tensor]:
    return read_state(folder / STATE_FILE, FORMAT)[0]


def test_predictions_are_what_whole_and_shorter_streams_are_drawn_from() -> None:
    codec = load_model(WEIGHTS, "cpu")
    ours = network()
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, shorter = ours.predictions(images, torch.tensor([0.0, 0.3, 0.5, 0.8, 0.999]))
    picks = ours.encode(images, effort=LOOK_AHEAD)
    assert torch.allclose(ours.draw(whole), ours.decode(picks), atol=1e-5)
    assert torch.allclose(ours.prediction(images, codec.levels), whole, atol=1e-5)
    drawn = ours.draw(shorter)
    lengths = []
    prefixes = [ours.decode(picks[:, :levels]) for levels in range(1, codec.levels + 1)]
    for row, image in enumerate(drawn):  # each is one of the prefixes' pictures
        fits = [torch.allclose(prefix[row], image, atol=1e-5) for prefix in prefixes]
        assert any(fits)
        lengths.append(fits.index(True) + 1)
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (1, codec.levels)


@pytest.mark.parametrize("look", ["natural", "faithful"])
def test_a_resumed_training_ends_bit_for_bit_where_an_unbroken_one_does(
    look: str, config: LookConfig, tmp_path: Path
) -> None:
    config = replace(config, look=look)
    list(LookTrainer.create(tmp_path / "unbroken", config, CPU).run())
    trainer = LookTrainer.create(tmp_path / "broken", config, CPU)
    for _ in trainer.run():
        if trainer.step == 3:
            trainer.request_stop()
    assert trainer.step == 3
    list(LookTrainer.resume(tmp_path / "broken", CPU).run())
    one, other = state(tmp_path / "unbroken"), state(tmp_path / "broken")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("device", DEVICES)
def test_a_natural_look_is_left_that_the_weights_take(config: LookConfig, tmp_path: Path, device: str) -> None:
    trainer = LookTrainer.create(tmp_path / "run", config, torch.device(device))
    list(trainer.run())
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG_FILE).read_text().splitlines()]
    assert [line.get("step") for line in lines] == [None, 3, 6]
    assert lines[0]["look"]["of"] == str(WEIGHTS)
    assert (tmp_path / "run" / PREVIEW_FILE).exists()
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(WEIGHTS.read_bytes())
    info = read_info(weights)
    look_path(info, "natural").write_bytes((tmp_path / "run" / "best.natural.safetensors").read_bytes())
    assert looks_of(info) == ["faithful", "natural"]
    assert not np.array_equal(load_look(info, "natural").tensors["leave.weight"],
                              network().state_dict()["refiner.leave.weight"].half())


def test_a_training_begins_with_the_look_that_there_is(config: LookConfig, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(WEIGHTS.read_bytes())
    config = replace(config, of=str(weights))
    list(LookTrainer.create(tmp_path / "first", config, CPU).run())
    info = read_info(weights)
    look_path(info, "natural").write_bytes((tmp_path / "first" / "best.natural.safetensors").read_bytes())
    kept = load_look(info, "natural").tensors["leave.weight"]
    begun = LookTrainer.create(tmp_path / "second", config, CPU).refiner.leave.weight
    assert np.array_equal(begun.detach().half().numpy(), kept)
    faithful = LookTrainer.create(tmp_path / "third", replace(config, look="faithful"), CPU).refiner.leave.weight
    assert torch.equal(faithful.detach(), network().state_dict()["refiner.leave.weight"])


def test_of_faces_every_so_many_th_is_a_close_up_wherever_a_batch_begins() -> None:
    source, plain = FacesAndCloseUps(16, count=40), Faces(16, count=40)
    whole = source.images(range(20))
    kept = (whole == plain.images(range(20))).flatten(1).all(1)
    assert [place for place in range(20) if not kept[place]] == [0, CLOSE_UP, 2 * CLOSE_UP]
    assert torch.equal(source.images(range(5, 20)), whole[5:])


def test_a_faithful_training_lowers_the_error_and_leaves_whole_weights(config: LookConfig, tmp_path: Path) -> None:
    config = replace(config, look="faithful", steps=40, validate_every=40, lr=1e-3, ema=0.5)
    trainer = LookTrainer.create(tmp_path / "run", config, CPU)
    errors = [found["error"] for found in trainer.run()]
    assert np.mean(errors[-9:]) < np.mean(errors[:9])
    before, after = read_info(WEIGHTS), read_info(tmp_path / "run" / "best.safetensors")
    assert after.id != before.id
    assert (after.name, after.config) == ("run", before.config)
    assert load_model(after.path, "cpu").decode(Latent((0,) * 96, 2)).shape == (16, 16, 3)


def test_the_spectrums_loss_gives_decoded_images_the_originals_power(config: LookConfig, tmp_path: Path) -> None:
    config = replace(config, adversarial=0.0, error_weight=0.1, spectrum=1.0, lr=3e-3, steps=72,
                     validate_every=72, save_every=72)
    trainer = LookTrainer.create(tmp_path / "run", config, CPU)
    spectrum = [found["spectrum"] for found in trainer.run()]  # a step's is of a few images, and of a place by chance
    assert sum(spectrum[-9:]) < 0.5 * sum(spectrum[:9])


def test_a_discriminator_that_learns_tells_noise_from_smoothness() -> None:
    torch.manual_seed(0)
    judge = Discriminator()
    optimizer = torch.optim.Adam(judge.parameters(), 1e-3, betas=(0.5, 0.99))
    for _ in range(30):
        rough = torch.rand(8, 3, 1, 1).expand(8, 3, 16, 16) - 0.5
        verdicts = judge(rough + 0.1 * torch.randn(8, 3, 16, 16), rough), judge(rough, rough)
        loss = hinge(*verdicts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
    assert deceived(verdicts[0]).item() < 0 < deceived(verdicts[1]).item()
    assert [tuple(part.shape) for part in verdicts[0]] == [(8, 1, 8, 8), (8, 1, 4, 4), (8, 1, 2, 2)]


def test_a_damaged_state_is_told_and_the_one_before_it_goes_on(config: LookConfig, tmp_path: Path) -> None:
    list(LookTrainer.create(tmp_path, config, CPU).run())
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:-9])
    trainer = LookTrainer.resume(tmp_path, CPU)
    assert trainer.warning
    assert "of step 6" in trainer.warning or "of step 4" in trainer.warning
    previous(path).unlink()
    with pytest.raises(BadCheckpoint, match="damaged"):
        LookTrainer.resume(tmp_path, CPU)


def test_what_is_not_finite_stops_a_training(config: LookConfig, tmp_path: Path) -> None:
    trainer = LookTrainer.create(tmp_path, replace(config, lr=1e30, warmup=0), CPU)
    with pytest.raises(NotFinite, match="is not finite"):
        list(trainer.run())


@pytest.mark.parametrize(("changes", "error", "told"), [
    ({"of": str(GOLDEN / "k2-planes.safetensors")}, BadRecipe, "has no refiner"),
    ({"of": str(GOLDEN / "k2-principal.safetensors")}, BadRecipe, "has no refiner"),
    ({"of": "nowhere"}, UnknownWeights, "nowhere"),
    ({"look": "vivid"}, BadRecipe, "a look is one of"),
    ({"precision": "float16"}, BadRecipe, "float32 or bfloat16"),
    ({"batch": 1}, BadRecipe, "two images"),
    ({"images": 4}, BadRecipe, "at least a batch"),
])
def test_what_cannot_be_trained_is_refused(
    config: LookConfig, tmp_path: Path, changes: dict[str, object], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        LookTrainer.create(tmp_path, replace(config, **changes), CPU)


def test_a_computation_of_predictions_that_was_stopped_goes_on(config: LookConfig, tmp_path: Path) -> None:
    LookTrainer.create(tmp_path, config, CPU)
    files = sorted(tmp_path.glob("predictions-*.npy"))
    assert len(files) == 2
    wanted = [np.load(file) for file in files]
    for file in files:
        np.lib.format.open_memmap(file, "r+")[7:] = 0
    LookTrainer.create(tmp_path, config, CPU)
    assert all(np.array_equal(np.load(file), whole) for file, whole in zip(files, wanted, strict=True))
    assert all(math.isfinite(float(values.astype(np.float32).sum())) for values in wanted)
