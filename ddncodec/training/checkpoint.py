"""Checkpoints that a run resumes from: everything that decides the next step, in one safetensors file.

The one before the newest is kept, for a newest one that turns out to be damaged.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddncodec.errors import BadCheckpoint, BadRecipe, reason
from ddncodec.files import atomic_write, keep_as, open_input
from ddncodec.network.registry import config_from_json
from ddncodec.training.recipe import train_config
from ddncodec.weights import lay_out

FORMAT = "ddncodec-run-2"
NETWORK, AVERAGE, OPTIMIZER = "network.", "average.", "optimizer."
MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam, each of its parameter's shape; and `step`, how many steps it has seen


def previous(path: Path) -> Path:
    """Where the state before the newest is kept."""
    return path.with_suffix(f".previous{path.suffix}")


def set_aside(path: Path) -> None:
    """Rename a state that is damaged, so that the one before it is not replaced by it."""
    if path.exists():
        path.rename(path.with_suffix(f".damaged{path.suffix}"))


def save_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], form: str = FORMAT) -> None:
    """Write tensors and JSON-able facts; the file is replaced whole or not at all, and stays as the previous one."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"moments": len(_with_moments(tensors))} | facts)
    metadata = {"format": form, "facts": text, "sha256": _digest(contiguous, text)}
    if path.exists():
        keep_as(path, previous(path))
    with atomic_write(path, overwrite=True) as file:
        file.write(save(contiguous, metadata))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save_state`, on the CPU. Raises InputMissing; BadCheckpoint for what no run can have saved."""
    tensors, facts = read_state(path)
    try:
        _check_facts(facts)
        _check_tensors(tensors, facts)
    except BadCheckpoint as error:
        raise error.of(path) from None
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, BadRecipe) as error:
        raise BadCheckpoint(f"damaged: {reason(error)}", path) from None
    return tensors, facts


def read_state(path: Path, form: str = FORMAT) -> tuple[dict[str, Tensor], Any]:
    """What `save_state` wrote, on the CPU; only the checksum is checked. Raises InputMissing, BadCheckpoint."""
    open_input(path).close()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != form:
                raise BadCheckpoint("not the state of a training run", path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("sha256", digest := _digest(tensors, metadata["facts"])) != digest:  # older states have none
            raise BadCheckpoint("damaged: its checksum is another", path)
        facts = json.loads(metadata["facts"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadCheckpoint(f"damaged: {reason(error)}", path) from None
    return tensors, facts


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part of a state, by their names in it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named `<parameter>.<moment>`; its hyperparameters are the trainer's."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, moments in state.items() for name, value in moments.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `flatten_optimizer`. Raises ValueError where the moments are not of the optimizer's parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, moments in state.items():
        if not (0 <= place < len(parameters) and _are_moments(moments, parameters[place])):
            raise ValueError(f"the optimizer's moments of parameter {place} are not of this network")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _are_moments(moments: Mapping[str, Tensor], parameter: Tensor) -> bool:
    return (moments.keys() == {"step", *MOMENTS} and moments["step"].numel() == 1
            and all(moments[name].shape == parameter.shape for name in MOMENTS)
            and bool((moments["exp_avg_sq"] >= 0).all()))


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """SHA-256 of all that a state holds."""
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _with_moments(tensors: Mapping[str, Tensor]) -> set[str]:
    """The parameters, by their numbers, that have moments in a state."""
    return {name.split(".")[0] for name in below(OPTIMIZER, tensors)}


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


# What a run tells of itself, and whether a value can be that; of what is in a later version's states alone, None can.
FACTS: dict[str, Callable[[Any], Any]] = {
    "train": lambda value: isinstance(value, dict),
    "network": lambda value: isinstance(value, str),
    "step": _is_whole,
    "splits": _is_whole,
    "best_psnr": lambda value: value is None or _is_finite(value),
    "scaler": lambda value: isinstance(value, dict) and all(_is_finite(number) for number in value.values()),
    "packed": lambda value: value is None or (isinstance(value, str) and re.fullmatch("[0-9a-z-]+[.]npy", value)),
    "coupled": lambda value: value is None or type(value) is bool,
    "refining_since": lambda value: value is None or _is_whole(value),
    "schedule_changed": lambda value: value is None or (
        isinstance(value, list) and len(value) == 2 and _is_whole(value[0]) and _is_finite(value[1])),
}


def _check_facts(facts: Any) -> None:
    if not isinstance(facts, dict):
        raise BadCheckpoint("damaged: it tells nothing of its run")
    for name, holds in FACTS.items():
        if not holds(facts.get(name)):
            raise BadCheckpoint(f"damaged: {name} cannot be {facts.get(name)!r:.100}")
    train_config(facts["train"])


def _check_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    parts = {prefix: below(prefix, tensors) for prefix in (NETWORK, AVERAGE, OPTIMIZER)}
    if sum(map(len, parts.values())) < len(tensors):
        raise BadCheckpoint("damaged: it holds tensors that are of no part of a run")
    expected = lay_out(config_from_json(facts["network"]), parts[NETWORK], lambda name: True).state_dict()
    for prefix in (NETWORK, AVERAGE):
        if {name: (tensor.shape, tensor.dtype) for name, tensor in parts[prefix].items()} != {
                name: (tensor.shape, tensor.dtype) for name, tensor in expected.items()}:
            raise BadCheckpoint(f"damaged: the tensors of its {prefix[:-1]} are not those of its configuration")
    moments = len(_with_moments(tensors))
    # Older states do not say how many; there are some once a step was taken.
    if moments != facts.get("moments", moments or min(facts["step"], 1)):
        raise BadCheckpoint("damaged: the optimizer's moments are missing")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise BadCheckpoint(f"damaged: {name} holds values that are not finite numbers")
