"""Load the conversations of a chat task as threads, checked and in one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from datasets import Dataset, Features, Value

from ...errors import InputError
from ..data import TaskData, digest
from .left_out import LeftOut
from .lot import draw_trees
from .sources import Source, find_source
from .task import ChatTask
from .trees import ALL, ROLES, Forest, Thread, grow

VALIDATION_SHARE = 0.1  # of the trees of a source that has only one split
COLUMNS = Features(
    {
        "idx": Value("int64"),
        "tree": Value("string"),
        "messages": [{"role": Value("string"), "content": Value("string")}],
    }
)


def load_chat(task: ChatTask, source: str, languages: Sequence[str] = ("en",)) -> TaskData:
    """Read a chat task's train and dev splits and walk their trees to threads.

    Args:
        task: a chat task.
        source: "hub", "demo", a file, or a directory with a file for each split. Of a single file's trees a
            tenth, and at least one, is the dev split.
        languages: codes such as "en", or "all".

    Returns:
        A split's columns are `idx` (int64, the thread's place in the split), `tree` (string) and `messages`:
        a list of {"role": "user" or "assistant", "content": string} that begins with the user, alternates
        and ends with the assistant. Malformed trees are in `left_out`, others that gave nothing in `skipped`.

    Raises:
        InputError: the data is not there, a line is no message, or no thread is left for a split.
    """
    languages = tuple(dict.fromkeys(languages))
    found = find_source(task, source)
    forests = {split: grow(messages, languages) for split, messages in found.splits.items()}
    _check_languages(found, forests, languages)
    origin = f"{found.origin} ({', '.join(languages)})"
    threads = {split: forest.threads for split, forest in forests.items()}
    for split in threads:
        if not threads[split]:
            raise InputError(f"--data {source}: {_nothing_left(split, forests[split])}")
    if set(threads) == {task.train}:
        trees = {thread.tree for thread in threads[task.train]}
        if len(trees) == 1:
            raise InputError(f"--data {source}: one tree of messages cannot be split in train and validation")
        dev = draw_trees(trees, max(1, int(VALIDATION_SHARE * len(trees))))
        origin += f", {len(dev)} of {len(trees)} trees for {task.dev[0]}"
        threads = {
            task.train: [thread for thread in threads[task.train] if thread.tree not in dev],
            task.dev[0]: [thread for thread in threads[task.train] if thread.tree in dev],
        }
    splits = {split: _dataset(found_threads) for split, found_threads in threads.items()}
    left_out: list[LeftOut] = []
    skipped: Counter[str] = Counter()
    for forest in forests.values():
        left_out += forest.left_out
        skipped += forest.skipped
    sha256 = digest(task, splits)
    return TaskData(task, splits, origin, found.completeness, sha256, tuple(left_out), skipped)


def _check_languages(found: Source, forests: dict[str, Forest], languages: Sequence[str]) -> None:
    spoken = sum((forest.languages for forest in forests.values()), Counter())
    if not spoken:
        raise InputError(f"--data: {found.origin}: empty: there is no message")
    for language in languages:
        if language != ALL and language not in spoken:
            there = ", ".join(f"{code} ({trees:,})" for code, trees in spoken.most_common())
            raise InputError(
                f"--language: no conversation in {language!r}; {found.origin} has (trees): {there}; or all"
            )


def _nothing_left(split: str, forest: Forest) -> str:
    reasons = Counter(tree.reason for tree in forest.left_out) + forest.skipped
    why = ", ".join(f"{reason}: {trees:,}" for reason, trees in reasons.most_common())
    first = f"; the first malformed tree: {forest.left_out[0].place}" if forest.left_out else ""
    return f"no conversation is left for {split}: trees by what is wrong: {why}{first}"


def _dataset(threads: Sequence[Thread]) -> Dataset:
    messages = [
        [{"role": ROLES[message.role], "content": message.text} for message in thread.messages]
        for thread in threads
    ]
    trees = [thread.tree for thread in threads]
    return Dataset.from_dict({"idx": range(len(threads)), "tree": trees, "messages": messages}, COLUMNS)
