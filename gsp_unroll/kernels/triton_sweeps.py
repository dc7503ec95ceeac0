# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The forward sweeps of torch_block.py in Triton, one kernel each, and what both directions share.

A program works on some places of one plane, with all channels: a tile `(CHANNELS, PLACES)`. It
gathers: of each edge that meets a place it computes what that edge adds there, whether the edge
leaves or arrives. Nothing is added from two sides, so results are the same bit by bit on every run;
the price is that each edge is computed twice, while its numbers are in the cache.

Names that end in `_at` point at what `Planes` calls by that name. Lanes beyond the channels, and
neighbours beyond the storage, read 0. In the padding `x`, `p` and `w` are 0; what an edge signal
holds there is multiplied by those zeros alone. An `if` on a name in capitals is settled when a
kernel is compiled.
"""

import triton
import triton.language as tl

#: What a kernel is not compiled anew for. Coefficients are slices of longer tensors, some of which
#: begin on 16 bytes; and told that planes do, the compiler would give a thread four places and
#: spread the channels over threads, which then exchange numbers within the loop over edges.
GENERAL = [f"{name}_at" for name in ("tau", "rho", "ratio", "alpha", "alpha_next", "beta")]
GENERAL += ["beta_before_at", "sums_at", "n"]


@triton.jit
def here(n, PLACES: tl.constexpr):
    """The plane and the places, `(1, PLACES)`, of this program."""
    blocks = n // PLACES
    program = tl.program_id(0)
    # planes lie far apart: beyond what 32 bits can count
    plane = (program // blocks).to(tl.int64)
    return plane, (program % blocks) * PLACES + tl.arange(0, PLACES)[None, :]


@triton.jit
def channels(n, C: tl.constexpr, CHANNELS: tl.constexpr):
    """Where each channel begins in a signal, `(CHANNELS, 1)`, and which of them exist."""
    c = tl.arange(0, CHANNELS)[:, None]
    return c * n, c < C


@triton.jit
def inverse(degree, mask, rho, HARD: tl.constexpr, SCALED: tl.constexpr, TINY: tl.constexpr):
    """`1 / D`, and 0 where `D` vanishes or a node is not free to move."""
    if SCALED:
        D = rho * degree + tl.zeros_like(mask)
        if not HARD:
            D += mask
        positive = D > TINY
        result = tl.where(positive, 1 / tl.where(positive, D, 1), 0)
    else:
        result = tl.zeros_like(mask) + 1
    if HARD:
        result = tl.where(mask > 0, 0, result)
    return result


@triton.jit
def free(p, mask, padding, HARD: tl.constexpr):
    """`p` with zeros where nothing may move: NaN would outlive a product with 0."""
    p = tl.where(padding != 0, 0, p)
    if HARD:
        p = tl.where(mask > 0, 0, p)
    return p


@triton.jit
def dual(t, tau, NORM: tl.constexpr):
    """The projection of `t` on the ball of radius `tau`; NaN stays NaN."""
    if NORM == "l1":
        return tl.where(t > tau, tau, tl.where(t < -tau, -tau, t))
    else:
        square = tl.sum(t * t, axis=0)[None, :]
        outside = square > tau * tau
        return t * tl.where(outside, tau / tl.sqrt(tl.where(outside, square, 1)), 1)


@triton.jit(do_not_specialize=GENERAL)
def degrees(w_at, degree_at, steps_at, n, K: tl.constexpr, PLACES: tl.constexpr):
    """Sums of weights by node."""
    plane, i = here(n, PLACES)
    w_at += plane * K * n
    sum_ = tl.zeros([1, PLACES], w_at.dtype.element_ty)
    for k in range(K):
        step = tl.load(steps_at + k)
        sum_ += tl.load(w_at + i) + tl.load(w_at + i - step, i >= step, 0)
        w_at += n
    tl.store(degree_at + plane * n + i, sum_)


@triton.jit
def neighbours(
    p_at, w_at, steps_at, i, c, there, n, K: tl.constexpr, CHANNELS: tl.constexpr,
    PLACES: tl.constexpr,
):  # fmt: skip
    """`W p` on a tile; both pointers already lead to its plane."""
    sum_ = tl.zeros([CHANNELS, PLACES], p_at.dtype.element_ty)
    for k in range(K):
        step = tl.load(steps_at + k)
        leads, comes = i + step < n, i >= step
        sum_ += tl.load(w_at + i) * tl.load(p_at + c + i + step, there & leads, 0)
        w = tl.load(w_at + i - step, comes, 0)
        sum_ += w * tl.load(p_at + c + i - step, there & comes, 0)
        w_at += n
    return sum_


@triton.jit(do_not_specialize=GENERAL)
def edge_sweep(
    x_at, y_at, mask_at, w_at, u_at, degree_at, padding_at, steps_at,
    tau_at, rho_at, ratio_at, alpha_at,
    u_new_at, r_at, p_at, x_new_at,
    n, K: tl.constexpr, C: tl.constexpr,
    NORM: tl.constexpr, HARD: tl.constexpr, SCALED: tl.constexpr, TINY: tl.constexpr,
    MOVES: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """`u_new`, the first residual and the first direction; if that is the last, `x` moves too.

    `u_new` is not `u`: a neighbour may still have to read what was there before.
    """
    plane, i = here(n, PLACES)
    c, there = channels(n, C, CHANNELS)
    tau, rho = tl.load(tau_at + plane), tl.load(rho_at + plane)
    ratio = tl.load(ratio_at + plane)
    signal = plane * C * n
    a = c + i
    x_at += signal
    w_at += plane * K * n
    if NORM != "none":
        u_at += plane * K * C * n
        u_new_at += plane * K * C * n
    x = tl.load(x_at + a, there, 0)
    flow = tl.zeros_like(x)
    for k in range(K):
        step = tl.load(steps_at + k)
        leads, comes = i + step < n, i >= step
        w_leaving, w_arriving = tl.load(w_at + i), tl.load(w_at + i - step, comes, 0)
        leaving = tl.load(x_at + a + step, there & leads, 0) - x
        arriving = x - tl.load(x_at + a - step, there & comes, 0)
        if NORM == "none":
            flow += w_leaving * leaving - w_arriving * arriving
        else:
            before = ratio * tl.load(u_at + a, there, 0)
            after = dual(leaving + before, tau, NORM)
            tl.store(u_new_at + a, after, there)
            flow -= w_leaving * (before - 2 * after)
            before = ratio * tl.load(u_at + a - step, there & comes, 0)
            after = dual(arriving + before, tau, NORM)
            flow += w_arriving * (before - 2 * after)
            u_at += C * n
            u_new_at += C * n
        w_at += n
    mask = tl.load(mask_at + signal + a, there, 0)
    r = rho * flow
    if not HARD:
        r += mask * (tl.load(y_at + signal + a, there, 0) - x)
    scale = inverse(tl.load(degree_at + plane * n + i), mask, rho, HARD, SCALED, TINY)
    p = free(scale * r, mask, tl.load(padding_at + i), HARD)
    tl.store(r_at + signal + a, r, there)
    tl.store(p_at + signal + a, p, there)
    if MOVES:
        tl.store(x_new_at + signal + a, x + tl.load(alpha_at + plane) * p, there)


@triton.jit(do_not_specialize=GENERAL)
def cg_sweep(
    x_at, r_at, p_at, mask_at, w_at, degree_at, padding_at, steps_at,
    rho_at, alpha_at, beta_at, alpha_next_at,
    p_new_at, x_new_at,
    n, K: tl.constexpr, C: tl.constexpr,
    HARD: tl.constexpr, SCALED: tl.constexpr, TINY: tl.constexpr,
    LAST: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """`x += alpha p`, `r -= alpha A p`, `p_new = r / D + beta p`; with the last direction `x`
    moves at once."""
    plane, i = here(n, PLACES)
    c, there = channels(n, C, CHANNELS)
    rho, alpha = tl.load(rho_at + plane), tl.load(alpha_at + plane)
    signal = plane * C * n
    a = signal + c + i
    p, mask = tl.load(p_at + a, there, 0), tl.load(mask_at + a, there, 0)
    degree = tl.load(degree_at + plane * n + i)
    Wp = neighbours(
        p_at + signal, w_at + plane * K * n, steps_at, i, c, there, n, K, CHANNELS, PLACES
    )
    Ap = rho * (degree * p - Wp)
    if not HARD:
        Ap += mask * p
    r = tl.load(r_at + a, there, 0) - alpha * Ap
    direction = inverse(degree, mask, rho, HARD, SCALED, TINY) * r
    direction += tl.load(beta_at + plane) * p
    direction = free(direction, mask, tl.load(padding_at + i), HARD)
    x = tl.load(x_at + a, there, 0) + alpha * p
    if LAST:
        x += tl.load(alpha_next_at + plane) * direction
    else:
        tl.store(r_at + a, r, there)
    tl.store(p_new_at + a, direction, there)
    tl.store(x_new_at + a, x, there)
