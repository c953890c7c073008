"""What a run reads, as token ids, kept on disk so that it is made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import datasets
import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..config import LossOn, PackAttention
from ..errors import InputError
from ..models.load import hash_tokenizer
from ..store.io import add_cache_folder, cache_folder
from ..tasks.load import TaskData
from ..tasks.task import Task

T = TypeVar("T")
LAYOUT = 2  # goes into the cache's key; raised when what is stored changes


def encode_pairs(data: TaskData, tokenizer: PreTrainedTokenizerBase, length: int) -> dict[str, Dataset]:
    """Every split of `data` as token ids with `labels` where it has any, cut at `length` tokens, not padded.

    Raises:
        WorkError: the cache cannot be written.
    """
    assert isinstance(data.task, Task)
    text = data.task.text
    key = [data.sha256, *text, str(length)]
    return kept(key, tokenizer, data.splits, lambda: _tokenize(data, text, tokenizer, length))


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
    text = "\n".join([str(LAYOUT), *key, hash_tokenizer(tokenizer)])
    folder = cache_folder() / "tokens" / hashlib.sha256(text.encode()).hexdigest()[:32]
    if not folder.is_dir():
        made = make()
        add_cache_folder(folder, lambda temporary: _write(made, temporary))
    return {split: datasets.load_from_disk(str(folder / split)) for split in splits}


def _tokenize(
    data: TaskData, columns: Sequence[str], tokenizer: PreTrainedTokenizerBase, length: int
) -> dict[str, Dataset]:
    def tokens(rows: dict[str, list]) -> dict[str, list]:
        texts = [rows[column] for column in columns]
        labels = {"labels": rows["label"]} if "label" in rows else {}
        return {**tokenizer(*texts, truncation=True, max_length=length), **labels}

    return {
        split: rows.map(
            tokens,
            batched=True,
            remove_columns=rows.column_names,
            keep_in_memory=True,
            load_from_cache_file=False,
            new_fingerprint=f"{data.sha256[:32]}-{split}",  # its own would be a hash of the pickled tokenizer
        )
        for split, rows in data.splits.items()
    }


def _write(encoded: dict[str, Dataset], folder: Path) -> None:
    for split, rows in encoded.items():
        rows.save_to_disk(str(folder / split))


IGNORED = -100  # the label of a token that does not count, in torch and transformers
SHUFFLE_SEED = 0  # the order of the train threads, the same for every run
Turn = dict[str, str]  # of a thread: "role" ("user" or "assistant") and "content"


def encode_threads(
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    loss_on: LossOn,
    attention: PackAttention = "across",
) -> dict[str, Dataset]:
    """Every split of `data` as packed sequences: `input_ids`, `attention_mask`, `labels`, each `length` long.

    Args:
        tokenizer: with the chat template to write in.
        loss_on: whose turns are labels.
        attention: whether a thread sees those before it in its sequence; see `pack`.

    Raises:
        InputError: the chat template is not made of turns, so nothing tells where the assistant's are.
        WorkError: the cache cannot be written.
    """
    key = ["threads", data.sha256, str(length), loss_on] + ["within"] * (attention == "within")

    def make() -> dict[str, Dataset]:
        return {
            split: pack(
                (tokens_of(thread, tokenizer, loss_on) for thread in _ordered(rows["messages"], split, data)),
                length,
                tokenizer.pad_token_id,
                list(_ordered(rows["tree"], split, data)),
                attention,
            )
            for split, rows in data.splits.items()
        }

    return kept(key, tokenizer, data.splits, make)


def tokens_of(
    thread: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, loss_on: LossOn
) -> tuple[list[int], list[int]]:
    """Token ids and labels of one thread.

    Raises:
        InputError: see `encode_threads`.
    """
    text, spans = assistant_spans(thread, tokenizer)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = encoded["input_ids"]
    if loss_on == "all":
        return ids, list(ids)
    starts = np.array([start for start, _ in encoded["offset_mapping"]])
    counts = np.zeros(len(ids), dtype=bool)
    for begin, end in spans:
        counts |= (begin <= starts) & (starts < end)
    return ids, np.where(counts, ids, IGNORED).tolist()


def assistant_spans(
    thread: Sequence[Turn], tokenizer: PreTrainedTokenizerBase
) -> tuple[str, list[tuple[int, int]]]:
    """A thread as text, and from where to where in it the assistant speaks, its end-of-turn sign included.

    Raises:
        InputError: see `encode_threads`.
    """

    def written(turns: int, asks: bool = False) -> str:
        text = tokenizer.apply_chat_template(list(thread[:turns]), tokenize=False, add_generation_prompt=asks)
        assert isinstance(text, str)
        return text

    text, spans = written(len(thread)), []
    for place, turn in enumerate(thread):
        if turn["role"] == "assistant":
            before, through = written(place, asks=True), written(place + 1)
            if not text.startswith(through) or not through.startswith(before):
                raise InputError(
                    "the tokenizer's chat template writes a turn otherwise when others follow, so nothing "
                    "tells where the assistant speaks: take --loss-on all, or --chat-format llama-2"
                )
            spans.append((len(before), len(through)))
    return text, spans


def pack(
    threads: Iterable[tuple[list[int], list[int]]],
    length: int,
    padding: int,
    trees: Sequence[str],
    attention: PackAttention = "across",
) -> Dataset:
    """Join threads and cut them into sequences of `length` tokens.

    The first label of each is left out: no token before it predicts it. Each sequence says the tree that most
    of its labels are of, since sequences of one tree are no independent examples.

    Args:
        trees: the tree of each thread.
        attention: "within" adds `position_ids`, which begin at 0 where a thread or a sequence does, and
            leaves out the first label of each thread too. With "across" the first token of a thread is
            predicted from the thread before it, as in the authors' code.
    """
    ids: list[int] = []
    labels: list[int] = []
    numbers = {tree: number for number, tree in enumerate(dict.fromkeys(trees))}
    owners: list[int] = []  # of each token, the number of its tree
    begins: list[int] = []  # of each thread, the place of its first token
    for (thread_ids, thread_labels), tree in zip(threads, trees, strict=True):
        begins.append(len(ids))
        ids += thread_ids
        labels += thread_labels
        owners += [numbers[tree]] * len(thread_ids)
    short = -len(ids) % length
    mask = np.ones(len(ids) + short, dtype=np.int64)
    mask[len(ids) :] = 0
    packed_ids = np.array(ids + [padding] * short, dtype=np.int64).reshape(-1, length)
    packed_labels = np.array(labels + [IGNORED] * short, dtype=np.int64).reshape(-1, length)
    columns = {}
    if attention == "within":
        places = np.arange(len(mask))
        is_first = places % length == 0
        is_first[[begin for begin in begins if begin < len(mask)]] = True
        positions = places - np.maximum.accumulate(np.where(is_first, places, 0))
        packed_labels.reshape(-1)[is_first] = IGNORED
        columns["position_ids"] = positions.reshape(-1, length)
    packed_labels[:, 0] = IGNORED
    counting = (packed_labels != IGNORED).any(1)  # of the others the loss would be that of nothing
    packed_owners = np.array(owners + [0] * short, dtype=np.int64).reshape(-1, length)
    names = list(numbers)
    mostly = [
        names[np.bincount(owner[label != IGNORED]).argmax()]
        for owner, label in zip(packed_owners[counting], packed_labels[counting], strict=True)
    ]
    columns |= {
        "input_ids": packed_ids,
        "attention_mask": mask.reshape(-1, length),
        "labels": packed_labels,
    }
    return Dataset.from_dict({name: column[counting] for name, column in columns.items()} | {"tree": mostly})


def _ordered(threads: Sequence[T], split: str, data: TaskData) -> Iterable[T]:
    if split != data.task.train:
        return threads
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(threads))
    return (threads[place] for place in order.tolist())
