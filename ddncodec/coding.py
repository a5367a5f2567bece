"""What encoding takes, whatever searches for the picks and computes the images of latents."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ddncodec.container import Stream
from ddncodec.decoding import StreamDecoder
from ddncodec.effort import CLOSED_LOOP, GREEDY
from ddncodec.errors import UnknownWeights, memory_errors
from ddncodec.images import Picture, Pixels, fit
from ddncodec.inputs import AnyImage, pixels_of_batch
from ddncodec.latent import Latent, payload_bytes
from ddncodec.metrics.distortion import psnr as psnr_of
from ddncodec.metrics.distortion import squared_errors
from ddncodec.sizes import ladder, longest

SHARE, ROUNDS = 0.2, 5  # of the closed loop; experiments/closed_loop.py measures others

Targets = npt.NDArray[np.float32]
Picks = npt.NDArray[np.int64]


class Near(NamedTuple):
    """A latent and how near to the original its picture is.

    psnr: in dB, at the network's resolution; infinite for the original itself. pixels: of the picture, R×R×3.
    """

    latent: Latent
    psnr: float
    pixels: Pixels


class StreamCoder(StreamDecoder):
    """What turns images into latents and latents into images, and so pictures into streams and back."""

    @abstractmethod
    def _search(self, targets: Targets, levels: int, effort: int) -> Picks:
        """The picks that lead near to targets, without a look at what is drawn on top of them.

        Args:
            targets: (N, R, R, 3), N ≥ 1, in 8-bit steps; they may leave 0 to 255.
            levels: How many to pick, 1 to L.
            effort: GREEDY, or up to what the network knows.

        Returns:
            (N, levels), each below K.
        """

    @property
    def levels(self) -> int:
        """L, the number of levels of a whole latent."""
        return self.info.config.levels

    @property
    def k(self) -> int:
        """K, the number of proposals of a level."""
        return self.info.config.k

    @property
    def resolution(self) -> int:
        """R, the side of the network's square images, in pixels."""
        return self.info.config.resolution

    @property
    def default_effort(self) -> int:
        """The highest effort that decodes nothing: the network's own search."""
        return self.info.config.max_effort

    @property
    def efforts(self) -> tuple[int, ...]:
        """The efforts that encoding with this network knows, rising."""
        return (*range(GREEDY, self.default_effort + 1), CLOSED_LOOP)

    def encode(self, image: AnyImage, levels: int | None = None, effort: int | None = None, *,
               max_bytes: int | None = None, psnr: float | None = None) -> Latent:
        """The latent of an image; see `encode_batch`."""
        return self.encode_batch([image], levels, effort, max_bytes=max_bytes, psnr=psnr)[0]

    @memory_errors()
    def encode_batch(self, images: Iterable[AnyImage], levels: int | None = None, effort: int | None = None, *,
                     max_bytes: int | None = None, psnr: float | None = None) -> list[Latent]:
        """The latents of images.

        Args:
            images: N of any sizes; the class says what an image and a batch are.
            levels: How many to encode, 1 to L: the first ones, a coarser image. None: all L.
            effort: How hard to search: 1, the nearest proposal of each level, as in the paper; 2, the best picks of a
                whole block, where the network has a trellis; 3, in a closed loop, see `closed_loop`. It costs encode
                time alone. None: the highest that the network has below 3.
            max_bytes: The most bytes of the packed latent: the longest prefix that fits. None: any number.
            psnr: In dB, above 0: the fewest bytes whose picture is that near; see `shortest`. None: all levels.

        Returns:
            N latents of so many levels.

        Raises:
            TypeError: An image is of another kind.
            ValueError: An image has another shape or range; levels, effort or psnr is out of range.
            UnreadableImage: A PIL image cannot be decoded.
            TooFewBytes: max_bytes do not hold one level.
        """
        self._require_unconditional()
        if levels is not None and not 1 <= levels <= self.levels:
            raise ValueError(f"levels must be 1 to {self.levels}, not {levels}")
        if effort is not None and effort not in self.efforts:
            *others, last = map(str, self.efforts)
            raise ValueError(f"effort must be {', '.join(others)} or {last} for this model, not {effort}")
        fitted = [fit(pixels, self.resolution) for pixels in pixels_of_batch(images)]
        if not fitted:
            return []
        searched = self.default_effort if effort in (None, CLOSED_LOOP) else effort
        latents = self._latents(np.stack(fitted).astype(np.float32), [levels or self.levels] * len(fitted), searched)
        if max_bytes is not None:
            most = longest(self._payload, latents[0].levels, max_bytes)
            latents = [latent.prefix(most) for latent in latents]
        if effort == CLOSED_LOOP:
            latents = [near.latent for near in self.closed_loop(fitted, latents)]
        if psnr is not None:
            latents = [near.latent for near in self.shortest(fitted, latents, psnr)]
        return latents

    def closed_loop(self, images: Sequence[Pixels], latents: Sequence[Latent]) -> list[Near]:
        """Latents whose pictures are nearer to the originals: what effort 3 does after the network's own search.

        That search compares images with proposals, and does not know what the network draws on top of them. So the
        latents are decoded, a share of what is missing is added to the images that are searched for, and they are
        encoded again, several times. The nearest of all rounds is kept.

        Args:
            images: N, fitted to the network's resolution, R×R×3, uint8.
            latents: What they were encoded to, each of the length that it is to have.

        Returns:
            N latents of the same lengths, each as near as the one given or nearer, with their pictures and PSNR.

        Raises:
            UnknownWeights: As in `decode_batch`.
        """
        if not latents:
            return []
        return next(islice(self.rounds(images, latents), ROUNDS, None))

    def rounds(self, images: Sequence[Pixels], latents: Sequence[Latent], share: float = SHARE
               ) -> Iterator[list[Near]]:
        """The rounds of `closed_loop`, without end.

        Args:
            images: N ≥ 1, as in `closed_loop`.
            latents: As in `closed_loop`.
            share: Of what is missing, how much each round adds to the images that are searched for.

        Returns:
            An iterator of the nearest so far: the given ones first, then those after each round.
        """
        best = nears = self.nearness(images, latents)
        targets = originals = np.stack(images).astype(np.float32)
        while True:
            yield best
            targets = targets + np.float32(share) * (originals - np.stack([near.pixels for near in nears]))
            found = self._latents(targets, [latent.levels for latent in latents], self.default_effort)
            nears = self.nearness(images, found)
            best = [max(pair, key=lambda near: near.psnr) for pair in zip(best, nears, strict=True)]

    def _latents(self, targets: Targets, lengths: Sequence[int], effort: int) -> list[Latent]:
        """What `_search` finds for targets (N, R, R, 3), in each one's number of levels."""
        picks: list[list[int]] = [[]] * len(lengths)
        for levels in sorted(set(lengths)):
            rows = [row for row, length in enumerate(lengths) if length == levels]
            for row, found in zip(rows, self._search(targets[rows], levels, effort).tolist(), strict=True):
                picks[row] = found
        return [Latent(tuple(found), self.k) for found in picks]

    def shortest(self, images: Sequence[Pixels], latents: Sequence[Latent], psnr: float,
                 steps: Sequence[Sequence[int]] | None = None) -> list[Near]:
        """The shortest prefixes whose pictures are near enough to the originals.

        PSNR over prefixes may fall before it rises. The first step that is near enough is taken, and every one before
        it is decoded: by default as many pictures of each image as its latent has bytes.

        Args:
            images: N, fitted to the network's resolution, R×R×3, uint8.
            latents: Their latents.
            psnr: How near, in dB, above 0.
            steps: For each latent the numbers of levels to try, rising. None: the longest prefix of each number of
                bytes, since a shorter one saves none.

        Returns:
            N prefixes; the last step where none is near enough, whose PSNR then says so.

        Raises:
            ValueError: psnr is not a number above 0.
            UnknownWeights: As in `decode_batch`.
        """
        if not 0 < psnr < math.inf:
            raise ValueError(f"psnr must be a finite number above 0, not {psnr}")
        if steps is None:
            steps = [list(ladder(self._payload, latent.levels)) for latent in latents]
        found: dict[int, Near] = {}
        for step in count():
            left = [i for i in range(len(latents)) if i not in found]
            if not left:
                break
            tried = [latents[i].prefix(steps[i][step]) for i in left]
            for i, near in zip(left, self.nearness([images[i] for i in left], tried), strict=True):
                if near.psnr >= psnr or near.latent.levels == steps[i][-1]:
                    found[i] = near
        return [found[i] for i in range(len(latents))]

    def nearness(self, images: Sequence[Pixels], latents: Sequence[Latent]) -> list[Near]:
        """How near the pictures of latents are.

        Args:
            images: N, fitted to the network's resolution, R×R×3, uint8.
            latents: Their latents.

        Returns:
            N latents with their pictures and PSNR.

        Raises:
            UnknownWeights: As in `decode_batch`.
        """
        if not latents:
            return []
        decoded = self.decode_batch(latents)
        errors = squared_errors(np.stack(images), np.stack(decoded))
        return [Near(latent, psnr_of(float(error)), pixels)
                for latent, error, pixels in zip(latents, errors, decoded, strict=True)]

    def _payload(self, levels: int) -> int:
        return payload_bytes(self.k, levels)

    def _require_unconditional(self) -> None:
        if self.info.config.condition is not None:
            raise UnknownWeights(f"{self.info.name} needs each image's {self.info.config.condition.kind}, "
                                 f"which a .ddn file does not hold")

    def to_stream(self, picture: Picture, latent: Latent, comment: str | None = None) -> Stream:
        """What a .ddn file holds of a picture.

        Args:
            picture: The original, whose size and profile the file keeps.
            latent: What it was encoded to, or a prefix of that.
            comment: Any text.

        Returns:
            The stream, for `container.write`.

        Raises:
            AbsurdSize: The picture is larger than a file may say.
        """
        height, width = picture.size
        return Stream(latent, width, height, self.info.id, picture.icc, comment)
