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
WALK = 36  # splits that are searched at once: a path's cost and its picks have room in one int64
PATH = 2 ** (WALK + MEMORY)  # costs are multiples of it; what is below is the path, its first state and then its picks
UNREACHED = 2**62  # the cost of a state that no path leads to
COSTS = UNREACHED / (2 * PATH)  # what an image's costs are together at most, in units of PATH
SHIFT_TAPS, PICK_TAPS = 0o103, 0o024  # Ungerboeck's h⁰ and h¹; bit i is the tap of delay i


class Coupling(Protocol):
    """Of a block of m splits; picks (B, m) are 0 or 1."""

    def shifts(self, picks: Tensor) -> Tensor:
        """What the dither of each split is multiplied by: (…, m), as the picks."""
        ...

    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool | Tensor) -> Tensor:
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
    origin: Tensor
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
        # The state from which each pick leads into each state, (2, S). As h⁰'s last tap is the only one there, the
        # upper half of the states are those that are reached with the shift up.
        self.register_buffer("origin", table.argsort(0).T.contiguous(), persistent=False)
        self.register_buffer("response", impulse_response(table, shift, block_bits), persistent=False)  # (m, m)

    def shifts(self, picks: Tensor) -> Tensor:
        # Over GF(2) the code is linear and starts at state 0: one product modulo 2 replaces walking through the states.
        # Sums of at most m ones are exact in float32.
        count = int(picks.shape[-1])  # in a trace a size is a tensor
        return 2 * (picks.float() @ self.response[:count, :count]).fmod(2) - 1

    @torch.no_grad()
    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool | Tensor) -> Tensor:
        shifts = torch.stack([-dither.T, dither.T], 1)  # (m, 2, B): the batch last is fastest
        nodes = steps.permute(1, 2, 0)[:, :, None] + shifts[:, None]  # (m, pick, shift, B)
        costs = (residual.T[:, None, None] - nodes).square()
        first, second = (costs * (COSTS / costs.amax((1, 2)).sum(0).clamp(min=torch.finfo().tiny))).unbind(1)
        # A graph, which may be asked for either search, keeps a script's branches and loops.
        walk = torch.jit.script(_walk) if torch.onnx.is_in_onnx_export() else _walk
        states = torch.arange(STATES, device=residual.device)[:, None]
        value = (states > 0) * UNREACHED + torch.zeros_like(residual[:, 0], dtype=torch.int64)
        parts = []
        left = int(residual.shape[1])  # in a trace a size is a tensor
        while left:
            count = min(left, WALK)
            bits = 2 ** torch.arange(count - 1, -1, -1, device=residual.device)
            value = walk(value + states * 2**count, first[-left:][:count], second[-left:][:count], bits, self.origin,
                         self.following, torch.as_tensor(greedy), PATH, UNREACHED)
            paths = value % PATH
            value = value - paths
            parts.append((paths, bits))
            left -= count
        state = value.argmin(0, keepdim=True)
        picks = []
        for paths, bits in reversed(parts):
            path = paths.gather(0, state)
            picks.append(path // bits[:, None] % 2)
            state = path // (2 * bits[0])
        return torch.cat(picks[::-1]).T


def _walk(value: Tensor, first: Tensor, second: Tensor, bits: Tensor, origin: Tensor, following: Tensor, greedy: Tensor,
          unit: int, unreached: int) -> Tensor:
    """The best path into each state, by Viterbi's algorithm; or one path, split by split. TorchScript too.

    Args:
        value: (S, B) int64, a cost, and below it a path: the one into each state so far.
        first, second: (m, 2, B), what the picks 0 and 1 add, with either shift; rounded where whole paths compare.
        bits: (m,), what a pick of 1 adds to a path.
        origin: (2, S), from which state each pick leads into each state.
        following: (S, 2), where each pick leads to from each state.
        greedy: Whether to go on from the best state alone, and always by the cheaper pick.
        unit: Of costs.
        unreached: What stands for states that no path leads to.

    Returns:
        As `value`.
    """
    if bool(greedy):
        state = value.argmin(0, keepdim=True)
        path = value.gather(0, state)
        for i in range(bits.shape[0]):
            shift = state % 2
            cheaper = second[i].gather(0, shift) < first[i].gather(0, shift)
            path = torch.where(cheaper, path + bits[i], path)
            state = torch.where(cheaper, following[:, 1][state], following[:, 0][state])
        return torch.full_like(value, unreached).scatter(0, state, path)
    half = origin.shape[1] // 2
    whole_first = unit * first.round().long()[:, :, None]
    whole_second = unit * second.round().long()[:, :, None] + bits[:, None, None, None]
    for i in range(bits.shape[0]):
        one = value.index_select(0, origin[0]).view(2, half, -1) + whole_first[i]
        other = value.index_select(0, origin[1]).view(2, half, -1) + whole_second[i]
        value = torch.minimum(one, other).flatten(0, 1)
    return value


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
    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool | Tensor) -> Tensor:
        bits = self.offsets.shape[1]
        residual, dither = (part.reshape(part.shape[0], -1, 1, bits) for part in (residual, dither))
        steps = steps.reshape(steps.shape[0], -1, bits, 2)
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
