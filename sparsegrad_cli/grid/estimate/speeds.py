"""How fast a planned run will go, from what has run before; the nearest kin decide.

measured     the same setting, data and batch size, on this machine with as many threads
scaled       the same setting on other batches, else with other threads, else other methods of the same
             model: by the operations of a step
arithmetic   nothing of the kind: by the operations of a step and a short timing of this machine; on a
             CPU alone
unknown      on a GPU, where nothing of the kind has run
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ...tasks import chat_task_names
from .arithmetic import Arithmetic
from .past import Hardware, Past, Setting, inputs_of, machine
from .planned import Planned

How = Literal["measured", "scaled", "arithmetic", "unknown"]
SIDE, TRIES = 1024, 12  # of the square matrices that a machine is timed with
REACHED = 0.8  # share of a large product's speed that a step reaches on a CPU: 0.65 to 0.9 in our benchmarks


@dataclass(frozen=True)
class Speed:
    """Operations per second, and how they are known."""

    how: How
    source: str
    per_second: float | None


class Speeds:
    """Speeds on one machine.

    Args:
        past: what has run, here or elsewhere.
        planned: all runs of the plan: they tell how long the batches of their tasks are.
        hardware: of this machine; with the threads that a run will have.
    """

    def __init__(
        self, past: Sequence[Past], planned: Sequence[Planned], hardware: Hardware, arithmetic: Arithmetic
    ) -> None:
        self._past, self._hardware, self._arithmetic = past, hardware, arithmetic
        self._by_inputs = {inputs_of(p.config): p for p in planned}
        self._matmul: float | None = None

    def of(self, planned: Planned) -> Speed:
        """The speed of a run."""
        ranked: dict[int, list[tuple[Past, float]]] = {}
        for past in self._past:
            rank = self._rank(planned, past)
            operations = None if rank is None else self._operations(planned, past)
            if rank is not None and operations is not None:
                speed = operations / past.seconds * self._threads(planned, past)
                ranked.setdefault(rank, []).append((past, speed))
        if ranked:
            rank = min(ranked)
            source = _source(rank, [past for past, _ in ranked[rank]])
            return Speed(
                "scaled" if rank else "measured", source, statistics.median(s for _, s in ranked[rank])
            )
        if planned.config.device == "cuda":
            gpu = self._hardware.get("gpu", "this GPU")
            return Speed("unknown", f"unknown: {planned.config.model} has not run on {gpu} yet", None)
        if self._matmul is None:
            self._matmul = time_matmul(int(self._hardware.get("threads", 1)))
        return Speed("arithmetic", "arithmetic, rough", REACHED * self._matmul)

    def measured_peaks(self, planned: Planned) -> list[int]:
        """Peak memory of the runs like this one, wherever on this kind of device they ran."""
        alike = (p for p in self._past if _is_alike(planned, p))
        return [past.peak_memory_bytes for past in alike if past.peak_memory_bytes]

    def _rank(self, planned: Planned, past: Past) -> int | None:
        """How near of kin, 0 the nearest; None: not at all."""
        here, there = Setting.of(planned.config), past.setting
        if (here.model, here.device, here.precision) != (there.model, there.device, there.precision):
            return None
        if (past.task in chat_task_names()) != (planned.config.task in chat_task_names()):
            return None  # a classifier and a language model, if of one name
        if machine(past.hardware, here.device) != machine(self._hardware, here.device):
            return None
        same_threads = self._threads(planned, past) == 1
        if _is_alike(planned, past) and same_threads:
            return 0
        return 1 + 2 * (here != there) + (not same_threads)

    def _threads(self, planned: Planned, past: Past) -> float:
        """How many times as many threads a run will have; on a GPU they do not matter."""
        if planned.config.device == "cuda":
            return 1.0
        return int(self._hardware.get("threads", 1)) / past.threads

    def _operations(self, planned: Planned, past: Past) -> float | None:
        """Operations of a step that was taken; None where nothing tells its tokens."""
        tokens = None if past.tokens is None else past.tokens / past.batch_size
        if tokens is None and past.inputs in self._by_inputs:
            tokens = self._by_inputs[past.inputs].padded(past.batch_size // past.parts)
        if tokens is None:
            return None
        config = past.setting.put_into(planned.config).model_copy(
            update={"batch_size": past.batch_size, "accumulation_steps": past.parts}
        )
        return self._arithmetic.step(planned, config, tokens)


def time_matmul(threads: int) -> float:
    """Operations per second of a large product in float32 on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        A = torch.ones(SIDE, SIDE)
        seconds = []
        for _ in range(TRIES):
            began = time.perf_counter()
            A @ A
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return 2 * SIDE**3 / min(seconds)


def _is_alike(planned: Planned, past: Past) -> bool:
    config = planned.config
    batches = (config.batch_size, config.accumulation_steps or 1, inputs_of(config))
    return past.setting == Setting.of(config) and (past.batch_size, past.parts, past.inputs) == batches


def _source(rank: int, kin: Sequence[Past]) -> str:
    count = f"{len(kin)} run{'s' if len(kin) > 1 else ''}"
    if rank == 0:
        return f"measured: {count}"
    of = sorted({past.task if rank <= 2 else past.setting.method for past in kin})
    threads = sorted({past.threads for past in kin})
    with_threads = "" if rank % 2 else f" with {threads[0]} thread{'s' if threads[0] > 1 else ''}"
    return f"scaled from {', '.join(of)} ({count}{with_threads})"
