"""How much of a sentence encoder is left after training: python experiments/forgetting.py RESULTS --data DATA

Every run under RESULTS that kept its model (`sparsegrad run ... --save model`) is looked at:

similarity   mean cosine between the embeddings that its encoder, and the one it started from, give to
             sentences of another task; an embedding is the mean of the last hidden states over the tokens,
             as all-MiniLM-L6-v2 and all-mpnet-base-v2 were trained to be used
agreement    share of dev on which two seeds of a row predict the same class, over all pairs of its seeds
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, logging

from sparsegrad_cli.config import METHOD_SETTINGS
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.report.comparable import setting_words
from sparsegrad_cli.report.load import read_predictions
from sparsegrad_cli.store.folder import RUNS, find_results
from sparsegrad_cli.tasks import get_task
from sparsegrad_cli.tasks.load import load_data

AT_ONCE = 64  # sentences


@torch.no_grad()
def embed(folder: str, sentences: tuple[str, ...]) -> Tensor:
    """Returns the unit embeddings, sentences x H, of the encoder in a folder."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    embeddings = []
    for first in range(0, len(sentences), AT_ONCE):
        some = list(sentences[first : first + AT_ONCE])
        inputs = tokenizer(some, padding=True, truncation=True, return_tensors="pt")
        mask = inputs["attention_mask"][..., None]
        mean = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
        embeddings.append(torch.nn.functional.normalize(mean, dim=1))
    return torch.cat(embeddings)


def look_at_runs(results: Path, sentences: tuple[str, ...]) -> pd.DataFrame:
    """Returns a line a run: its row, learning rate, score, similarity and folder."""
    lines, start = [], cache(embed)
    for folder in find_results(RUNS, [results]):
        if not (folder.path / "model").is_dir():
            continue
        run = folder.read()
        before = start(find_checkpoint(run.config.model).location, sentences)
        after = embed(str(folder.path / "model"), sentences)
        words = (setting_words(name, getattr(run.config, name)) for name in METHOD_SETTINGS)
        lines.append(
            {
                "task": run.config.task,
                "row": " ".join([run.config.method, *filter(None, words)]),
                "rate": run.config.learning_rate,
                "score": run.result.score,
                "similarity": (before * after).sum(1).mean().item(),
                "folder": folder.path,
            }
        )
    return pd.DataFrame(lines)


def agreement(folders: Sequence[Path]) -> float:
    """Returns the share of examples on which two runs predict the same; NaN of one run."""
    pairs = list(itertools.combinations(read_predictions(folders).predictions.T, 2))
    return sum((a == b).mean() for a, b in pairs) / len(pairs) if pairs else float("nan")


def main() -> None:
    """Print a line a row: means over its seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a results folder")
    parser.add_argument("--data", default="hub", help="as of sparsegrad run; default: hub")
    parser.add_argument("--task", default="cola", help="whose dev sentences are embedded; default: cola")
    parser.add_argument("--sentences", type=int, default=1000, help="at most so many; default: 1000")
    asked = parser.parse_args()
    task = get_task(asked.task)
    split = load_data(task, asked.data).splits[task.dev[0]]
    runs = look_at_runs(asked.results, tuple(split[task.text[0]][: asked.sentences]))
    if runs.empty:
        parser.error(f"no run in {asked.results} kept its model: give --save model to sparsegrad run")
    table = runs.groupby(["task", "row", "rate"], sort=False).agg(
        seeds=("score", "size"),
        score=("score", "mean"),
        similarity=("similarity", "mean"),
        deviation=("similarity", "std"),
        agreement=("folder", lambda folders: agreement(list(folders))),
    )
    table = table.reset_index()
    table["rate"] = table["rate"].map("{:g}".format)
    print(table.to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    logging.set_verbosity_error()  # a trained model has a head, which no embedding needs
    main()
