"""A run that is planned: what its time and memory hang on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from transformers import PreTrainedModel

from ...config import RunConfig
from ...models.checkpoint import Checkpoint
from ...tasks.task import ChatTask
from ...training.basis import basis_digest
from ...training.objectives import Objective
from ...training.resolve import Sources
from .lengths import Lengths, Texts, lengths, sample_texts
from .sequences import count_sequences


@dataclass(frozen=True)
class Planned:
    """See the module's head."""

    config: RunConfig
    model: PreTrainedModel  # on the meta device
    objective: Objective
    checkpoint: Checkpoint
    texts: Texts | None  # None: all examples are as long as may be
    train_rows: int
    selection_rows: int  # scored at each evaluation
    reported_rows: int  # scored in the end

    @classmethod
    def of(cls, config: RunConfig, sources: Sources) -> Planned:
        """The run `config` with what it starts from.

        Raises:
            InputError: a tokenizer cannot be read.
        """
        task, splits = sources.data.task, sources.data.splits
        is_packed = isinstance(task, ChatTask)
        counts = (
            count_sequences(config, sources) if is_packed else {name: len(splits[name]) for name in splits}
        )
        rows, dev = counts[task.train], [counts[name] for name in task.dev]
        selecting = [count // 2 for count in dev] if config.protocol == "heldout" else [0 for _ in dev]
        return cls(
            config=config,
            model=sources.model,
            objective=sources.objective,
            checkpoint=sources.checkpoint,
            texts=None if is_packed else sample_texts(sources.data),
            train_rows=min(rows, config.max_train_examples or rows),
            selection_rows=selecting[0] or dev[0],
            reported_rows=sum(dev) - sum(selecting),
        )

    @property
    def steps(self) -> int:
        """Optimizer steps, at most."""
        if self.config.max_steps is not None:
            return self.config.max_steps
        return math.ceil(self.config.epochs * self._steps_per_epoch)

    @property
    def evaluations(self) -> int:
        """At most."""
        if self.config.eval_steps is not None:
            return self.steps // self.config.eval_steps
        return math.ceil(self.steps / self._steps_per_epoch)

    @property
    def may_stop_early(self) -> bool:
        return 0 < self.config.patience < self.evaluations

    @property
    def lengths(self) -> Lengths | None:
        """None: all are as long as may be."""
        if self.texts is None or self.config.pad_to_max:
            return None
        return lengths(self.texts, self.checkpoint, self.config.length)

    @property
    def longest(self) -> int:
        """Tokens that the longest batch is padded to."""
        return self.config.length if self.lengths is None else self.lengths.longest

    def padded(self, batch_size: int) -> float:
        """Tokens that a batch of so many examples is padded to, on average."""
        return self.config.length if self.lengths is None else self.lengths.padded(batch_size)

    @property
    def basis_key(self) -> str | None:
        """Equal for runs that share one calibration; None where there is none to do."""
        if self.config.calibration_steps is None:
            return None
        return basis_digest(self.config, self.checkpoint, self.config.data_revision)

    @property
    def _steps_per_epoch(self) -> int:
        return math.ceil(self.train_rows / self.config.batch_size)
