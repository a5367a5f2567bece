"""The state of a run: whatever is damaged of it is refused, and the state before it goes on."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from ddncodec.errors import BadCheckpoint, InputMissing
from ddncodec.network.paper.config import SingleShotConfig
from ddncodec.training.checkpoint import load_state, previous, save_state
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import STATE_FILE, Trainer

CPU = World(torch.device("cpu"))
NETWORK = SingleShotConfig.default(2, 4, 8, channels=4)
Tensors, Facts = dict[str, torch.Tensor], dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 17 steps that saved its state after 16 of them, and at the end; the first overflow, and are skipped."""
    folder = tmp_path_factory.mktemp("run")
    for number in range(24):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)).save(
            folder / f"{number}.png")
    config = TrainConfig(data=str(folder), steps=17, batch=2, validation_images=1, save_every=16, precision="float16")
    list(Trainer.create(folder / "x", Recipe(NETWORK, config), CPU).run())
    return folder / "x"


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that has its newest state alone."""
    shutil.copytree(run, tmp_path / "x")
    previous(tmp_path / "x" / STATE_FILE).unlink()
    return tmp_path / "x"


def fact(name: str, value: Any) -> Callable[[Tensors, Facts], None]:
    def damage(tensors: Tensors, facts: Facts) -> None:
        *path, last = name.split(".")
        for part in path:
            facts = facts[part]
        facts[last] = value

    return damage


def without(name: str) -> Callable[[Tensors, Facts], None]:
    def damage(tensors: Tensors, facts: Facts) -> None:
        for part in (tensors, facts):
            for key in [key for key in part if key.startswith(name)]:
                del part[key]

    return damage


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors, Facts], None]:
    def damage(tensors: Tensors, facts: Facts) -> None:
        key = next(key for key in sorted(tensors) if key.startswith(name) and tensors[key].numel() > 1)
        tensors[key] = change(tensors[key])

    return damage


def renamed(tensors: Tensors, facts: Facts) -> None:
    tensors["surprise"] = tensors.pop("average.start_outputs")


ODD = (None, "x", [], {}, -1, 1.5, True, float("nan"), 10**400)
DAMAGES = {
    **{f"{name} = {value!r:.20}": fact(name, value) for name in ("step", "splits") for value in ODD},
    **{f"{name} = {value!r:.20}": fact(name, value) for name in ("train", "network", "scaler") for value in ODD
       if value != {}},
    **{f"best_psnr = {value!r:.20}": fact("best_psnr", value) for value in ODD[1:] if value not in (-1, 1.5)},
    **{f"packed = {value!r:.20}": fact("packed", value) for value in (*ODD[2:], "../../x.npy", "..", "a/b")},
    **{f"{name} = {value!r:.20}": fact(name, value) for name in ("coupled", "refining_since", "schedule_changed")
       for value in ("x", [], {}, -1, 1.5, float("nan"), 10**400, [1, "x"], [1.5, 0.5], [1, float("inf")])},
    **{f"train.{name} = {value!r:.20}": fact(f"train.{name}", value) for name in TrainConfig.__dataclass_fields__
       for value in ([], {}, float("inf"), float("nan"), 10**400)},
    **{f"scaler.{name} = {value!r:.20}": fact(f"scaler.{name}", value) for name in ("scale", "_growth_tracker")
       for value in (None, "x", float("nan"), float("inf"))},
    **{f"without {name}": without(name) for name in (
        "train", "network", "step", "splits", "best_psnr", "scaler", "packed", "network.", "average.", "optimizer.",
        "optimizer.0.", "optimizer.0.exp_avg_sq", "average.start_outputs")},
    "a scaler of nothing": fact("scaler", {}),
    "another network": fact("network", SingleShotConfig.default(2, 4, 16, channels=4).to_json()),
    "a huge network": fact("network", SingleShotConfig.default(2, 2_000, 1024, channels=4096).to_json()),
    "deep": fact("network", "[" * 100_000),
    "renamed": renamed,
    **{f"{part}{kind}": tensor(part, change) for part in ("network.", "average.", "optimizer.") for kind, change in {
        "nan": lambda values: values * float("nan"), "infinite": lambda values: values + float("inf"),
        "longer": lambda values: torch.cat([values, values]), "flat": lambda values: values.flatten()[:-1],
        "integers": lambda values: values.to(torch.int32) if values.dtype.is_floating_point else values + float("nan"),
    }.items() if (part, kind) != ("optimizer.", "integers")},
    "negative squares": lambda tensors, facts: tensors.update(
        {name: values - 1 for name, values in tensors.items() if name.endswith("exp_avg_sq")}),
}


def test_a_state_that_is_damaged_in_any_field_is_refused(folder: Path) -> None:
    tensors, facts = load_state(folder / STATE_FILE)
    for name, damage in DAMAGES.items():
        damaged_tensors, damaged_facts = dict(tensors), deepcopy(facts)
        damage(damaged_tensors, damaged_facts)
        save_state(folder / STATE_FILE, damaged_tensors, damaged_facts)
        previous(folder / STATE_FILE).unlink()
        try:
            Trainer.resume(folder, CPU)
        except BadCheckpoint as error:
            assert str(error).count(str(folder)) == 1, name
            assert "\n" not in str(error), name
        else:
            pytest.fail(f"{name} was not refused")


def test_a_flipped_bit_anywhere_is_refused(folder: Path) -> None:
    whole, random = (folder / STATE_FILE).read_bytes(), np.random.default_rng(0)
    size = int.from_bytes(whole[:8], "little")
    for span in [(0, 8 + size)] * 30 + [(8 + size, len(whole))] * 30:
        damaged = bytearray(whole)
        place = random.integers(*span)
        damaged[place] ^= 1 << random.integers(8)
        (folder / STATE_FILE).write_bytes(damaged)
        with pytest.raises(BadCheckpoint):
            load_state(folder / STATE_FILE)


def test_a_state_from_before_there_were_checksums_goes_on(folder: Path) -> None:
    with safe_open(folder / STATE_FILE, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["sha256"]
    save_file(tensors, folder / STATE_FILE, metadata)
    assert [step.step for step in Trainer.resume(folder, CPU, steps=18).run()] == [18]


@pytest.mark.parametrize("damage", [b"", b"no state", None])
def test_a_damaged_newest_state_falls_back_to_the_one_before_and_says_so(
    run: Path, tmp_path: Path, damage: bytes | None
) -> None:
    shutil.copytree(run, tmp_path / "x")
    newest = tmp_path / "x" / STATE_FILE
    tensors, facts = load_state(run / STATE_FILE)
    if damage is None:
        newest.unlink()
    else:
        newest.write_bytes(damage)
    trainer = Trainer.resume(tmp_path / "x", CPU)
    assert trainer.step == 16
    assert trainer.warning
    assert str(newest) in trainer.warning
    assert "step 16" in trainer.warning
    kept = previous(newest).read_bytes()
    trainer.save()  # does not put the damaged one in the place of the one that was good
    assert previous(newest).read_bytes() == kept
    list(trainer.run())
    again, facts_again = load_state(newest)
    assert facts_again == facts  # as if nothing had happened
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())
    assert Trainer.resume(tmp_path / "x", CPU).warning is None


def test_two_damaged_states_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "x")
    newest = tmp_path / "x" / STATE_FILE
    newest.write_bytes(b"no state")
    previous(newest).write_bytes(b"nor this")
    with pytest.raises(BadCheckpoint):
        Trainer.resume(tmp_path / "x", CPU)
    assert newest.read_bytes() == b"no state"
    with pytest.raises(InputMissing):
        Trainer.resume(tmp_path / "y", CPU)


def test_the_state_before_stays_until_the_new_one_is_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, facts = load_state(folder / STATE_FILE)
    (before,) = {(folder / STATE_FILE).read_bytes()}
    monkeypatch.setattr("ddncodec.training.checkpoint.save", lambda tensors, metadata: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_state(folder / STATE_FILE, tensors, facts | {"step": 99})
    monkeypatch.undo()
    assert (folder / STATE_FILE).read_bytes() == previous(folder / STATE_FILE).read_bytes() == before
    save_state(folder / STATE_FILE, tensors, facts | {"step": 99})
    assert previous(folder / STATE_FILE).read_bytes() == before
    with safe_open(folder / STATE_FILE, "pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] == 99


def test_a_process_that_reads_another_state_than_rank_0_does_not_go_on(folder: Path) -> None:
    for step, agrees in ((17, True), (16, False)):
        store = torch.distributed.HashStore()
        World(torch.device("cpu"), store=store).from_rank_0(str(step))
        follower = World(torch.device("cpu"), rank=1, store=store)
        with nullcontext() if agrees else pytest.raises(BadCheckpoint, match="step 17 where rank 0 read 16"):
            assert Trainer.resume(folder, follower).step == 17
