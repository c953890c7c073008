"""From a task's texts to token ids, kept on disk so that they are made once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import datasets
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..errors import WorkError
from ..tasks.data import TaskData

LAYOUT = 1  # goes into the cache's key; raised when what is stored changes


def encode(data: TaskData, tokenizer: PreTrainedTokenizerBase, length: int) -> dict[str, Dataset]:
    """Every split of `data` as token ids with `labels` where it has any, cut at `length` tokens, not padded.

    The cache is `$SPARSEGRAD_CACHE`, or `sparsegrad` in the user's cache folder; its key is the data, the
    tokenizer and the length.

    Raises:
        WorkError: the cache cannot be written.
    """
    key = hashlib.sha256(
        "\n".join([str(LAYOUT), data.sha256, *data.task.text, str(length), _fingerprint(tokenizer)]).encode()
    ).hexdigest()[:32]
    folder = cache_folder() / "tokens" / key
    if not folder.is_dir():
        _store(_tokenize(data, tokenizer, length), folder)
    return {split: datasets.load_from_disk(str(folder / split)) for split in data.splits}


def cache_folder() -> Path:
    """Where encoded data are kept."""
    given = os.environ.get("SPARSEGRAD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsegrad"


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


def _store(encoded: dict[str, Dataset], folder: Path) -> None:
    """Writes beside `folder`, then moves there in one step; another process may have been first."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    except OSError as error:
        raise WorkError(f"cannot cache tokens ({error}); set SPARSEGRAD_CACHE to a folder of yours") from None
    try:
        for split, rows in encoded.items():
            rows.save_to_disk(str(temporary / split))
        if not folder.is_dir():
            os.replace(temporary, folder)
    except OSError as error:
        if not folder.is_dir():
            raise WorkError(f"cannot cache tokens in {folder}: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the tokenizer does, as text: two tokenizers that differ never share a cache entry."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return f"{type(tokenizer).__name__} {sorted(tokenizer.special_tokens_map.items())} {rules}"
