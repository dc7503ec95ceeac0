r"""The block kernels in PyTorch: any device, no compiler, the memory of the compiled ones.

Signals lie in planes `(planes, channels, places)` of padded storage (see `Stencil`), so that a
neighbour is one shift along the last axis and every operation works in place on long slices. The
planes are taken a few at a time, so that what the backward pass keeps stays small.

`g_` is the gradient of the loss by what follows; the rules are those of src/block_reverse.hpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from .block import Block
from .plans import Stencil
from .registry import Key

#: Numbers in the edge signals that are worked on together: what a processor's caches hold.
NUMBERS_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 26}
#: Numbers added at a time: sums of fixed pieces do not depend on the number of threads.
PIECE = 256


class Storage:
    """Between `(planes, nodes, channels)` and planes of padded storage."""

    def __init__(self, plan: Stencil, device: torch.device) -> None:
        # found on the CPU: asking a GPU where the nodes are would stop it
        rows = torch.tensor(plan.source_rows)
        stride = plan.width + plan.reach
        self.lead = plan.lag * stride + plan.reach
        self.steps = [r * stride + o[-1] for r, o in zip(plan.row_steps, plan.offsets, strict=True)]
        length = len(rows) * stride + 2 * self.lead
        self.length = length + -length % PIECE
        held = (rows >= 0).nonzero() * stride + torch.arange(plan.width)
        place = self.lead + held.flatten()
        padding = torch.ones(self.length, dtype=torch.bool).index_fill_(0, place, False)
        # a slot holds an edge when its head is a node as well
        edges = torch.stack([~padding.index_select(0, place + step) for step in self.steps])
        self.place, self.padding, self.edges = (t.to(device) for t in (place, padding, edges))
        self.distances = torch.tensor(self.steps, dtype=torch.int32).to(device)

    def signal(self, x: Tensor) -> Tensor:
        """`(planes, nodes, channels)` to `(planes, channels, places)`."""
        stored = x.new_zeros(x.shape[0], x.shape[-1], self.length)
        return stored.index_copy_(-1, self.place, x.mT)

    def nodes(self, stored: Tensor) -> Tensor:
        """The inverse of `signal`."""
        return stored.index_select(-1, self.place).mT

    def weights(self, w: Tensor) -> Tensor:
        """`(planes, edges)` to `(planes, offsets, places)`, zero where no edge is."""
        w = w.unflatten(-1, (len(self.steps), -1)).masked_fill(~self.edges, 0)
        stored = w.new_zeros(*w.shape[:2], self.length)
        return stored.index_copy_(-1, self.place, w)

    def slots(self, stored: Tensor) -> Tensor:
        """The inverse of `weights`."""
        return stored.index_select(-1, self.place).masked_fill(~self.edges, 0).flatten(1)


@lru_cache(maxsize=16)
def storage(plan: Stencil, device: torch.device) -> Storage:
    """That of a plan on a device, made once: a copy to a GPU makes the CPU wait for it."""
    with torch.inference_mode(False):  # it outlives the mode of whoever asks first
        return Storage(plan, device)


@dataclass(eq=False)
class Planes:
    """A few planes of a block, and the sweeps over them. Numbers are `(planes, 1, 1)`.

    Whoever writes the sweeps anew overrides `degrees`, `iterate` and the three in reverse.
    """

    block: Block
    storage: Storage
    x: Tensor
    y: Tensor
    mask: Tensor
    w: Tensor

    #: Whether `iterate` may write `u_new` into `u`.
    in_place: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.degree = self.degrees(self.w)

    @property
    def norm(self) -> str:
        """Of the block."""
        return self.block.norm

    @property
    def tiny(self) -> float:
        """What `D` must exceed to be divided by."""
        return float(torch.finfo(self.w.dtype).tiny ** 0.5)

    def shifts(self) -> Iterator[tuple[int, Tensor, slice, slice]]:
        """For each offset its number, its weights, and where its tails and heads lie."""
        n = self.storage.length
        for k, step in enumerate(self.storage.steps):
            yield k, self.w[:, k : k + 1, : n - step], slice(n - step), slice(step, n)

    def degrees(self, w: Tensor) -> Tensor:
        """Sums of weights by node, `(planes, 1, places)`."""
        degree = w.sum(1, keepdim=True)
        for k, _, tail, head in self.shifts():
            degree[..., head] += w[:, k : k + 1, tail]
        return degree

    def neighbours(self, p: Tensor) -> Tensor:
        """`W p`."""
        sum_ = torch.zeros_like(p)
        for _, w, tail, head in self.shifts():
            sum_[..., tail].addcmul_(w, p[..., head])
            sum_[..., head].addcmul_(w, p[..., tail])
        return sum_

    def product(self, p: Tensor, rho: Tensor) -> Tensor:
        """`A p`, with `L p = d p - W p`: a direction has no large constant part to lose."""
        Ap = rho * (self.degree * p - self.neighbours(p))
        return Ap if self.block.hard else Ap.addcmul_(self.mask, p)

    def scaling(self, rho: Tensor) -> Tensor:
        """`1 / D`, and 0 where `D` vanishes or a node is not free to move."""
        inverse = torch.ones_like(self.x)
        if self.block.scaled:
            D = rho * self.degree if self.block.hard else rho * self.degree + self.mask
            inverse = inverse * torch.where(self.tiny < D, 1 / D, 0)
        return inverse.masked_fill_(self.mask > 0, 0) if self.block.hard else inverse

    def free(self, p: Tensor) -> Tensor:
        """`p` with zeros where nothing may move: NaN would outlive a product with 0."""
        p.masked_fill_(self.storage.padding, 0)
        return p.masked_fill_(self.mask > 0, 0) if self.block.hard else p

    def new_edges(self) -> Tensor:
        """Room for an edge signal, `(planes, offsets, channels, places)`; none without a norm."""
        offsets = 0 if self.norm == "none" else self.w.shape[1]
        return self.w.new_empty(len(self.w), offsets, *self.x.shape[1:])

    # ---- forward --------------------------------------------------------------------------------

    def dual(self, t: Tensor, tau: Tensor) -> Tensor:
        """The projection of `t` on the ball of radius `tau`."""
        if self.norm == "l1":
            return torch.minimum(torch.maximum(t, -tau), tau)
        square = t.square().sum(1, keepdim=True)
        return t * torch.where(square > tau * tau, tau * square.rsqrt(), 1)

    def residual(self, u: Tensor, u_new: Tensor, numbers: Numbers) -> Tensor:
        """`h (y - x) + rho div(w (u - 2 u_new))`, and `u_new`."""
        x, r = self.x, torch.zeros_like(self.x)
        for k, w, tail, head in self.shifts():
            q = x[..., head] - x[..., tail]
            if self.norm == "none":
                q.neg_()
            else:
                before = u[:, k, :, tail] * numbers.ratio
                after = self.dual(q.add_(before), numbers.tau)
                u_new[:, k, :, tail] = after
                q = before.sub_(after, alpha=2)
            q.mul_(w)
            r[..., head] += q
            r[..., tail] -= q
        r.mul_(numbers.rho)
        return r if self.block.hard else r.add_(self.mask * (self.y - x))

    def iterate(self, u: Tensor, u_new: Tensor, numbers: Numbers) -> Iterator[Tensor]:
        """One iteration, which moves `x` and fills `u_new`; yields the directions."""
        inverse = self.scaling(numbers.rho)
        r = self.residual(u, u_new, numbers)
        p = self.free(inverse * r)
        for j, alpha in enumerate(numbers.alpha):
            yield p
            self.x = torch.addcmul(self.x, alpha, p)
            if j == len(numbers.beta):
                return
            r.sub_(self.product(p, numbers.rho).mul_(alpha))
            p = self.free((inverse * r).addcmul_(numbers.beta[j], p))

    # ---- reverse --------------------------------------------------------------------------------

    def solve_reverse(
        self, g: Gradient, directions: list[Tensor], numbers: Numbers, found: Found
    ) -> Tensor:
        """The linear solve in reverse: from `g.x` to the gradient by its first residual."""
        inverse, rho = self.scaling(numbers.rho), numbers.rho
        g_p, g_r = torch.zeros_like(g.x), torch.zeros_like(g.x)
        by_D = torch.zeros_like(g.x)
        for j in reversed(range(len(numbers.alpha))):
            p, alpha = directions[j], numbers.alpha[j]
            slope = g.x
            if j < len(numbers.beta):
                slope = g.x - self.product(g_r, rho)
                energy = self.energy(g_r, p).mul_(alpha)
                g.w.addcmul_(energy, rho, value=-1)
                found.rho -= total(self.w * energy)
                found.beta[j] = total(g_p * p)
                g_p = numbers.beta[j] * g_p
            found.alpha[j] = total(slope * p)
            g_p = torch.addcmul(g_p, alpha, slope)
            z = p - numbers.beta[j - 1] * directions[j - 1] if j else p
            by_D -= inverse * z * g_p
            g_r = self.free(torch.addcmul(g_r, inverse, g_p))
        if self.block.scaled:
            by_D = by_D.sum(1, keepdim=True)
            g.degree.addcmul_(rho, by_D)
            found.rho += total(by_D * self.degree)
        return g_r

    def degrees_reverse(self, g: Gradient) -> None:
        """`degrees` in reverse, from `g.degree` into `g.w`."""
        for k, _, tail, head in self.shifts():
            g.w[:, k : k + 1, tail] += g.degree[..., tail] + g.degree[..., head]

    def energy(self, a: Tensor, b: Tensor) -> Tensor:
        """`sum over channels of (grad a)(grad b)`, `(planes, offsets, places)`."""
        e = torch.zeros_like(self.w)
        for k, _, tail, head in self.shifts():
            product = (a[..., head] - a[..., tail]).mul_(b[..., head] - b[..., tail])
            e[:, k, tail] = product.sum(1)
        return e

    def edges_reverse(
        self,
        g: Gradient,
        g_r: Tensor,
        x: Tensor,
        u: Tensor,
        u_new: Tensor,
        numbers: Numbers,
        found: Found,
    ) -> None:
        """The first residual in reverse, into `g`."""
        rho = numbers.rho
        for k, w, tail, head in self.shifts():
            e, difference = g_r[..., head] - g_r[..., tail], x[..., head] - x[..., tail]
            g_q = e * (rho * w)
            if self.norm == "none":
                q, g_t = -difference, -g_q
            else:
                before, after = u[:, k, :, tail], u_new[:, k, :, tail]
                t = torch.addcmul(difference, before, numbers.ratio)
                g_u = g.u[:, k, :, tail].sub_(g_q, alpha=2)
                g_t, by_tau = self.dual_reverse(t, numbers.tau, g_u)
                found.tau += total(by_tau)
                q = (before * numbers.ratio).sub_(after, alpha=2)
                g_before = g_q.add_(g_t)
                found.ratio += total(g_before * before)
                g.u[:, k, :, tail] = g_before.mul_(numbers.ratio)
            q_e = q.mul_(e).sum(1, keepdim=True)
            g.w[:, k : k + 1, tail].addcmul_(rho, q_e)
            found.rho += total(w * q_e)
            g.x[..., head] += g_t
            g.x[..., tail] -= g_t
        if not self.block.hard:
            h_g = self.mask * g_r
            g.x -= h_g
            g.y += h_g

    def dual_reverse(self, t: Tensor, tau: Tensor, g_u: Tensor) -> tuple[Tensor, Tensor]:
        """`dual` in reverse: the gradients by `t`, and by `tau` before it is summed."""
        if self.norm == "l1":
            outside = t.abs() > tau
            return g_u.masked_fill(outside, 0), torch.where(outside, g_u * t.sign(), 0)
        square = t.square().sum(1, keepdim=True)
        outside = square > tau * tau
        root = torch.where(outside, square, 1).rsqrt()
        dot = (t * g_u).sum(1, keepdim=True)
        radial = torch.where(outside, dot * root * root, 0)
        g_t = torch.where(outside, tau * root, 1) * (g_u - radial * t)
        return g_t, torch.where(outside, dot * root, 0)


@dataclass(eq=False)
class Numbers:
    """The coefficients of one iteration, each `(planes, 1, 1)`."""

    tau: Tensor
    rho: Tensor
    ratio: Tensor
    alpha: list[Tensor]
    beta: list[Tensor]

    @classmethod
    def of(cls, block: Block, planes: slice) -> list[Numbers]:
        """Those of every iteration for some planes."""
        sets = torch.arange(planes.start, planes.stop, device=block.rho.device) % len(block.rho)
        # the planes of one coefficient lie side by side
        tau, rho, ratio, alpha, beta = (
            v.detach().movedim(0, -1).index_select(-1, sets)[..., None, None]
            for v in (block.tau, block.rho, block.ratio, block.alpha, block.beta)
        )
        return [
            cls(tau[t], rho[t], ratio[t], list(alpha[t].unbind()), list(beta[t].unbind()))
            for t in range(block.num_iterations)
        ]


@dataclass(eq=False)
class Gradient:
    """What is carried backwards, in padded storage."""

    x: Tensor
    y: Tensor
    u: Tensor
    w: Tensor
    degree: Tensor


@dataclass(eq=False)
class Found:
    """The gradients by the coefficients of one iteration, each `(planes,)`."""

    tau: Tensor
    rho: Tensor
    ratio: Tensor
    alpha: list[Tensor]
    beta: list[Tensor]

    @classmethod
    def zeros(cls, planes: int, numbers: Numbers, like: Tensor) -> Found:
        """Nothing found yet."""
        zero = like.new_zeros(planes)
        alpha, beta = ([zero] * len(v) for v in (numbers.alpha, numbers.beta))
        return cls(zero.clone(), zero.clone(), zero.clone(), alpha, beta)


def total(x: Tensor) -> Tensor:
    """The sum over all but the first axis."""
    x = x.flatten(1)
    while x.shape[-1] > 1:
        x = functional.pad(x, (0, -x.shape[-1] % PIECE))
        x = x.unflatten(-1, (-1, PIECE)).sum(-1)
    return x.squeeze(-1)


class TorchBlock:
    """`forward` and `reverse` of a block, by the sweeps of a class of planes."""

    def __init__(self, planes: type[Planes] = Planes) -> None:
        self._planes = planes

    def forward(self, block: Block) -> Tensor:
        """The restored signal."""
        parts = [self._restore(planes, numbers) for planes, numbers in self._parts(block)]
        return _joined(parts, block.x.new_empty(*block.batch, block.plan.num_nodes, block.channels))

    def reverse(self, block: Block, g: Tensor) -> tuple[Tensor, ...]:
        """The gradients by `block.differentiable` for the gradient `g` by the result."""
        batch, nodes, inputs = block.batch, block.plan.num_nodes, block.differentiable
        shapes = [(nodes, block.channels), (nodes, block.channels), block.w.shape[-1:]]
        g = g.reshape(prod(batch), nodes, block.channels)
        parts, first = [], 0
        for planes, numbers in self._parts(block):
            part = g[first : first + planes.x.shape[0]]
            parts.append(self._gradients(planes, numbers, part))
            first += len(part)
        found = list(zip(*parts, strict=True)) or [()] * len(inputs)
        signals = (
            _joined(v, t.new_empty(*batch, *shape)).sum_to_size(t.shape)
            for v, t, shape in zip(found[:3], inputs[:3], shapes, strict=True)
        )
        # planes in order, so that the sum does not depend on how many were worked on together
        coefficients = (
            _joined(v, t.new_empty(prod(batch), *t.shape[1:])).unflatten(0, (-1, len(t))).sum(0)
            if parts
            else torch.zeros_like(t)
            for v, t in zip(found[3:], inputs[3:], strict=True)
        )
        return *signals, *coefficients

    def _parts(self, block: Block) -> Iterator[tuple[Planes, list[Numbers]]]:
        """A few planes at a time, with the numbers of every iteration."""
        assert isinstance(block.plan, Stencil)
        batch, nodes, C = block.batch, block.plan.num_nodes, block.channels
        edges = block.w.shape[-1]
        stored = storage(block.plan, block.w.device)
        signals = [t.expand(*batch, nodes, C) for t in (block.x, block.y, block.mask)]
        signals = [t.detach().reshape(-1, nodes, C) for t in signals]
        w = block.w.detach().expand(*batch, edges).reshape(-1, edges)
        per_plane = len(block.plan.offsets) * C * stored.length
        count = max(1, NUMBERS_AT_ONCE[w.device.type] // per_plane)
        for first in range(0, prod(batch), count):
            some = slice(first, min(first + count, prod(batch)))
            x, y, mask = (stored.signal(t[some]) for t in signals)
            planes = self._planes(block, stored, x, y, mask, stored.weights(w[some]))
            yield planes, Numbers.of(block, some)

    @staticmethod
    def _restore(planes: Planes, numbers: list[Numbers]) -> Tensor:
        u = planes.new_edges().zero_()
        u_new = u if planes.in_place else planes.new_edges()
        for steps in numbers:
            for _ in planes.iterate(u, u_new, steps):
                pass
            u, u_new = u_new, u
        return planes.storage.nodes(planes.x)

    @staticmethod
    def _gradients(planes: Planes, numbers: list[Numbers], g_out: Tensor) -> tuple[Tensor, ...]:
        starts, directions, u = [], [], [planes.new_edges().zero_()]
        for steps in numbers:
            starts.append(planes.x)
            u.append(planes.new_edges())
            directions.append(list(planes.iterate(u[-2], u[-1], steps)))
        storage, count = planes.storage, len(g_out)
        g = Gradient(
            x=storage.signal(g_out),
            y=torch.zeros_like(planes.x),
            u=planes.new_edges().zero_(),
            w=torch.zeros_like(planes.w),
            degree=torch.zeros_like(planes.degree),
        )
        found = [Found.zeros(count, steps, g_out) for steps in numbers]
        for t in reversed(range(len(numbers))):
            g_r = planes.solve_reverse(g, directions.pop(), numbers[t], found[t])
            u_new = u.pop()
            planes.edges_reverse(g, g_r, starts.pop(), u[-1], u_new, numbers[t], found[t])
        if planes.block.scaled:
            planes.degrees_reverse(g)
        by_iteration = ([getattr(f, name) for f in found] for name in ("tau", "rho", "ratio"))
        by_step = (
            [torch.stack(v, -1) if v else g_out.new_zeros(count, 0) for v in rows]
            for rows in ([f.alpha for f in found], [f.beta for f in found])
        )
        return (
            storage.nodes(g.x),
            storage.nodes(g.y),
            storage.slots(g.w),
            *(torch.stack(v, 1) for v in by_iteration),
            *(torch.stack(v, 1) for v in by_step),
        )


def _joined(parts: list[Tensor] | tuple[Tensor, ...], empty: Tensor) -> Tensor:
    """Groups of planes as one batch, of the shape of `empty`."""
    return torch.cat(list(parts)).reshape(empty.shape) if parts else empty


def kernels() -> dict[Key, TorchBlock]:
    """The block kernels of every device that torch has."""
    kernel = TorchBlock()
    return {
        ("block", "stencil", dtype, device): kernel
        for dtype in (torch.float32, torch.float64)
        for device in NUMBERS_AT_ONCE
    }
