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
WALK = 56  # splits whose picks, and the state before them, have room in an int64
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
    shift: Tensor
    origin: Tensor
    branch: Tensor
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
        # The state from which each pick leads into each state, (2, S), and which of the four nodes that is, (2 · S,).
        origin = table.argsort(0).T.contiguous()
        self.register_buffer("origin", origin, persistent=False)
        branch = 2 * (origin & 1) + torch.tensor([[0], [1]], device="cpu")
        self.register_buffer("branch", branch.flatten(), persistent=False)
        self.register_buffer("response", impulse_response(table, shift, block_bits), persistent=False)  # (m, m)

    def shifts(self, picks: Tensor) -> Tensor:
        # Over GF(2) the code is linear and starts at state 0: one product modulo 2 replaces walking through the states.
        # Sums of at most m ones are exact in float32.
        count = int(picks.shape[-1])  # in a trace a size is a tensor
        return 2 * (picks.float() @ self.response[:count, :count]).fmod(2) - 1

    @torch.no_grad()
    def nearest(self, residual: Tensor, steps: Tensor, dither: Tensor, greedy: bool | Tensor) -> Tensor:
        if greedy is True:
            return self._greedy(residual, steps, dither)
        # A graph, which may be asked for either, searches greedily by letting none but the best path go on.
        slack = torch.where(torch.as_tensor(greedy, device=residual.device), 0.0, torch.inf)
        walk = torch.jit.script(_survivors) if torch.onnx.is_in_onnx_export() else _survivors  # which keeps its loop
        first, second = steps.permute(1, 2, 0).unbind(1)  # (m, B): the batch last is fastest
        nodes = torch.stack([first - dither.T, second - dither.T, first + dither.T, second + dither.T], 1)  # (m, 4, B)
        errors = (residual.T[:, None] - nodes).square().index_select(1, self.branch)  # (m, 2 · S, B)
        states = torch.arange(STATES, device=residual.device)[:, None]
        cost = torch.where(states == 0, 0, torch.inf) + torch.zeros_like(residual[:, 0])
        parts = []
        left = int(residual.shape[1])  # in a trace a size is a tensor
        while left:
            count = min(left, WALK)
            part = errors[-left:][:count]
            cost, paths = walk(cost, states + torch.zeros_like(cost, dtype=torch.int64), part, self.origin, slack)
            parts.append((paths, count))
            left -= count
        state = cost.argmin(0, keepdim=True)
        picks = []
        for paths, count in reversed(parts):
            path = paths.gather(0, state)
            picks.append(path >> torch.arange(count - 1, -1, -1, device=path.device)[:, None] & 1)
            state = path >> count
        return torch.cat(picks[::-1]).T

    def _greedy(self, residual: Tensor, steps: Tensor, dither: Tensor) -> Tensor:
        state = torch.zeros_like(residual[:, 0], dtype=torch.int64)
        picks = []
        for left, pair, reach in zip(residual.unbind(1), steps.unbind(1), dither.unbind(1), strict=True):
            first, second = ((left - self.shift[state] * reach)[:, None] - pair).abs().unbind(1)
            pick = (second < first).long()
            picks.append(pick)
            state = self.following[state, pick]
        return torch.stack(picks, 1)


def _survivors(cost: Tensor, paths: Tensor, errors: Tensor, origin: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """The best path into each state, by Viterbi's algorithm; TorchScript too.

    Args:
        cost: (S, B), of the paths so far.
        paths: (S, B) int64, the paths so far as binary numbers.
        errors: (m, 2 · S, B), what each way into each state adds to the cost, that of pick 0 into all states first.
        origin: (2, S), where these ways come from.
        slack: How much more than the best a path may cost after each split, and go on.

    Returns:
        Costs above the best, and paths with m picks more.
    """
    count = origin.shape[1]
    origins = origin.flatten()
    for i in range(errors.shape[0]):
        costs = cost.index_select(0, origins) + errors[i]
        better = costs[count:] < costs[:count]
        cost = torch.minimum(costs[:count], costs[count:])
        cost = cost - cost.amin(0)
        cost = cost.masked_fill(cost > slack, torch.inf)
        ways = 2 * paths.index_select(0, origins)
        paths = torch.where(better, ways[count:] + 1, ways[:count])
    return cost, paths


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
