"""Couplings: what makes the picks of several splits depend on one another, and so better than each split alone.

Split by split, the children of a cell lie where one bit quantises best. A coupling shifts both of them a little,
by the cell's dither times a number that depends on other picks: proposals then fill the space more evenly, as
those of a vector quantiser do, at the same number of bits.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

MEMORY = 6
STATES = 2**MEMORY
SHIFT_TAPS, PICK_TAPS = 0o103, 0o024  # Ungerboeck's h⁰ and h¹; bit i is the tap of delay i


class Coupling(Protocol):
    """Of a block of m splits; picks (B, m) are 0 or 1."""

    def shifts(self, picks: Tensor) -> Tensor:
        """What the dither of each split is multiplied by: (…, m), as the picks."""
        ...

    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool) -> Tensor:
        """Picks (B, m) near to residuals (B, m), for steps (B, m, 2) and dither (B, m).

        Greedy: the nearest proposal level by level (Sec. 3.1); else that of the whole block, where they differ.
        """
        ...


class Trellis(nn.Module):
    """For K = 2: the picks before a level decide which way its children are shifted.

    Trellis-coded quantisation (Marcellin and Fischer, 1990), as in JPEG 2000 part 2, by Ungerboeck's code of 64
    states: of the shifts s and the picks p, as bits, the sum of h⁰ᵢ sₙ₋ᵢ + h¹ᵢ pₙ₋ᵢ is even. An encoder that looks
    ahead gains from it; a greedy one loses a little.
    """

    following: Tensor
    shift: Tensor
    into: Tensor
    response: Tensor

    def __init__(self, block_bits: int) -> None:
        super().__init__()
        states = torch.arange(STATES, device="cpu")
        shift = states & 1
        following = []
        for pick in (0, 1):
            after = states >> 1
            for i in range(MEMORY):
                tap = (SHIFT_TAPS >> (i + 1) & 1) * shift ^ (PICK_TAPS >> (i + 1) & 1) * pick
                after = after ^ tap << i
            following.append(after)
        table = torch.stack(following, 1)
        self.register_buffer("following", table, persistent=False)  # (S, 2): the state after each state and pick
        self.register_buffer("shift", 2.0 * shift - 1, persistent=False)  # (S,)
        # The two ways into each state, as state · 2 + pick: (S, 2).
        self.register_buffer("into", table.flatten().argsort(stable=True).view(STATES, 2), persistent=False)

        self.register_buffer("response", impulse_response(table, shift, block_bits), persistent=False)  # (m, m)

    def shifts(self, picks: Tensor) -> Tensor:
        # Over GF(2) the code is linear and starts at state 0: one product modulo 2 replaces walking through the states.
        # Sums of at most m ones are exact in float32.
        count = int(picks.shape[-1])  # in a trace a size is a tensor
        return 2 * (picks.float() @ self.response[:count, :count]).fmod(2) - 1

    @torch.no_grad()
    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool) -> Tensor:
        return self._greedy(residual, steps, dither) if greedy else self._viterbi(residual, steps, dither)

    def _greedy(self, residual: Tensor, steps: Tensor, dither: Tensor) -> Tensor:
        state = torch.zeros_like(residual[:, 0], dtype=torch.int64)
        picks = []
        for left, pair, reach in zip(residual.unbind(1), steps.unbind(1), dither.unbind(1), strict=True):
            first, second = ((left - self.shift[state] * reach)[:, None] - pair).abs().unbind(1)
            pick = (second < first).long()
            picks.append(pick)
            state = self.following[state, pick]
        return torch.stack(picks, 1)

    def _viterbi(self, residual: Tensor, steps: Tensor, dither: Tensor) -> Tensor:
        # (B, m, 4): the squared error of each pick under each shift.
        reach = torch.stack([-dither, dither], 2)[:, :, :, None]
        errors = (residual[:, :, None, None] - reach - steps[:, :, None]).square().flatten(2)
        origin = self.into >> 1
        branch = (self.shift[origin] > 0).long() * 2 + (self.into & 1)  # which of the four a way into a state takes
        cost = residual.new_full((len(residual), STATES), torch.inf)
        cost[:, 0] = 0
        ways = []
        for error in errors.unbind(1):
            cost, way = (cost[:, origin] + error[:, branch]).min(2)
            ways.append(way)
        state = cost.argmin(1, keepdim=True)
        picks = []
        for way in reversed(ways):
            entry = self.into[state[:, 0], way.gather(1, state)[:, 0]]
            picks.append(entry & 1)
            state = (entry >> 1)[:, None]
        return torch.stack(picks[::-1], 1)


def impulse_response(following: Tensor, shift: Tensor, count: int) -> Tensor:
    """Which of the shifts of `count` splits each pick flips: (count, count) of 0 or 1, a pick a row.

    following: (S, 2), the state after each state and pick. shift: (S,) of 0 or 1.
    """
    picks = torch.eye(count, dtype=torch.int64, device=shift.device)
    state = torch.zeros(count, dtype=torch.int64, device=shift.device)
    flipped = []
    for pick in picks.unbind(1):
        flipped.append(shift[state])
        state = following[state, pick]
    return torch.stack(flipped, 1).float()


class Codebook(nn.Module):
    """For K = 2^b > 2: each of a level's K nodes has an offset of its own on the level's b axes.

    offsets: parameter (K, b), in units of dither; zeros leave the sums of b splits as they are.
    """

    offsets: nn.Parameter
    picks: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(2**bits, bits))
        self.register_buffer("picks", all_picks(bits), persistent=False)

    def shifts(self, picks: Tensor) -> Tensor:
        return self.offsets[level_indices(picks, self.offsets.shape[1])].flatten(-2)

    @torch.no_grad()
    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool) -> Tensor:
        bits = self.offsets.shape[1]
        residual, dither = (part.reshape(len(part), -1, 1, bits) for part in (residual, dither))
        steps = steps.reshape(len(steps), -1, bits, 2)
        # (B, levels, K, b): every node of every level.
        nodes = torch.where(self.picks.bool(), steps[:, :, None, :, 1], steps[:, :, None, :, 0])
        nearest = (nodes + dither * self.offsets - residual).square().sum(3).argmin(2)
        return self.picks[nearest].flatten(1)


def level_indices(picks: Tensor, bits: int) -> Tensor:
    """The indices of levels of so many splits each: picks (…, m) → (…, m / bits)."""
    if bits == 1:
        return picks
    powers = 2 ** torch.arange(bits - 1, -1, -1, device=picks.device)
    return (picks.reshape(*picks.shape[:-1], -1, bits) * powers).sum(-1)


def split_picks(indices: Tensor, bits: int) -> Tensor:
    """Inverse of `level_indices`: indices (…, m / bits) → picks (…, m), the first split first."""
    if bits == 1:
        return indices
    return (indices[..., None] >> torch.arange(bits - 1, -1, -1, device=indices.device) & 1).flatten(-2)


def all_picks(bits: int) -> Tensor:
    """The picks that a level's index stands for: (2^bits, bits)."""
    return split_picks(torch.arange(2**bits, device="cpu")[:, None], bits)  # also where a network has no memory yet
