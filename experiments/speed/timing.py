"""Times the same work done in several ways, in turns, so that a busy machine is busy for all."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

Pass = Callable[[], object]
Turns = Iterable[tuple[int, int]]


def alternate(
    ways: Mapping[str, Sequence[Pass]],
    repeats: int,
    watch: Callable[[Sequence[tuple[int, int]]], Turns] = iter,
) -> dict[str, float]:
    """Seconds that each way takes for all of its passes: the median over repeats.

    Every way has the same number of passes. Each first runs one that does not count; then pass by
    pass all ways take turns. `watch` wraps the turns, to show how far they are.
    """
    n_passes = {name: len(passes) for name, passes in ways.items()}
    if len(set(n_passes.values())) != 1:
        raise ValueError(f"The ways must have the same number of passes; got {n_passes}.")
    for passes in ways.values():
        passes[0]()
    totals = {name: np.zeros(repeats) for name in ways}
    turns = [(repeat, i) for repeat in range(repeats) for i in range(min(n_passes.values()))]
    for repeat, i in watch(turns):
        for name, passes in ways.items():
            totals[name][repeat] += stopwatch(passes[i])
    return {name: float(np.median(seconds)) for name, seconds in totals.items()}


def stopwatch(run: Pass) -> float:
    """Seconds of one run; what was queued on an accelerator is waited for."""
    _wait()
    started = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
