"""The models that a checkpoint holds: a classifier under a new head, or the language model it is.

Everything is checked before it is loaded, and what cannot be read is one line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.utils import logging as transformers_logging

from ..errors import InputError
from .checkpoint import VOCABULARIES, Checkpoint, fetch_weights

# what transformers raises for a file that is damaged or does not fit; each has its reason as message
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)


@dataclass(frozen=True)
class LoadedModel:
    """A pretrained model on the CPU, with the names of its head's parameters."""

    model: PreTrainedModel
    # of a classifier: parameters outside the base model, and those that the checkpoint did not hold
    head: frozenset[str]
    use_cache: bool | None = None  # as the checkpoint's configuration has it; None: it does not say

    def save(self, trained: PreTrainedModel, folder: Path) -> None:
        """Save what training made of the model, for `from_pretrained`."""
        vars(trained.config).pop("use_cache", None)  # training turns it off
        if self.use_cache is not None:
            trained.config.use_cache = self.use_cache
        trained.save_pretrained(folder)


Model = TypeVar("Model", bound=nn.Module)


def on_device(model: Model, device: str) -> Model:
    """Returns the model itself, moved to a device: transformers' own `to` is not typed for it."""
    return model.to(device)


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Float32 matrix products on CUDA are in TF32 within the block if `precision` is "tf32", else in IEEE."""
    flags = torch.backends.cuda.matmul
    before = flags.fp32_precision
    flags.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        flags.fp32_precision = before


def load_classifier(checkpoint: Checkpoint, num_labels: int, regression: bool) -> LoadedModel:
    """Load pretrained weights under a new classification head.

    The head is drawn from torch's generator: seed it first. A head that the checkpoint brings is kept if
    it has `num_labels` outputs.

    Args:
        checkpoint: what to start from.
        num_labels: classes; 1 for regression.
        regression: whether the loss is the squared error of one output, not cross entropy.

    Raises:
        InputError: the weights are not there, are damaged or incomplete, or do not fit the configuration.
        WorkError: the hub's cache cannot be written.
    """
    config = classifier_config(checkpoint)
    config.num_labels = num_labels
    config.problem_type = "regression" if regression else "single_label_classification"
    tokenizer = load_tokenizer(checkpoint)
    loaded = _load(
        AutoModelForSequenceClassification, checkpoint, config, tokenizer, torch.float32, has_head=True
    )
    model = loaded.model
    if model.config.pad_token_id is None or isinstance(model, GenericForSequenceClassification):
        # a head on a decoder reads the last token that is not padding
        model.config.pad_token_id = tokenizer.pad_token_id
    return loaded


def load_causal(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a language model; it has no head that any method would train.

    Args:
        dtype: of the weights.

    Raises:
        InputError: the weights are not there, are damaged or incomplete, or do not fit the configuration.
        WorkError: the hub's cache cannot be written.
    """
    config = causal_config(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    return _load(AutoModelForCausalLM, checkpoint, config, tokenizer, dtype, has_head=False)


def classifier_on_meta(checkpoint: Checkpoint) -> PreTrainedModel:
    """Returns the classifier of a checkpoint on the meta device: modules and shapes, no numbers.

    Raises:
        InputError: transformers can make no sequence classifier of it.
    """
    config = classifier_config(checkpoint)
    with torch.device("meta"), readable(checkpoint, "config.json"):
        return AutoModelForSequenceClassification.from_config(config)


def classifier_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Returns the configuration of a model that transformers can make a sequence classifier of.

    Raises:
        InputError: it cannot; see also `read_config`.
    """
    config = read_config(checkpoint)
    if type(config) not in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise InputError(
            f"{checkpoint.option}: transformers has no sequence classifier for a {config.model_type} model; "
            "take an encoder such as BERT or RoBERTa, or a LLaMA-style decoder"
        )
    return config


def causal_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Returns the configuration of a decoder: a model that writes text from left to right.

    Raises:
        InputError: it is another model, such as an encoder, though transformers would make (untrained)
            decoders of some; see also `read_config`.
    """
    config = read_config(checkpoint)
    encodes = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or encodes:
        kind = "an encoder" if encodes else "no language model"
        raise InputError(
            f"{checkpoint.option}: a {config.model_type} model is {kind}, and a chat task needs one that "
            "writes text: take a LLaMA-style decoder such as meta-llama/Llama-2-7b-hf"
        )
    return config


def head_parameters(model: PreTrainedModel) -> frozenset[str]:
    """Returns the names of the parameters outside the base model."""
    names = (name for name, _ in model.named_parameters())
    return frozenset(name for name in names if not name.startswith(f"{model.base_model_prefix}."))


def hash_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a SHA-256, hexadecimal, over all that decides what the tokenizer writes, its template included.

    Padding does not count, nor what an earlier call has set.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else sorted(tokenizer.get_vocab().items())
    if isinstance(rules, dict):
        rules |= {"truncation": None, "padding": None}
    decides = [
        type(tokenizer).__name__,
        sorted(tokenizer.special_tokens_map.items()),
        tokenizer.model_input_names,
        tokenizer.truncation_side,
        tokenizer.chat_template,
        rules,
    ]
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def longest_input(model: PreTrainedModel) -> int | None:
    """Returns the tokens that the model has positions for; None where it has no limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    return positions - first_position(model)


def first_position(model: PreTrainedModel) -> int:
    """Returns the position of a sequence's first token: RoBERTa's comes after the padding's."""
    embeddings = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def enable_gradient_checkpointing(model: PreTrainedModel) -> None:
    """Have `model` compute the activations of each block again in backward, rather than keep them."""
    # the method's name up to transformers 5.x, and after
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def read_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Returns the configuration of a model of a family that transformers knows.

    Raises:
        InputError: it is not; or `config.json` is damaged or asks for code of its own.
    """
    with readable(checkpoint, "config.json"):
        family = PreTrainedConfig.get_config_dict(checkpoint.location)[0].get("model_type")
    if family not in transformers.CONFIG_MAPPING:
        raise InputError(
            f"{checkpoint.option}: transformers {transformers.__version__} does not know the model_type "
            f"{family!r} of its config.json, and code that a checkpoint brings is not run"
        )
    with readable(checkpoint, "config.json"):
        return AutoConfig.from_pretrained(checkpoint.location, trust_remote_code=False)


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Returns the checkpoint's tokenizer, always with a padding token.

    Where it names none, the configuration's is taken, then the end-of-text token.

    Raises:
        InputError: its files are missing or damaged, or it has no token to pad with.
    """
    folder = Path(checkpoint.location)
    if not any((folder / file).is_file() for file in VOCABULARIES):
        raise InputError(
            f"{checkpoint.option}: no tokenizer: put its files (tokenizer.json and tokenizer_config.json) "
            "beside config.json"
        )
    with readable(checkpoint, "its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.pad_token is None:
        padding = read_config(checkpoint).pad_token_id
        known = padding is not None and 0 <= padding < len(tokenizer)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding) if known else tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"{checkpoint.option}: its tokenizer has no padding token and no end-of-text token to pad with: "
            "name a pad_token in tokenizer_config.json"
        )
    return tokenizer


