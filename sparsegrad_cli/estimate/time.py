"""How long planned runs will take: the speed of finished runs of the same kind, scaled by tokens.

A speed is tokens a second in training, padding included where it is computed on. Runs are of one kind when
model, method, precision, machine and whatever else changes a step are the same; task, batch size, length,
padding and the numbers of trained entries may differ. The median speed counts. Scoring a token takes a
third of training on it. Where no run of the kind has finished, the time is unknown.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from ..config import RunConfig
from ..methods import get_method
from ..store.folder import RUNS, read_all
from ..tasks.load import TaskData
from ..tasks.task import Task
from ..training.basis import PROBE_STEPS, basis_digest
from ..training.encode import tokens_of
from ..training.resolve import Sources

SCORING = 1 / 3  # cost of scoring a token over that of training on it
FAR_OUT = 4  # standard deviations that the mean length of the longest micro batch is above that of all
SAMPLED, LONGEST = 512, 16  # rows drawn at random; rows of most characters
OF_A_STEP = ("model", "method", "precision", "freeze_rest", "blocks", "gradient_checkpointing")
NOT_OF_A_STEP = {"sparse_learning_rate", "calibration_steps", "basis"}
SIZES = {"density", "kept", "rank"}  # hardly change the speed

Values = tuple[tuple[str, object], ...]


def step_settings(config: RunConfig) -> dict[str, object]:
    """Returns the settings that decide what a step holds and computes, besides those of its batch."""
    used = sorted(get_method(config.method).settings - NOT_OF_A_STEP)
    return {name: getattr(config, name) for name in (*OF_A_STEP, *used)}


@dataclass(frozen=True)
class Workload:
    """What a planned run is to do.

    `padded` is the mean length that the examples of a micro batch are padded to, `longest` the most; without
    padding, their own mean length in all micro batches, and in one of long examples.
    """

    steps: int  # optimizer steps, at most
    evaluations: int  # at most
    may_stop_early: bool
    padded: float
    longest: int
    trained_tokens: float
    scored_rows: int  # at evaluations and in the end
    reported_rows: int  # whose predictions are kept
    calibration_tokens: float
    basis_key: str | None  # equal for runs that share one calibration; None: there is none to do


class Workloads:
    """Reads the workloads of runs; what they share is tokenized once."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[object, ...], dict[str, np.ndarray]] = {}

    def of(self, config: RunConfig, sources: Sources) -> Workload:
        """Returns what a run is to do, from a sample of its texts.

        Raises:
            InputError: the tokenizer cannot be read.
        """
        task, splits = sources.data.task, sources.data.splits
        counts = {name: len(rows) for name, rows in splits.items()}
        tokens = self._sample(config, sources)
        parts = config.accumulation_steps
        padded, longest = float(config.length), config.length
        if sources.is_chat:
            counts = {
                name: math.ceil(tokens[name].mean() * rows / config.length) for name, rows in counts.items()
            }
        elif config.padding != "max":
            lengths, rows = tokens[task.train].clip(max=config.length), config.batch_size // parts
            padded, longest = _mean_longest(lengths[:SAMPLED], rows), int(lengths.max())
            if config.padding == "none":
                padded = float(lengths[:SAMPLED].mean())
                most = padded + FAR_OUT * float(lengths[:SAMPLED].std()) / math.sqrt(rows)
                longest = min(longest, math.ceil(most))
        train = min(counts[task.train], config.max_train_examples or counts[task.train])
        dev = [counts[name] for name in task.dev]
        selecting = [rows // 2 if config.protocol == "heldout" else 0 for rows in dev]
        per_epoch = math.ceil(train / config.batch_size)
        steps = config.max_steps or math.ceil(config.epochs * per_epoch)
        evaluations = math.ceil(steps / (config.eval_steps or per_epoch))  # the last after the last step
        reported = sum(dev) - sum(selecting)
        calibrates = config.calibration_steps is not None
        batches = (config.calibration_steps or 0) + PROBE_STEPS
        return Workload(
            steps=steps,
            evaluations=evaluations,
            may_stop_early=0 < config.patience < evaluations,
            padded=padded,
            longest=longest,
            trained_tokens=steps * config.batch_size * padded,
            scored_rows=evaluations * (selecting[0] or dev[0]) + reported,
            reported_rows=reported,
            calibration_tokens=batches * config.batch_size // parts * padded if calibrates else 0.0,
            basis_key=basis_digest(config, sources.checkpoint, sources.data.sha256) if calibrates else None,
        )

    def _sample(self, config: RunConfig, sources: Sources) -> dict[str, np.ndarray]:
        """Returns tokens of examples: of the train split, random ones, then the longest; of a chat's, any."""
        key = (sources.data.sha256, sources.checkpoint.identity, config.chat_format)
        if key not in self._tokens:
            tokenizer = sources.objective.tokenizer(config, sources.checkpoint)
            self._tokens[key] = (_of_threads if sources.is_chat else _of_texts)(sources.data, tokenizer)
        return self._tokens[key]


def _of_texts(data: TaskData, tokenizer: PreTrainedTokenizerBase) -> dict[str, np.ndarray]:
    assert isinstance(data.task, Task)
    table = data.splits[data.task.train].with_format("arrow")[:]
    columns = [table[name] for name in data.task.text]
    characters = sum(pc.utf8_length(column).to_numpy() for column in columns)
    rows = np.random.default_rng(0).permutation(len(characters))[:SAMPLED]
    rows = np.concatenate([rows, np.argsort(characters, kind="stable")[-LONGEST:]])
    encoded = tokenizer(*(column.take(rows).to_pylist() for column in columns), verbose=False)
    return {data.task.train: np.array([len(ids) for ids in encoded["input_ids"]])}


def _of_threads(data: TaskData, tokenizer: PreTrainedTokenizerBase) -> dict[str, np.ndarray]:
    found = {}
    for name, split in data.splits.items():
        rows = np.random.default_rng(0).permutation(len(split))[:SAMPLED]
        threads = split.select(rows)["messages"]
        found[name] = np.array([len(tokens_of(thread, tokenizer, "all")[0]) for thread in threads])
    return found


def _mean_longest(lengths: np.ndarray, examples: int) -> float:
    """Returns the mean of the longest of so many lengths drawn at random."""
    share = np.arange(len(lengths) + 1) / len(lengths)
    return float((np.sort(lengths) * np.diff(share**examples)).sum())


class PastSpeeds:
    """Tokens a second of the finished runs in results folders; one that is missing holds none.

    Args:
        hardware: of this machine, with the threads that a run will have; runs on others do not count.
    """

    def __init__(self, results: Sequence[Path], hardware: Mapping[str, str | int]) -> None:
        self._hardware = hardware
        self._found: dict[Values, list[float]] = defaultdict(list)
        present = [folder for folder in results if folder.is_dir()]
        sweeps = [runs for folder in present for runs in folder.glob("sweeps/*/runs")]
        for run in read_all(RUNS, [*present, *sweeps]):
            config, result = run.config, run.result
            tokens = config.batch_size * config.length if config.padding == "max" else result.tokens_per_step
            if run.environment and result.steps_per_second and tokens:
                key = _kind(config, run.environment.hardware)
                self._found[key].append(tokens * result.steps_per_second)

    def of(self, config: RunConfig) -> list[float]:
        """Returns the speeds of the runs of the same kind."""
        return self._found.get(_kind(config, self._hardware), [])


def _kind(config: RunConfig, hardware: Mapping[str, str | int]) -> Values:
    chat = ("is_chat", config.chat_format is not None)
    settings = {name: value for name, value in step_settings(config).items() if name not in SIZES}
    return (*settings.items(), chat, ("machine", _machine(hardware, config.device)))


def _machine(hardware: Mapping[str, str | int], device: str) -> tuple[object, ...]:
    """Returns what is equal for machines of one speed: the GPU's name, or processor, cores and threads."""
    names = ("gpu",) if device == "cuda" else ("processor", "cores", "threads")
    return tuple(hardware.get(name) for name in names)


def seconds_of(work: Workload, speeds: Sequence[float], calibrates: bool) -> float | None:
    """Returns how long a run takes, calibration and evaluations included; None where nothing tells."""
    if not speeds:
        return None
    tokens = work.trained_tokens + calibrates * work.calibration_tokens
    return (tokens + SCORING * work.scored_rows * work.padded) / statistics.median(speeds)
