"""The words that configurations are written in; imports nothing, so that `--help` is quick."""

from typing import Literal, get_args

Status = Literal["done", "pruned", "diverged", "out-of-memory", "failed", "interrupted"]
Protocol = Literal["paper", "heldout"]
Precision = Literal["fp32", "tf32", "bf16", "bf16-weights"]
Form = Literal["streamed", "lean", "corner", "folded", "deferred", "regular", "sparse-by-dense"]  # as in core
Support = Literal["dynamic", "fixed", "block"]  # as in core
Schedule = Literal["cosine"]
ScheduleChoice = Literal["constant", "cosine"]
LossOn = Literal["assistant", "all"]
ChatFormat = Literal["llama-2", "own"]
SelectOn = Literal["dev", "holdout"]
Pruner = Literal["median", "hyperband", "none"]
Completeness = Literal["complete", "partial", "synthetic", "custom"]

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FORMS: tuple[Form, ...] = get_args(Form)
SUPPORTS: tuple[Support, ...] = get_args(Support)
SCHEDULES: tuple[ScheduleChoice, ...] = get_args(ScheduleChoice)
LOSS_ON: tuple[LossOn, ...] = get_args(LossOn)
CHAT_FORMATS: tuple[ChatFormat, ...] = get_args(ChatFormat)
SELECT_ON: tuple[SelectOn, ...] = get_args(SelectOn)
PRUNERS: tuple[Pruner, ...] = get_args(Pruner)
