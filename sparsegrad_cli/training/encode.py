"""What a run reads, as token ids, kept on disk so that it is made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..store.cache import add_folder, cache_folder
from ..tasks.data import TaskData

LAYOUT = 1  # goes into the cache's key; raised when what is stored changes


def encode_pairs(data: TaskData, tokenizer: PreTrainedTokenizerBase, length: int) -> dict[str, Dataset]:
    """Every split of `data` as token ids with `labels` where it has any, cut at `length` tokens, not padded.

    Raises:
        WorkError: the cache cannot be written.
    """
    key = [data.sha256, *data.task.text, str(length)]
    return kept(key, tokenizer, data.splits, lambda: _tokenize(data, tokenizer, length))


def kept(
    key: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    splits: Iterable[str],
    make: Callable[[], dict[str, Dataset]],
) -> dict[str, Dataset]:
    """What `make` gives, from the cache where it was made before.

    Args:
        key: all that decides it, besides the tokenizer.
        splits: names of what it gives.

    Raises:
        WorkError: the cache cannot be written.
    """
    text = "\n".join([str(LAYOUT), *key, _fingerprint(tokenizer)])
    folder = cache_folder() / "tokens" / hashlib.sha256(text.encode()).hexdigest()[:32]
    if not folder.is_dir():
        made = make()
        add_folder(folder, lambda temporary: _write(made, temporary))
    return {split: datasets.load_from_disk(str(folder / split)) for split in splits}


def _tokenize(data: TaskData, tokenizer: PreTrainedTokenizerBase, length: int) -> dict[str, Dataset]:
    def tokens(rows: dict[str, list]) -> dict[str, list]:
        texts = [rows[column] for column in data.task.text]
        labels = {"labels": rows["label"]} if "label" in rows else {}
        return {**tokenizer(*texts, truncation=True, max_length=length), **labels}

    return {
        split: rows.map(
            tokens,
            batched=True,
            remove_columns=rows.column_names,
            keep_in_memory=True,
            load_from_cache_file=False,
        )
        for split, rows in data.splits.items()
    }


def _write(encoded: dict[str, Dataset], folder: Path) -> None:
    for split, rows in encoded.items():
        rows.save_to_disk(str(folder / split))


def _fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the tokenizer does, as text: two tokenizers that differ never share a cache entry."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return f"{type(tokenizer).__name__} {sorted(tokenizer.special_tokens_map.items())} {rules}"
