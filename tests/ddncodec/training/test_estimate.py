"""An estimate against what a process of its own is seen to take."""

import json
import os
import subprocess
import sys
from copy import deepcopy

import pytest
import torch

from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.registry import build
from ddncodec.samplers.streams import BatchStreams
from ddncodec.training.config import TrainConfig
from ddncodec.training.estimate import estimate
from ddncodec.training.recipe import Recipe

NETWORK = BlockwiseConfig.default(64, 64, 32, channels=64, planes=0)
BATCH = 16
# Two steps, after one of a small network that loads what the first step of a process loads.
RUN = f"""
from copy import deepcopy
import torch
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.network.registry import build
from ddncodec.samplers.streams import BatchStreams

def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

def train(config, batch):
    network = build(config)
    average = deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters())
    for step in range(2):
        optimizer.zero_grad()
        images = torch.rand(batch, 3, config.resolution, config.resolution)
        network.loss(images, 4.0, BatchStreams(step, batch)).total.backward()
        optimizer.step()

torch.set_num_threads(1)
train(BlockwiseConfig.default(2, 4, 8, channels=4, planes=0), 2)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
train(BlockwiseConfig.default({NETWORK.k}, {NETWORK.levels}, {NETWORK.resolution}, channels=64, planes=0), {BATCH})
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="peak memory is measured through Linux's /proc")
def test_the_memory_of_a_run_is_estimated_within_a_fifth() -> None:
    # Blocks go back to the system as they are freed: what is measured is tensors, not the allocator's gaps.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True)
    found = estimate(Recipe(NETWORK, TrainConfig(batch=BATCH)), torch.device("cpu"))
    assert found.total_bytes == pytest.approx(json.loads(run.stdout), rel=0.2)


@pytest.mark.cuda
def test_the_memory_of_a_run_on_cuda_is_estimated_within_a_fifth() -> None:
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    network = build(NETWORK).to(device)
    average = deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters())
    for step in range(2):
        optimizer.zero_grad()
        network.loss(torch.rand(BATCH, 3, 32, 32, device=device), 4.0, BatchStreams(step, BATCH)).total.backward()
        optimizer.step()
    peak = torch.cuda.max_memory_allocated() - before
    del average
    assert estimate(Recipe(NETWORK, TrainConfig(batch=BATCH)), device).total_bytes == pytest.approx(peak, rel=0.2)


LIMITS = """
import resource, torch
from ddncodec.network.paper.config import BlockwiseConfig
from ddncodec.training.config import TrainConfig
from ddncodec.training.estimate import estimate
from ddncodec.training.recipe import Recipe

def estimated(*arguments, **options):
    found = estimate(Recipe(BlockwiseConfig.default(*arguments, **options), TrainConfig()), torch.device("cpu"))
    return found.total_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

small = estimated(2, 4, 8, channels=4, planes=4)
large = estimated(512, 16, 1024, channels=4096, planes=4096)
print(large[0], large[1] - small[1])
"""


def test_an_estimate_allocates_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True, check=True)
    total, taken = map(int, done.stdout.split())
    assert total > 2**36
    assert taken < 2**28  # the cosines that planes are made of, and Python's objects


def test_flops_are_those_of_the_operations() -> None:
    """A convolution of 3×3 of C channels on P pixels, forward and twice as much backward, is most of a block."""
    narrow, wide = (estimate(Recipe(BlockwiseConfig.default(2, 8, 16, channels=channels, planes=0),
                                    TrainConfig(batch=1)),
                             torch.device("cpu")) for channels in (32, 128))
    assert wide.flops_per_image == pytest.approx(16 * narrow.flops_per_image, rel=0.15)
    pixels = sum(stage.trunk**2 * len(stage.levels)
                 for stage in BlockwiseConfig.default(2, 8, 16, channels=128, planes=0).stages)
    assert wide.flops_per_image == pytest.approx(3 * 2 * (2 * 9 * 128**2) * pixels, rel=0.15)
