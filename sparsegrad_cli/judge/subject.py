"""Who answers: the model that a run trained, or one before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from ..models.chat import load_chat_tokenizer
from ..models.checkpoint import Checkpoint, find_checkpoint
from ..models.load import load_causal_config
from ..store.read_record import read_record
from ..store.schema import Result, RunConfig
from ..tasks import chat_task_names

ADVICE = "give a folder such as results/runs/<id>"


@dataclass(frozen=True)
class Subject:
    """A language model, found and checked but not loaded."""

    name: str  # of the model as it was given; a run's, what it began from
    run: str | None  # id
    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase


def find_subject(run: Path | None, model: str | None) -> Subject:
    """The one of the two that is given.

    Raises:
        InputError: both or none are; the run is of another task, is not done or kept no model; the model is
            no decoder or has no chat format.
    """
    if (run is None) == (model is None):
        raise InputError(
            "give one of the two: --run (the folder of a finished chat run) or --model (one before training)"
        )
    if run is None:
        assert model is not None
        name, run_id, checkpoint = model, None, find_checkpoint(model)
    else:
        config = _finished_run(run)
        name, run_id = config.model, config.run_id()
        checkpoint = find_checkpoint(str(run / "model"))
    load_causal_config(checkpoint)
    return Subject(name, run_id, checkpoint, load_chat_tokenizer(checkpoint))


def _finished_run(run: Path) -> RunConfig:
    """The configuration of a run whose model can answer."""
    if not (run / "config.json").is_file():
        raise InputError(f"--run {run}: no run there; {ADVICE}")
    config = read_record(RunConfig, run / "config.json", ADVICE)
    if config.task not in chat_task_names():
        raise InputError(
            f"--run {run}: it is of {config.task}, whose model answers no questions; give one of "
            f"{', '.join(chat_task_names())}"
        )
    path = run / "result.json"
    status = read_record(Result, path, ADVICE).status if path.is_file() else "unfinished"
    if status != "done":
        raise InputError(f"--run {run}: it is {status}; finish it with the same sparsegrad finetune")
    if not (run / "model").is_dir():
        raise InputError(f"--run {run}: it kept no model; finetune keeps it without --no-save-model")
    return config
