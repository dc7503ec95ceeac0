"""The sweeps of torch_block.py, each as one launch of a Triton kernel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import torch
import triton
from torch import Tensor

from . import triton_reverse, triton_sweeps
from .torch_block import PIECE, Found, Gradient, Numbers, Planes

#: The most places, and the most numbers, in the tile of one program. A place for each of its 128
#: threads, which holds all channels there: sums over channels then need no other thread. With many
#: channels that would take more registers than there are.
PLACES, NUMBERS = 128, 1024


class TritonPlanes(Planes):
    """A few planes of a block on a GPU. Nothing here waits for the GPU."""

    in_place: ClassVar[bool] = False

    @cached_property
    def _places(self) -> int:
        """Of a tile: a power of 2 that the storage is a multiple of."""
        assert PIECE % PLACES == 0
        return max(32, min(PLACES, NUMBERS // self._channels["CHANNELS"]))

    @property
    def _programs(self) -> int:
        """Tiles of a plane."""
        return self.storage.length // self._places

    @cached_property
    def _channels(self) -> dict[str, int]:
        C = self.block.channels
        return {"C": C, "CHANNELS": triton.next_power_of_2(C)}

    @cached_property
    def _system(self) -> dict[str, Any]:
        """What `A` and `D` are made of."""
        return {"HARD": self.block.hard, "SCALED": self.block.scaled, "TINY": self.tiny}

    def _launch(self, kernel: Any, *tensors: Tensor, **constants: Any) -> None:
        """`kernel` over all planes, on their device."""
        constants |= {"K": self.w.shape[1], "PLACES": self._places}
        with torch.cuda.device_of(self.w):
            kernel[len(self.w) * self._programs,](*tensors, self.storage.length, **constants)

    def _sums(self, *shape: int) -> Tensor:
        """Room for what each program adds to sums over its plane."""
        return self.w.new_zeros(*shape, len(self.w), self._programs)

    # ---- forward --------------------------------------------------------------------------------

    def degrees(self, w: Tensor) -> Tensor:
        degree = torch.empty_like(w[:, :1], memory_format=torch.contiguous_format)
        self._launch(triton_sweeps.degrees, w, degree, self.storage.distances)
        return degree

    def iterate(self, u: Tensor, u_new: Tensor, numbers: Numbers) -> Iterator[Tensor]:
        place, tau, rho, ratio = self.storage, numbers.tau, numbers.rho, numbers.ratio
        alpha, beta = numbers.alpha, numbers.beta
        # the start of an iteration may be wanted again, so that x moves elsewhere
        x, x_new, r, p = self.x, *(torch.empty_like(self.x) for _ in range(3))
        self._launch(
            triton_sweeps.edge_sweep,
            *(x, self.y, self.mask, self.w, u, self.degree, place.padding, place.distances),
            *(tau, rho, ratio, alpha[0], u_new, r, p, x_new),
            NORM=self.norm,
            MOVES=not beta,
            **self._channels,
            **self._system,
        )
        yield p
        for j in range(len(beta)):
            p_new = torch.empty_like(p)
            self._launch(
                triton_sweeps.cg_sweep,
                *(x, r, p, self.mask, self.w, self.degree, place.padding, place.distances),
                *(rho, alpha[j], beta[j], alpha[j + 1], p_new, x_new),
                LAST=j + 1 == len(beta),
                **self._channels,
                **self._system,
            )
            x, p = x_new, p_new
            yield p
        self.x = x_new

    # ---- reverse --------------------------------------------------------------------------------

    def solve_reverse(
        self, g: Gradient, directions: list[Tensor], numbers: Numbers, found: Found
    ) -> Tensor:
        place, rho, alpha, beta = self.storage, numbers.rho, numbers.alpha, numbers.beta
        g_r, g_r_new, g_p = (torch.empty_like(g.x) for _ in range(3))
        sums, last = self._sums(len(alpha), 3), len(beta)
        for j in reversed(range(len(alpha))):
            # where there is none it is not read
            p_before, beta_before = (directions[j - 1], beta[j - 1]) if j else (g_p, rho)
            self._launch(
                triton_reverse.cg_reverse,
                *(g.x, g_r, g_p, directions[j], p_before, self.mask, self.w, self.degree),
                *(place.padding, place.distances),
                *(rho, alpha[j], beta[j] if j < last else rho, beta_before),
                *(g_r_new, g.w, g.degree, sums[j]),
                FIRST=j == 0,
                LAST=j == last,
                **self._channels,
                **self._system,
            )
            g_r, g_r_new = g_r_new, g_r
        by_alpha, by_beta, by_rho = sums.sum(-1).unbind(1)
        found.alpha[:], found.beta[:] = by_alpha.unbind(), by_beta[:last].unbind()
        found.rho += by_rho.sum(0)
        return g_r

    def degrees_reverse(self, g: Gradient) -> None:
        self._launch(triton_reverse.degrees_reverse, g.degree, g.w, self.storage.distances)

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
        # a neighbour may still have to read what was there before
        g_u, sums = torch.empty_like(g.u), self._sums(3)
        self._launch(
            triton_reverse.edge_reverse,
            *(x, u, g.u, g_r, self.mask, self.w, self.storage.distances),
            *(numbers.tau, numbers.rho, numbers.ratio, g.x, g.y, g.w, g_u, sums),
            NORM=self.norm,
            HARD=self.block.hard,
            **self._channels,
        )
        g.u = g_u
        by_tau, by_rho, by_ratio = sums.sum(-1)
        found.tau += by_tau
        found.rho += by_rho
        found.ratio += by_ratio
