"""Every option of every command changes what a dry run shows, is refused, or is excused with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparsegrad_cli.cli.main import VERBS, load_verb
from sparsegrad_cli.config import RUN_SETTINGS, SETTINGS

from ..checkpoints import tiny_checkpoint
from ..judge.questions_file import write_lines
from ..planned import write_cola
from ..tasks.oasst import chain, in_tree, write

BERT = "--model bert --data glue --device cpu --task cola"
CHAT = "--model llama --data trees.jsonl --device cpu --task oasst1 --length 64"
QUESTIONS = "--questions questions.jsonl --model llama --device cpu"
JUDGED = f"{QUESTIONS} --endpoint http://127.0.0.1:9/v1 --judge-model one"

# what an option is tried with: the rest of the command, and what the option adds to it
Row = tuple[str, str]
ON_LORA = {"rank": "3", "target": "attention"}
ON_CHAT = {"languages": "de", "loss_on": "all", "chat_format": "own", "pack_attention": "within"}
VALUES = {
    "protocol": "heldout",
    "learning_rate": "0.5",
    "batch_size": "6",
    "accumulation_steps": "2",
    "epochs": "1.5",
    "max_steps": "7",
    "max_train_examples": "8",
    "patience": "1",
    "eval_steps": "9",
    "length": "10",
    "padding": "max",
    "precision": "bf16",
    "schedule": "cosine",
    "warmup_steps": "2",
    "gradient_checkpointing": "",
    "weight_decay": "0.01",
    "freeze_rest": "",
    "sparse_learning_rate": "0.25",
    "blocks": "every:2",
    "density": "0.125",
    "kept": "11",
    "mask": "fixed",
    "place": "optimizer",
    "calibration_steps": "12",
    "basis": "random",
    "basis_rank": "13",
    "model": "other",
    "data": "demo",
    "device": "cuda",
}


def of_run(command: str) -> dict[str, Row]:
    """The settings of a run, each where a method or a task has a use for it."""
    rows = {}
    for name in RUN_SETTINGS:
        option, sparse = SETTINGS[name].option, f"{command} {BERT} --method sparsegrad"
        if name in ON_CHAT:
            rows[option] = (f"{command} {CHAT} --method lora", f"{option} {ON_CHAT[name]}")
        elif name in ON_LORA:
            rows[option] = (f"{command} {BERT} --method lora", f"{option} {ON_LORA[name]}")
        elif name == "optimizer":
            rows[option] = (f"{command} {BERT} --method ft", f"{option} galore")
        elif name == "recompute":
            rows[option] = (f"{sparse} --place backward", option)
        else:
            rows[option] = (sparse, f"{option} {VALUES[name]}")
    return rows


FINETUNE, SWEEP, RUN = f"finetune {BERT} --method ft", f"sweep {BERT} --method ft", "run grid.yaml"
CALIBRATE, BENCH = f"calibrate {BERT}", "bench --model bert --device cpu --length 16"
RUNNER, STACK = f"bench runner {BERT}", "bench calibrate --model bert --device cpu --length 16"


def each(base: str, *added: str) -> dict[str, Row]:
    return {words.split()[0]: (base, words) for words in added}


TRIED: dict[str, dict[str, Row]] = {
    "finetune": {
        **of_run("finetune"),
        **each(FINETUNE, "--task rte", "--method lora", "--seed 1", "--params params.yaml", "--predict-test"),
        **each(FINETUNE, "--save none"),
    },
    "sweep": {
        **of_run("sweep"),
        **each(
            SWEEP, "--task rte", "--method lora", "--seed 1", "--all-tasks", "--all-methods", "--trials 3"
        ),
        **each(SWEEP, "--space space.yaml", "--select-on holdout", "--pruner none", "--resume"),
        **each(SWEEP, "--storage notes.txt"),
    },
    "sweep show": each("sweep show", "--storage notes.txt"),
    "run": {
        **each(
            RUN, "--data demo", "--device cuda", "--model bert2", "--task rte", "--method lora", "--seed 1"
        ),
        **each(RUN, "--where density=0.5", "--workers 2", "--address auto", "--retry all", "--save model"),
    },
    "calibrate": {
        **each(CALIBRATE, "--task rte", "--seed 1", "--model other", "--data demo", "--device cuda"),
        **each(
            CALIBRATE, "--batch-size 6", "--accumulation-steps 2", "--max-train-examples 8", "--length 10"
        ),
        **each(
            CALIBRATE, "--padding longest", "--precision bf16", "--blocks every:2", "--calibration-steps 3"
        ),
        **each(CALIBRATE, "--basis-rank 3", "--language de", "--output elsewhere"),
        **each(f"calibrate {CHAT}", "--loss-on all", "--chat-format own", "--pack-attention within"),
    },
    "bench": {
        **each(BENCH, "--init random", "--layers 1", "--task cola", "--method lora", "--place optimizer"),
        **each(BENCH, "--mask fixed", "--seed 1", "--model other", "--data demo", "--device cuda"),
        **each(BENCH, "--batch-size 6", "--length 10", "--precision bf16", "--freeze-rest"),
        **each(f"{BENCH} --task cola --data glue", "--padding longest"),
        **each(BENCH, "--density 0.1", "--kept 3", "--rank 3", "--basis-rank 3", "--calibration-steps 3"),
        **each(BENCH, "--rounds 2", "--steps 2", "--burn-in 1", "--lengths cola"),
    },
    "bench runner": {
        **each(RUNNER, "--task rte", "--method lora", "--seed 1", "--model other", "--data demo"),
        **each(RUNNER, "--device cuda", "--batch-size 6", "--length 10", "--precision bf16", "--rounds 2"),
        **each(RUNNER, "--beside loop", "--padding max", "--no-score", "--max-steps 3", "--epochs 2"),
        **each(RUNNER, "--learning-rate 1e-3", "--max-train-examples 8"),
        **each(f"{RUNNER} --beside loop --method sparsegrad", "--calibration-steps 3"),
    },
    "bench calibrate": {
        **each(STACK, "--init random", "--layers 1", "--task cola", "--seed 1", "--model other"),
        **each(STACK, "--data demo", "--device cuda", "--batch-size 6", "--length 10"),
        **each(f"{STACK} --task cola --data glue", "--padding longest"),
        **each(STACK, "--calibration-steps 3", "--basis-rank 3", "--no-stack", "--lengths cola"),
    },
    "bench gpu": each("bench gpu --device cpu", "--device cuda", "--minutes 1"),
    "judge": {
        **each(f"judge {QUESTIONS} --answers-only", "--max-questions 1", "--category math"),
        **each(f"judge {QUESTIONS} --answers-only", "--questions none.jsonl", "--run none", "--model other"),
        **each(f"judge {QUESTIONS} --answers-only", "--device cuda", "--endpoint http://h/v1"),
        **each(f"judge {JUDGED}", "--judge-model two", "--seed 1", "--max-new-tokens 3", "--precision bf16"),
        **each(f"judge {JUDGED}", "--key-variable NO_KEY", "--references none", "--prompts none"),
        **each(f"judge {JUDGED}", "--answers-only", "--timeout 1e9"),
    },
    "report": {
        **each("report", "--output out", "--format pdf", "--checklist", "--baseline ft", "--compare paper"),
        **each("report", "--method ft", "--seed 0", "--model demo", "--protocol paper"),
        **each("report", "--fill-missing majority", "--glue-zip z.zip"),
    },
    "ls": each("ls runs", "--output elsewhere"),
    "export": {},
    "push": {},
}
# no part of what a dry run can show: what each does and which tests show it
EVERYWHERE = {
    "--json": "the form of the document",
    "--dry-run": "asks for the document",
    "--quiet": "no progress on stderr: tests/cli/test_progress.py",
    "--output": "where results are looked for and kept: tests/cli",
    "--report-to": "who is told of a run: tests/training/test_track.py",
    "--checkpoint-minutes": "how often a run is saved: tests/training/test_run.py",
    "--accumulate-on-oom": "what happens when memory runs out: tests/training/test_accumulation.py",
}
EXCUSED = {
    "export": {
        "--to": "the form of the adapter: tests/training/test_export.py",
        "--rank": "its rank: tests/training/test_export.py",
        "--into": "where it is written: tests/training/test_export.py",
    },
    "push": {
        "--to": "as of export",
        "--rank": "as of export",
        "--private": "who may see it: the hub's",
    },
    "finetune": {"--verbose": "how much is printed in the end: tests/report/test_output.py"},
    "calibrate": {"--gradient-checkpointing": "memory of the calibration alone: the same basis"},
    "sweep": {
        "--then-finetune": "what follows the search: tests/cli/test_sweep.py",
        "--workers": "how many at a time: tests/sweep/test_trials.py",
        "--verbose": "how much is printed in the end: tests/cli/test_sweep.py",
        "--engine": "processes or SLURM, the same trials: tests/grid/test_slurm.py",
    },
    "run": {
        "--engine": "processes, Ray or SLURM, the same cells: tests/grid/test_ray.py and test_slurm.py",
        "--per-gpu": "cells at a time on a GPU, of which there is none here: tests/cli/test_run.py",
        "--predict-test": "what follows the training: tests/cli/test_run.py",
        "--verbose": "how much is printed in the end: tests/report/test_output.py",
    },
    "bench": {"--profile": "a trace beside the numbers: tests/cli/test_bench.py"},
    "judge": {
        "--batch-size": "how many are answered at once: tests/judge/test_answer.py",
        "--workers": "how many are asked at once: tests/cli/test_judge.py",
        "--retries": "how often a server is asked again: tests/judge/test_client.py",
    },
}
NO_DRY_RUN = ("sweep show", "report", "ls")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command with its options."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, list[str]]]:
        inner = getattr(command, "commands", {})
        yield name, [p.opts[0] for p in command.params if p.param_type_name == "option"]
        for word, each in inner.items():
            yield from walk(each, f"{name} {word}")

    for verb in VERBS:
        yield from walk(load_verb(verb), verb)


ROWS = [
    pytest.param(name, *row, id=f"{name} {option}")
    for name, options in TRIED.items()
    for option, row in options.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("options")
    tiny_checkpoint(made / "bert", "bert")
    tiny_checkpoint(made / "other", "bert", seed=1)
    tiny_checkpoint(made / "llama", "llama")
    write_cola(made / "glue")
    trees = [in_tree(chain(f"{i}a", f"{i}b")) for i in range(8)]
    write(made / "trees.jsonl", trees + [in_tree(chain(f"{i}x", f"{i}y", lang="de")) for i in range(8)])
    asked = [{"question_id": i, "category": c, "turns": ["What?"]} for i, c in enumerate(("math", "stem"))]
    write_lines(made / "questions.jsonl", asked)
    (made / "params.yaml").write_text("learning_rate: 0.25\n")
    (made / "space.yaml").write_text("batch_size: [4]\n")
    (made / "notes.txt").write_text("no journal\n")
    (made / "grid.yaml").write_text(
        "title: t\nmodels: [bert]\ntasks: [cola]\nmethods: [ft]\ndata: glue\nsettings: {max_steps: 2}\n"
    )
    return made


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    """What commands print without the option."""
    return {}


@pytest.fixture(autouse=True)
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate would take most of the time; it shows here what it is asked."""

    def estimate(planned: object, *asked: object, **named: object) -> SimpleNamespace:
        document = {"asked": [str(value) for value in (*asked, *named.items())]}
        return SimpleNamespace(runs=(), model_dump=lambda **_: document)

    monkeypatch.setattr("sparsegrad_cli.estimate.estimate", estimate)
    monkeypatch.chdir(folder)


def test_every_option_of_every_command_is_in_a_table() -> None:
    for name, options in commands():
        excused = {*EVERYWHERE, *EXCUSED.get(name, {})}
        tried = {words.split()[0].replace("--no-", "--") for _, words in TRIED[name].values()}
        assert set(options) <= excused | tried, name


@pytest.mark.parametrize(("command", "base", "added"), ROWS)
def test_an_option_changes_the_document_or_is_refused(command, base, added, call, documents) -> None:
    tail = () if command in NO_DRY_RUN else ("--dry-run",)
    tail = (*tail, "--json")

    def document(words: str) -> tuple[int, str]:
        code, out, err = call(*words.split(), *tail)
        assert code in (0, 2), err
        assert code == 0 or err.count("sparsegrad: ") == 1, err
        return code, json.dumps(json.loads(out), sort_keys=True) if code == 0 else ""

    code, changed = document(f"{base} {added}")
    if code == 0:
        if base not in documents:
            documents[base] = document(base)[1]
        assert changed != documents[base], "the option is taken and ignored"
