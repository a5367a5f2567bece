"""What decoding streams takes, whatever computes the images of latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ddncodec.container import Stream
from ddncodec.images import Picture, Pixels, fit
from ddncodec.latent import Latent
from ddncodec.weights import WeightsInfo


class StreamDecoder(ABC):
    """What turns latents into images, and so streams into pictures.

    info: what the weights file says of itself.
    """

    info: WeightsInfo

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU, so that forks of its process can use it too."""
        return True

    @abstractmethod
    def decode_batch(self, latents: Sequence[Latent]) -> list[Pixels]:
        """The images of latents.

        Args:
            latents: N of this network, each whole or a prefix.

        Returns:
            N images, R×R×3, uint8.

        Raises:
            UnknownWeights: A latent has another K, or more levels than the network.
        """

    def decode(self, latent: Latent) -> Pixels:
        """The image of a latent; see `decode_batch`."""
        return self.decode_batch([latent])[0]

    def to_pictures(self, streams: Sequence[Stream], levels: int | None = None) -> list[Picture]:
        """The pictures of streams, at the sizes and in the profiles of their originals.

        Args:
            streams: Made with these weights.
            levels: How many levels to decode, where a stream has more, 1 or more; None: all.

        Returns:
            A picture for each stream.

        Raises:
            UnknownWeights: A stream was made with other weights.
        """
        return [self.to_picture(*pair) for pair in zip(streams, self.decode_streams(streams, levels), strict=True)]

    def decode_streams(self, streams: Sequence[Stream], levels: int | None = None) -> list[Pixels]:
        """The images of streams at the network's resolution, which `to_picture` enlarges one by one.

        Args:
            streams: As in `to_pictures`.
            levels: As in `to_pictures`.

        Returns:
            An image for each stream, R×R×3, uint8.

        Raises:
            UnknownWeights: As in `to_pictures`.
        """
        for stream in streams:
            self.info.check(stream)
        return self.decode_batch([stream.latent if levels is None else
                                  stream.latent.prefix(min(levels, stream.latent.levels)) for stream in streams])

    @staticmethod
    def to_picture(stream: Stream, pixels: Pixels) -> Picture:
        """The picture of a stream at the size and in the profile of its original.

        Args:
            stream: Says both.
            pixels: Its image as `decode_streams` gives it.

        Returns:
            The picture.
        """
        return Picture(fit(pixels, (stream.height, stream.width)), stream.icc)
