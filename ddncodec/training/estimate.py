"""What a run will take of each of its processes, found by two small steps of the network on tensors without memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ddncodec.network.base import Generator
from ddncodec.network.condition import condition_of
from ddncodec.network.registry import build
from ddncodec.samplers.streams import BatchStreams
from ddncodec.training.recipe import Recipe

PROBES = (1, 3)  # images; what a step keeps for its way back grows linearly with them


@dataclass(frozen=True, slots=True)
class Estimate:
    """parameters: trained numbers. flops_per_image: of a forward and backward pass. images: at once in a process.

    weight_bytes: of the network and its moving average. gradient_bytes, optimizer_bytes: Adam's two moments.
    activation_bytes: what a pass over the images keeps for the way back; what an operation needs for a moment only
    is not in it.
    """

    parameters: int
    flops_per_image: int
    images: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of the above."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes


def estimate(recipe: Recipe, device: torch.device, processes: int = 1) -> Estimate:
    """What a run of this recipe takes of each of so many processes. Allocates none of it. Raises BadRecipe."""
    images = recipe.train.share(processes)
    with FakeTensorMode(), _Unknown():  # type: ignore[no-untyped-call]  # tensors without memory
        with device:
            network = build(recipe.network)
        network.checkpoint_activations = recipe.train.checkpoint_activations
        (few, flops), (more, _) = (_probe(network, recipe, count, device) for count in PROBES)
    each = (more - few) / (PROBES[1] - PROBES[0])
    parameters = sum(p.numel() for p in network.parameters())
    gradients = sum(p.numel() * p.element_size() for p in network.parameters())
    weights = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    return Estimate(parameters, flops // PROBES[0], images, 2 * weights, gradients, 2 * gradients,
                    round(few + each * (images - PROBES[0])))


class _Unknown(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it the value of a tensor is zero, whoever asks for it."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if operation is torch.ops.aten._local_scalar_dense.default:
            return 0
        return operation(*arguments, **(options or {}))


def _probe(network: Generator, recipe: Recipe, count: int, device: torch.device) -> tuple[int, int]:
    """Bytes that a pass over so many images keeps, and the FLOPs of it and of the way back."""
    side = recipe.network.resolution
    images = torch.empty(count, 3, side, side, device=device)
    condition = condition_of(recipe.network.condition, images, torch.zeros(count, dtype=torch.int64))
    ours = {p.untyped_storage()._cdata for p in network.state_dict(keep_vars=True).values()}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in ours:
            kept[storage._cdata] = storage
        return tensor

    precision = recipe.train.precision
    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast(
                device.type, getattr(torch, precision), enabled=precision != "float32"):
            loss = network.loss(images, recipe.train.final_weight, BatchStreams(0, count), condition)
        loss.total.backward()  # type: ignore[no-untyped-call]
    return sum(storage.nbytes() for storage in kept.values()), counter.get_total_flops()
