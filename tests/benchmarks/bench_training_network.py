"""Whole training steps of a network of 402 660 parameters: how many in an hour."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import _networks
import torch
from _race import Ceiling, Claim, Options, main

STEPS_PER_HOUR = 12_000


def step(options: Options, dtype: torch.dtype | None) -> Callable[[], None]:
    """Forward, backward and Adam on batches of 16 patches of 64 x 64."""
    shape = options.size((64, 64), (16, 16))
    data, truth = _networks.mosaic(shape, images=options.size(16, 2))
    network = _networks.large()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def run() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            restored = network(data, shape)
        (restored - truth).square().mean().backward()
        optimiser.step()

    return run


def seconds(dtype: torch.dtype | None, options: Options) -> float:
    """Wall seconds of a step on `options.threads` threads, the median of several."""
    torch.set_num_threads(options.threads)
    run, taken = step(options, dtype), []
    run()
    for _ in range(options.size(7, 1)):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return median(taken)


LIMIT = 3600 / STEPS_PER_HOUR
CLAIM = Claim(
    what="a training step, batch 16 of 64 x 64, 402 660 parameters, 5 stages of 5 ADMM x 5 CG",
    build=lambda options: {},
    ceilings={
        "convolutions in bfloat16": Ceiling(partial(seconds, torch.bfloat16), LIMIT, "s"),
        "convolutions in float32": Ceiling(partial(seconds, None), LIMIT, "s"),
    },
    notes=[f"{LIMIT} s a step are {STEPS_PER_HOUR} steps an hour."],
)

if __name__ == "__main__":
    main(__file__, CLAIM)
