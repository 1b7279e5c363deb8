"""Times of calls that take turns, by the clock of the device that runs them."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .figures import statistics_ms

Work = Callable[[], Any]


@dataclass
class Sampling:
    """How one work is sampled, found while it warms up."""

    calls: int  # in a sample
    seconds: float  # that a sample takes
    wait_seconds: float = 0  # CUDA: until all calls of a sample are queued


class CpuClock:
    """The processor's: a call returns when it is done."""

    least_rounds, most_rounds, seconds = 5, 200, 1.0

    def warm_up(self, work: Work) -> Sampling:
        sampling = Sampling(1, 0)
        sampling.seconds = self.sample(work, sampling) / 1e3
        if sampling.seconds < 0.5:  # the first call packs weights and touches pages
            sampling.seconds = self.sample(work, sampling) / 1e3
        return sampling

    def sample(self, work: Work, sampling: Sampling) -> float:
        """Milliseconds of a call."""
        begin = time.perf_counter()
        for _ in range(sampling.calls):
            work()
        return 1e3 * (time.perf_counter() - begin) / sampling.calls


class CudaClock:
    """The GPU's: calls are queued behind a kernel that waits, so that what is told is the time of
    the GPU and not that of the host, as in a network whose host runs ahead."""

    least_rounds, most_rounds, seconds = 5, 200, 0.25
    _CYCLES_PER_SECOND = 2e9  # of the kernel that waits; a slower clock only waits longer
    _LONGEST_WAIT = 0.1  # seconds
    _MOST_CALLS = 50
    _SAMPLE_MS = 0.5
    _TRIES = 4

    def __init__(self, device: torch.device):
        self.device = device

    def warm_up(self, work: Work) -> Sampling:
        work()  # packs, plans, compiles; cuDNN tries its algorithms
        torch.cuda.synchronize(self.device)
        begin = time.perf_counter()
        work()
        host = time.perf_counter() - begin
        torch.cuda.synchronize(self.device)
        once = Sampling(1, 0, max(2 * host, 5e-5))
        milliseconds = max(self.sample(work, once), 1e-3)
        calls = min(math.ceil(self._SAMPLE_MS / milliseconds), self._MOST_CALLS)
        sampling = Sampling(calls, 0, calls * max(2 * host, 2e-5))
        # Once more, as it will be told: clocks have risen by then.
        seconds = calls * self.sample(work, sampling) / 1e3
        sampling.seconds = seconds + sampling.wait_seconds
        return sampling

    def sample(self, work: Work, sampling: Sampling) -> float:
        """Milliseconds of a call. The device must be idle."""
        for _ in range(self._TRIES):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(int(sampling.wait_seconds * self._CYCLES_PER_SECOND))
            start.record()
            for _ in range(sampling.calls):
                work()
            end.record()
            waited = not start.query()  # the GPU still waited when the last call was queued
            end.synchronize()
            if waited or sampling.wait_seconds >= self._LONGEST_WAIT:
                break
            sampling.wait_seconds *= 2
        return start.elapsed_time(end) / sampling.calls


Clock = CpuClock | CudaClock


def clock_of(device: torch.device) -> Clock:
    return CudaClock(device) if device.type == "cuda" else CpuClock()


def rounds_for(clock: Clock, seconds_per_round: float, seconds: float | None) -> int:
    """As many as fit into `seconds`, default the clock's, within its limits."""
    wanted = (clock.seconds if seconds is None else seconds) / max(seconds_per_round, 1e-9)
    return int(min(max(wanted, clock.least_rounds), clock.most_rounds))


def take_turns(
    clock: Clock, works: Sequence[Work], seconds: float | None = None, rounds: int | None = None
) -> list[dict[str, float | int]]:
    """Statistics of each work. One sample of each makes a round; every other round goes backwards,
    so that none always follows the same one. `seconds` is for the timed runs of all together."""
    samplings = [clock.warm_up(work) for work in works]
    if rounds is None:
        rounds = rounds_for(clock, sum(sampling.seconds for sampling in samplings), seconds)
    times: list[list[float]] = [[] for _ in works]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
            for i in order:
                times[i].append(clock.sample(works[i], samplings[i]))
    finally:
        if collecting:
            gc.enable()
    return [
        {**statistics_ms(of_work), "calls_per_repeat": sampling.calls}
        for of_work, sampling in zip(times, samplings, strict=True)
    ]
