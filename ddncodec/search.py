"""Search in archives: images near to another one, and images that are there twice, by the picks alone.

The first levels of the latents are replayed to points (`Generator.points`), a block of records at a time, and no
image is drawn but those of a short list.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddncodec.archive import Archive, Block, Header
from ddncodec.batches import BATCH
from ddncodec.codec import Codec
from ddncodec.images import Pixels, fit
from ddncodec.latent import Latent
from ddncodec.matches import Complain, Groups, Match, Numbers, matches_of
from ddncodec.metrics.distortion import squared_errors
from ddncodec.pixels import to_tensor

SEARCH_BITS = 216  # of each latent that are replayed
PART = 1_024  # records that are replayed at once
SHORTLIST = 5  # images decoded for each that is wanted
FEWEST = 100  # of a short list
TABLES, PLANES = 8, 24  # independent keys of a record, and the most bits of one
NEIGHBOURS = 64  # records with the same key that one is compared with
WITHIN = 10.0  # root mean square difference of near duplicates, in 8-bit steps


def similar(archive: Archive, codec: Codec, pixels: Pixels, count: int, complain: Complain | None = None,
            advance: Callable[[int], None] = lambda records: None) -> list[Match]:
    """The records whose images are nearest to an image.

    Args:
        archive: Is read once, block by block; memory does not grow with it.
        codec: Of its weights.
        pixels: The image, (H, W, 3), uint8, in sRGB.
        count: How many are wanted, 1 or more.
        complain: As in `Archive.blocks`.
        advance: Is told of records that were looked at.

    Returns:
        The nearest ones of a short list, the nearest first; distances are those of decoded images at the model's
        resolution. Others may be as near: `experiments/search_archive.py` measures how seldom.

    Raises:
        DdnError: As in `Archive.blocks`; UnknownWeights where the archive is not of the codec.
    """
    fitted = fit(pixels, codec.resolution)
    target = codec.network.points_of(to_tensor(fitted[None]).to(codec.device))
    wanted = max(SHORTLIST * count, FEWEST)
    distances, numbers = torch.empty(0, device=codec.device), torch.empty(0, dtype=torch.int64, device=codec.device)
    for block, points in _points(archive, codec, complain, advance):
        found = torch.arange(block.first, block.first + len(block), device=codec.device)
        distances = torch.cat([distances, (points - target).square().sum(1)])
        numbers = torch.cat([numbers, found])
        distances, nearest = distances.topk(min(wanted, len(distances)), largest=False)
        numbers = numbers[nearest]
    records = [archive[number] for number in sorted(numbers.tolist())]
    matches = []
    for start in range(0, len(records), BATCH):
        part = records[start : start + BATCH]
        images = np.stack(codec.decode_streams([record.packed.stream for record in part]))
        errors = squared_errors(np.broadcast_to(fitted, images.shape), images)
        matches += [Match(record.number, record.name, math.sqrt(error))
                    for record, error in zip(part, errors.tolist(), strict=True)]
    return sorted(matches, key=lambda match: (match.distance, match.number))[:count]


def duplicates(archive: Archive, codec: Codec, within: float = WITHIN, complain: Complain | None = None,
               advance: Callable[[int], None] = lambda records: None) -> list[list[Match]]:
    """Groups of records whose images are alike or nearly so.

    Records get keys that near images share, and those with a key in common are compared. Takes about 300 bytes a
    record of disk and 100 of memory.

    Args:
        archive: Is read once.
        codec: Of its weights.
        within: The greatest distance, in 8-bit steps, of a record to another one of its group, at a low resolution.
        complain: As in `Archive.blocks`.
        advance: Is told of records that were looked at.

    Returns:
        Each group by rising numbers, with each one's distance to the first, at a low resolution.

    Raises:
        DdnError: As in `similar`.
    """
    values = 3 * codec.resolution**2
    most = values * (within / 127.5) ** 2  # as a squared distance of points
    with tempfile.TemporaryFile() as file:
        numbers, keys, centre = [], [], None
        hyperplanes = None
        for block, points in _points(archive, codec, complain, advance):
            if centre is None or hyperplanes is None:
                centre = points.mean(0)
                random = torch.Generator().manual_seed(0)
                hyperplanes = torch.randn(points.shape[1], TABLES * PLANES, generator=random).to(points.device)
            sides = ((points - centre) @ hyperplanes > 0).view(len(points), TABLES, PLANES)
            powers = 2 ** torch.arange(PLANES - 1, -1, -1, device=points.device)
            keys.append((sides * powers).sum(2).int().cpu().numpy())
            numbers.append(np.arange(block.first, block.first + len(block)))
            file.write(points.half().cpu().numpy().tobytes())
        if centre is None:
            return []
        file.flush()
        every, tables = np.concatenate(numbers), np.concatenate(keys)
        vectors = np.memmap(file, np.float16, "r", shape=(len(every), len(centre)))
        groups = Groups(len(every))
        for table in tables.T:
            for pairs in _candidates(table):
                groups.join(pairs[_distances(vectors, pairs) <= most])
        return [matches_of(archive, every[members], _distances(vectors, np.stack(
            [np.full_like(members, members[0]), members], 1)) / values) for members in groups.members()]


def _points(archive: Archive, codec: Codec, complain: Complain | None, advance: Callable[[int], None]
            ) -> Iterator[tuple[Block, Tensor]]:
    """The points of all records that can be read, block by block."""
    checked = False
    for block in archive.blocks(complain):
        if not checked:
            codec.info.check(block.record(0).packed.stream)
            checked = True
        picks = first_picks(archive.header, block.payloads, SEARCH_BITS)
        parts = torch.split(torch.from_numpy(picks), PART)
        yield block, torch.cat([codec.network.points(part.to(codec.device)) for part in parts])
        advance(len(block))


def first_picks(header: Header, payloads: bytes | memoryview, bits: int) -> Numbers:
    """The picks of the first levels of packed latents.

    Args:
        header: Says their K and levels.
        payloads: N, one after the other.
        bits: About how many of each are looked at.

    Returns:
        (N, levels), as many levels as these bits have, or all.
    """
    size, each = header.payload_bytes, math.log2(header.k)
    levels = min(header.levels, math.ceil(bits / each))
    if header.k & header.k - 1:  # no power of two: levels have no bits of their own
        rows = [Latent.unpack(bytes(payloads[start : start + size]), header.k, header.levels).indices[:levels]
                for start in range(0, len(payloads), size)]
        return np.array(rows, np.int64)
    wanted = levels * int(each)
    start = np.frombuffer(payloads, np.uint8).reshape(-1, size)[:, : -(-wanted // 8)]
    digits = np.unpackbits(start, axis=1, count=wanted).reshape(len(start), levels, int(each))
    return digits @ (1 << np.arange(int(each) - 1, -1, -1, dtype=np.int64))


def _candidates(keys: npt.NDArray[np.int32]) -> Iterator[Numbers]:
    """Pairs (n, 2) of records that share the first bits of their keys; so many that few others do."""
    bits = min(PLANES, max(4, len(keys).bit_length() - 5))
    shared = keys >> PLANES - bits
    order = np.argsort(shared, kind="stable")
    shared = shared[order]
    for apart in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
        (alike,) = np.nonzero(shared[apart:] == shared[:-apart])
        if not len(alike):
            return
        yield np.stack([order[alike], order[alike + apart]], 1)


def _distances(vectors: npt.NDArray[np.float16], pairs: Numbers) -> npt.NDArray[np.float32]:
    """Squared distances of pairs (n, 2)."""
    parts = [np.square(vectors[part[:, 0]].astype(np.float32) - vectors[part[:, 1]]).sum(1)
             for part in np.array_split(pairs, max(1, len(pairs) // 2**16))]
    return np.concatenate(parts)
