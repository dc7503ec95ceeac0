# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The sweeps of torch_block.py in reverse, in Triton: see triton_sweeps.py for how they gather.

A gradient by a coefficient is a sum over all of a plane. Each program writes its part of it to
`sums_at`, `(sums, planes, programs of a plane)`; whoever launches adds them in a fixed order.
"""

import triton
import triton.language as tl

from .triton_sweeps import GENERAL, channels, dual, free, here, inverse


@triton.jit
def part(sums_at, number, tile):
    """Stores this program's part of a sum."""
    at = sums_at + number * tl.num_programs(0) + tl.program_id(0)
    tl.store(at, tl.sum(tl.sum(tile, axis=1), axis=0))


@triton.jit(do_not_specialize=GENERAL)
def cg_reverse(
    g_x_at, g_r_at, g_p_at, p_at, p_before_at, mask_at, w_at, degree_at, padding_at, steps_at,
    rho_at, alpha_at, beta_at, beta_before_at,
    g_r_new_at, g_w_at, g_degree_at, sums_at,
    n, K: tl.constexpr, C: tl.constexpr,
    HARD: tl.constexpr, SCALED: tl.constexpr, TINY: tl.constexpr,
    FIRST: tl.constexpr, LAST: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """One step of the linear solve in reverse; the last step has no product and starts `g_p`.

    The sums are the gradients by `alpha`, `beta` and `rho`.
    """
    plane, i = here(n, PLACES)
    c, there = channels(n, C, CHANNELS)
    rho, alpha = tl.load(rho_at + plane), tl.load(alpha_at + plane)
    signal = plane * C * n
    a = c + i
    g_x_at += signal
    p_at += signal
    p, mask = tl.load(p_at + a, there, 0), tl.load(mask_at + signal + a, there, 0)
    degree = tl.load(degree_at + plane * n + i)
    slope = tl.load(g_x_at + a, there, 0)
    by_rho = tl.zeros_like(degree)
    if LAST:
        g_r = tl.zeros_like(p)
        g_p = alpha * slope
    else:
        g_r_at += signal
        w_at += plane * K * n
        g_w_at += plane * K * n
        g_r = tl.load(g_r_at + a, there, 0)
        W_g_r = tl.zeros_like(p)
        for k in range(K):
            step = tl.load(steps_at + k)
            leads, comes = i + step < n, i >= step
            w = tl.load(w_at + i)
            g_r_there = tl.load(g_r_at + a + step, there & leads, 0)
            p_there = tl.load(p_at + a + step, there & leads, 0)
            energy = alpha * tl.sum((g_r_there - g_r) * (p_there - p), axis=0)[None, :]
            tl.store(g_w_at + i, tl.load(g_w_at + i) - rho * energy)
            by_rho -= w * energy
            W_g_r += w * g_r_there
            w = tl.load(w_at + i - step, comes, 0)
            W_g_r += w * tl.load(g_r_at + a - step, there & comes, 0)
            w_at += n
            g_w_at += n
        A_g_r = rho * (degree * g_r - W_g_r)
        if not HARD:
            A_g_r += mask * g_r
        slope -= A_g_r
        g_p_after = tl.load(g_p_at + signal + a, there, 0)
        part(sums_at, 1, g_p_after * p)
        g_p = tl.load(beta_at + plane) * g_p_after + alpha * slope
    part(sums_at, 0, slope * p)
    scale = inverse(degree, mask, rho, HARD, SCALED, TINY)
    if SCALED:
        z = p
        if not FIRST:
            z -= tl.load(beta_before_at + plane) * tl.load(p_before_at + signal + a, there, 0)
        by_D = -tl.sum(scale * z * g_p, axis=0)[None, :]
        at = g_degree_at + plane * n + i
        tl.store(at, tl.load(at) + rho * by_D)
        by_rho += by_D * degree
    part(sums_at, 2, by_rho)
    tl.store(g_p_at + signal + a, g_p, there)
    g_r = free(g_r + scale * g_p, mask, tl.load(padding_at + i), HARD)
    tl.store(g_r_new_at + signal + a, g_r, there)


@triton.jit
def dual_reverse(t, tau, g_u, NORM: tl.constexpr):
    """`dual` in reverse: the gradients by `t`, and by `tau` before it is summed."""
    if NORM == "l1":
        above, below = t > tau, t < -tau
        by_tau = tl.where(above, g_u, tl.where(below, -g_u, 0))
        return tl.where(above | below, 0, g_u), by_tau
    else:
        square = tl.sum(t * t, axis=0)[None, :]
        outside = square > tau * tau
        root = 1 / tl.sqrt(tl.where(outside, square, 1))
        dot = tl.sum(t * g_u, axis=0)[None, :]
        radial = tl.where(outside, dot * root * root, 0)
        g_t = tl.where(outside, tau * root, 1) * (g_u - radial * t)
        return g_t, tl.where(outside, dot * root, 0)


@triton.jit(do_not_specialize=GENERAL)
def edge_reverse(
    x_at, u_at, g_u_at, g_r_at, mask_at, w_at, steps_at,
    tau_at, rho_at, ratio_at,
    g_x_at, g_y_at, g_w_at, g_u_new_at, sums_at,
    n, K: tl.constexpr, C: tl.constexpr,
    NORM: tl.constexpr, HARD: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """The first residual in reverse. The sums are the gradients by `tau`, `rho` and `ratio`.

    `u_new` is computed once more: that is cheaper than to read it.
    """
    plane, i = here(n, PLACES)
    c, there = channels(n, C, CHANNELS)
    tau, rho = tl.load(tau_at + plane), tl.load(rho_at + plane)
    ratio = tl.load(ratio_at + plane)
    signal = plane * C * n
    a = c + i
    x_at += signal
    g_r_at += signal
    w_at += plane * K * n
    g_w_at += plane * K * n
    if NORM != "none":
        u_at += plane * K * C * n
        g_u_at += plane * K * C * n
        g_u_new_at += plane * K * C * n
    x, g_r = tl.load(x_at + a, there, 0), tl.load(g_r_at + a, there, 0)
    flow, by_tau, by_ratio = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
    by_rho = tl.zeros([1, PLACES], x.dtype)
    for k in range(K):
        step = tl.load(steps_at + k)
        leads, comes = there & (i + step < n), there & (i >= step)
        # the edge that leaves
        w = tl.load(w_at + i)
        difference = tl.load(x_at + a + step, leads, 0) - x
        e = tl.load(g_r_at + a + step, leads, 0) - g_r
        g_q = rho * w * e
        if NORM == "none":
            q, g_t = -difference, -g_q
        else:
            before = tl.load(u_at + a, there, 0)
            t = difference + ratio * before
            q = ratio * before - 2 * dual(t, tau, NORM)
            g_u = tl.load(g_u_at + a, there, 0) - 2 * g_q
            g_t, tau_part = dual_reverse(t, tau, g_u, NORM)
            if NORM == "l1":
                by_tau += tau_part
            else:  # one for all channels
                by_tau += tl.where(c == 0, tau_part, 0)
            g_before = g_q + g_t
            by_ratio += g_before * before
            tl.store(g_u_new_at + a, ratio * g_before, there)
        q_e = tl.sum(q * e, axis=0)[None, :]
        tl.store(g_w_at + i, tl.load(g_w_at + i) + rho * q_e)
        by_rho += w * q_e
        flow -= g_t
        # the edge that arrives
        w = tl.load(w_at + i - step, i >= step, 0)
        g_q = rho * w * (g_r - tl.load(g_r_at + a - step, comes, 0))
        if NORM == "none":
            g_t = -g_q
        else:
            t = x - tl.load(x_at + a - step, comes, 0)
            t += ratio * tl.load(u_at + a - step, comes, 0)
            g_u = tl.load(g_u_at + a - step, comes, 0) - 2 * g_q
            g_t, _ = dual_reverse(t, tau, g_u, NORM)
            u_at += C * n
            g_u_at += C * n
            g_u_new_at += C * n
        flow += g_t
        w_at += n
        g_w_at += n
    g_x = tl.load(g_x_at + signal + a, there, 0) + flow
    if not HARD:
        h_g = tl.load(mask_at + signal + a, there, 0) * g_r
        g_x -= h_g
        g_y_at += signal
        tl.store(g_y_at + a, tl.load(g_y_at + a, there, 0) + h_g, there)
    tl.store(g_x_at + signal + a, g_x, there)
    part(sums_at, 0, by_tau)
    part(sums_at, 1, by_rho)
    part(sums_at, 2, by_ratio)


@triton.jit(do_not_specialize=GENERAL)
def degrees_reverse(g_degree_at, g_w_at, steps_at, n, K: tl.constexpr, PLACES: tl.constexpr):
    """Every weight counts at both ends of its edge."""
    plane, i = here(n, PLACES)
    g_degree_at += plane * n
    g_w_at += plane * K * n
    tail = tl.load(g_degree_at + i)
    for k in range(K):
        step = tl.load(steps_at + k)
        head = tl.load(g_degree_at + i + step, i + step < n, 0)
        tl.store(g_w_at + i, tl.load(g_w_at + i) + tail + head)
        g_w_at += n
