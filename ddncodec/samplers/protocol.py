"""What a generator and a sampler say to each other: the generator offers proposals, the sampler answers with a choice.

A generator asks its sampler once for each block of levels. It knows nothing of where the picks come from: a target
(`guided`), a recorded latent (`replay`), chance (`random`) or objectives (`conditional`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Shape(NamedTuple):
    """Size of the proposals of a block: B images, n levels, K proposals at each level."""

    batch: int
    levels: int
    k: int


class Choice(NamedTuple):
    """What a sampler picked.

    indices: (B, n) int64, each below K. guided: (B, n) bool, false where chain dropout picked; None where there was
    no target.
    """

    indices: Tensor
    guided: Tensor | None = None


class Proposals(Protocol):
    """The K proposals of each of a block's n levels, on top of what B images show so far."""

    @property
    def shape(self) -> Shape:
        """B, n and K."""
        ...

    @property
    def cells(self) -> Tensor:
        """The cells that the levels divide, of all that the generator has: (B, n, b) int64, b cells a level.

        A level's K proposals are all the ways to take one node of each of its cells; the first cell's is the most
        significant digit of a proposal's number.
        """
        ...

    def nearest(self, target: Tensor, effort: int | Tensor, forced: Tensor | None = None) -> Tensor:
        """Picks (B, n) near to a target.

        Args:
            target: What the generator's `target` made of the images.
            effort: How hard to search; see `ddncodec.effort`. A tensor where an export leaves it open.
            forced: (B, n), the index to take where a level must not choose itself, −1 elsewhere.
        """
        ...

    def images(self, picks: Tensor) -> Tensor:
        """Images after the first m levels, for C alternatives, not yet refined: picks (B, C, m) → (B, C, 3, r, r)."""
        ...

    def reach(self, picks: Tensor) -> Tensor:
        """‖proposal − prediction‖² of each proposal of the level after these picks: (B, m) → (B, K)."""
        ...


class Sampler(Protocol):
    """What a generator asks for its picks."""

    def choose(self, proposals: Proposals) -> Choice:
        """Pick one proposal of each of the block's n levels."""
        ...


class Walk(Protocol):
    """How likely nodes are on the paths of B images, cell by cell."""

    def log_odds(self, cells: Tensor) -> Tensor:
        """Log odds, up to constants, of the nodes of the next cells (B, c), as many of them as are known at once.

        Returns:
            (B, c', nodes), 1 ≤ c' ≤ c.
        """
        ...

    def take(self, cells: Tensor, nodes: Tensor) -> None:
        """Go on over these nodes of these cells, both (B, c)."""
        ...


class Prior(Protocol):
    """How likely paths are."""

    def walk(self, batch: int) -> Walk:
        """The beginning of the paths of so many images."""
        ...


class Continuation(Protocol):
    """What goes on where some picks of a block are made already: after a prefix, or after none, or all of them."""

    def draw(self, proposals: Proposals, picks: Tensor) -> Tensor:
        """The picks of all n levels (B, n), given those of the first m, (B, m)."""
        ...