def _load(
    auto_class: type[AutoModelForCausalLM] | type[AutoModelForSequenceClassification],
    checkpoint: Checkpoint,
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    has_head: bool,
) -> LoadedModel:
    """Load pretrained weights, and check that they are whole.

    Args:
        dtype: of the weights.
        has_head: whether what is outside the base model may be new.

    Raises:
        InputError: the weights are not there, are damaged or incomplete, or do not fit the configuration.
        WorkError: the hub's cache cannot be written.
    """
    use_cache = getattr(config, "use_cache", None)
    fetch_weights(checkpoint)
    with readable(checkpoint, "its weights"):
        loaded: Any = auto_class.from_pretrained(
            checkpoint.location,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # looked at below
            output_loading_info=True,
        )
    model, report = loaded
    parameters = {name for name, _ in model.named_parameters()}
    head = head_parameters(model) if has_head else frozenset()
    fresh = parameters & set(report["missing_keys"])
    _check_complete(checkpoint, model, fresh - head, head, report["mismatched_keys"])
    _check_depth(checkpoint, report["unexpected_keys"])
    _check_vocabulary(checkpoint, model, tokenizer)
    return LoadedModel(model, head | fresh, use_cache)


def _check_complete(
    checkpoint: Checkpoint,
    model: PreTrainedModel,
    fresh: set[str],
    head: frozenset[str],
    mismatched: set[tuple[str, tuple[int, ...], tuple[int, ...]]],
) -> None:
    """Refuse weights that would leave part of the base model random; a pooler alone may be."""
    for name, found, wanted in sorted(mismatched):
        if name not in head:
            raise InputError(
                f"{checkpoint.option}: {name} is {tuple(found)} in the weights, {tuple(wanted)} by "
                "config.json: they belong to different models"
            )
    absent = sorted(name for name in fresh if "pooler" not in name)
    if absent:
        raise InputError(
            f"{checkpoint.option}: the weights lack {len(absent)} parameters of {type(model).__name__}, "
            f"{absent[0]} for one: an incomplete copy, or weights of another family than config.json says"
        )


def _check_depth(checkpoint: Checkpoint, unexpected: set[str]) -> None:
    """Refuse weights with more blocks than the configuration has: the rest would be dropped in silence."""
    surplus = sorted(name for name in unexpected if re.search(r"\blayers?\.\d+\.", name))
    if surplus:
        raise InputError(
            f"{checkpoint.option}: the weights hold {surplus[0]}, which the model of config.json has not: "
            "they belong to different models"
        )


def _check_vocabulary(
    checkpoint: Checkpoint, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer whose tokens the model has no embedding for."""
    embeddings = model.get_input_embeddings().weight
    assert isinstance(embeddings, Tensor)
    rows = embeddings.shape[0]
    highest = max(tokenizer.vocab_size - 1, tokenizer.pad_token_id)
    if highest >= rows:
        raise InputError(
            f"{checkpoint.option}: its tokenizer has token ids up to {highest}, its embedding {rows} rows: "
            "they belong to different models"
        )


@contextmanager
def readable(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    """Say in one line what cannot be read; keep transformers' reports and progress bars off the screen."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{checkpoint.option}: cannot read {what} ({type(error).__name__}: {reason})"
        ) from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
