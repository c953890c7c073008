"""The words that configurations are written in; imports nothing, so that `--help` is quick."""

from typing import Literal, get_args

Status = Literal["done", "diverged", "out-of-memory", "failed", "interrupted"]
Protocol = Literal["paper", "heldout"]
Precision = Literal["fp32", "tf32", "bf16"]
Form = Literal["folded", "regular", "sparse-by-dense"]  # core.FORMS; a test holds them equal
Completeness = Literal["complete", "partial", "synthetic", "custom"]

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FORMS: tuple[Form, ...] = get_args(Form)
