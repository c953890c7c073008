"""Runs on conversations: a tiny LLaMA on the synthetic ones, from options to the folder on disk."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.store.records import Result
from sparsegrad_cli.training.run import load_model, run
from sparsegrad_cli.training.trainer import make_trainer
from tests.checkpoints import tiny_checkpoint
from tests.planned import PowerCutError, RecordingWatch, changed, configs_of, plan_run

METHODS = {
    "ft": {},
    "lora": {"rank": 4},
    "meprop": {"density": 0.05},
    "sparsegrad": {"density": 0.05, "calibration_steps": 2},
    "sparsegrad block": {"density": 0.05, "calibration_steps": 2, "mask": "block"},
    "sparsegrad of few directions": {"density": 0.02, "calibration_steps": 2, "basis_rank": 16},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def four_blocks(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("llama"), "llama", layers=4)


@pytest.fixture
def choices(model, conversations):
    return {
        "model": str(model),
        "task": "oasst1",
        "data": str(conversations),
        "methods": ["ft"],
        "length": 64,
        "batch_size": 4,
        "max_train_examples": 32,
        "learning_rate": 5e-3,
        "eval_steps": 3,
    }


def of_method(choices, variant, **changes):
    return changed(choices, methods=[variant.split()[0]], **METHODS[variant] | changes)


def test_conversations_that_see_themselves_alone_train_too_and_are_other_runs(choices, tmp_path):
    variant = "sparsegrad block"
    within = plan_run(tmp_path, RecordingWatch(), of_method(choices, variant, pack_attention="within"))
    result = run(within)
    assert result.status == "done", result.error
    assert result.score < result.metrics["loss_before"]
    assert result.id != configs_of(of_method(choices, variant))[0].run_id()


def outcome(planned, result: Result):
    assert result.status == "done", result.error
    return (
        result.score,
        result.steps,
        pd.read_parquet(planned.folder.path / "predictions.parquet").to_dict("list"),
    )


@pytest.mark.parametrize("variant", METHODS)
def test_training_lowers_the_loss_and_moves_only_the_chosen_blocks(variant, choices, four_blocks, tmp_path):
    asked = of_method(choices, variant, model=str(four_blocks), max_train_examples=16)
    planned = plan_run(tmp_path, RecordingWatch(), asked)
    result = run(planned)
    assert result.status == "done", result.error
    assert result.score == result.metrics["loss"] < result.metrics["loss_before"]
    assert result.metrics["perplexity"] == pytest.approx(math.exp(result.score))
    assert result.parameters.head == 0
    assert result.parameters.trainable == result.parameters.adapted
    assert result.parameters.touched > 0

    before = AutoModelForCausalLM.from_pretrained(four_blocks).state_dict()
    after = AutoModelForCausalLM.from_pretrained(planned.folder.path / "model").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    chosen = {f"model.layers.{block}.mlp.{kind}_proj.weight" for block in (0, 3) for kind in ("up", "down")}
    assert moved == chosen  # every:3 of four blocks, as by default


def test_the_score_is_the_mean_loss_of_the_tokens_that_count(choices, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), choices)
    result = run(planned)
    plain = AutoModelForCausalLM.from_pretrained(planned.folder.path / "model")
    (split,) = planned.inputs.reported
    total, tokens, each = 0.0, 0, []
    for row in split.rows:
        with torch.no_grad():
            logits = plain(torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        losses = functional.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
        counting = losses[labels != -100]
        total, tokens = total + counting.double().sum().item(), tokens + len(counting)
        each.append(counting.mean().item())
    assert result.score == pytest.approx(total / tokens, rel=1e-6)
    predictions = pd.read_parquet(planned.folder.path / "predictions.parquet")
    assert predictions["tokens"].sum() == tokens
    assert predictions["loss"].tolist() == pytest.approx(each, rel=1e-5)
    validation = planned.inputs.data.splits["validation"]
    assert set(predictions["tree"]) <= set(validation["tree"])


def test_parts_of_a_batch_count_by_their_tokens_not_equally(choices, tmp_path):
    """The gradient of a batch is the same whole or in parts, however the tokens that count lie in it."""
    gradients = []
    for parts in (1, 2, 4):
        planned = plan_run(tmp_path, RecordingWatch(), choices)
        planned.folder.path.mkdir(parents=True, exist_ok=True)
        loaded = load_model(planned.config, planned.inputs)
        loaded.model.double()
        trainer = make_trainer(
            loaded.model, torch.optim.SGD(loaded.model.parameters(), lr=1.0), planned, parts
        )
        trainer.args.max_steps, trainer.args.eval_strategy, trainer.args.save_strategy = 1, "no", "no"
        trainer.args.load_best_model_at_end = False
        trainer.args.warmup_steps = 0
        before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
        trainer.train()
        gradients.append({name: before[name] - p.detach() for name, p in loaded.model.named_parameters()})
    for others in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("variant", "cut_at"),
    [
        ("meprop", ("train", 5)),
        ("sparsegrad", ("score", 1)),
        ("sparsegrad of few directions", ("train", 5)),
    ],
)
def test_a_killed_run_taken_up_again_ends_as_one_that_was_not(variant, cut_at, choices, tmp_path):
    asked = of_method(choices, variant)
    often = {"checkpoint_seconds": 0.0, "keep_model": False}
    whole = plan_run(tmp_path / "whole", RecordingWatch(), asked, keep_model=False)
    expected = outcome(whole, run(whole))
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path, RecordingWatch(cut_at), asked, **often))
    planned = plan_run(tmp_path, RecordingWatch(), asked, keep_model=False)
    result = run(planned)
    assert outcome(planned, result) == expected
    assert "loss_before" in result.metrics


def test_a_run_with_dropout_killed_before_its_first_checkpoint_ends_as_one_that_was_not(tmp_path, choices):
    model = tiny_checkpoint(tmp_path / "model", "llama")
    written = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(written | {"attention_dropout": 0.3}))
    asked = changed(choices, model=str(model), max_steps=3)
    whole = plan_run(tmp_path / "whole", RecordingWatch(), asked, keep_model=False)
    expected = outcome(whole, run(whole))
    with pytest.raises(PowerCutError):
        run(plan_run(tmp_path, RecordingWatch(("train", 1)), asked, keep_model=False))
    watch = RecordingWatch()
    planned = plan_run(tmp_path, watch, asked, keep_model=False)
    assert planned.folder.last_checkpoint() is None
    assert outcome(planned, run(planned)) == expected
    assert watch.phases == ["train", "score"]


@pytest.mark.parametrize("variant", ["ft", "lora", "sparsegrad", "sparsegrad of few directions"])
def test_bf16_weights_hold_in_float32_what_is_trained_and_nothing_else(variant, choices, tmp_path):
    light = {"precision": "bf16-weights", "gradient_checkpointing": True, "max_train_examples": 16}
    asked = of_method(choices, variant, **light, eval_steps=4)
    planned = plan_run(tmp_path, RecordingWatch(), asked)
    result = run(planned)
    assert result.status == "done", result.error
    assert result.score < result.metrics["loss_before"]
    saved = AutoModelForCausalLM.from_pretrained(planned.folder.path / "model", dtype="auto")
    exact = AutoModelForCausalLM.from_pretrained(planned.folder.path / "model", dtype=torch.float32)
    assert next(saved.parameters()).dtype == torch.bfloat16
    fine = {
        name
        for name, weight in exact.named_parameters()
        if not torch.equal(weight, weight.bfloat16().float())
    }
    assert fine == {f"model.layers.0.mlp.{kind}_proj.weight" for kind in ("up", "down")}


def test_activations_made_again_change_no_number(choices, tmp_path):
    scores = [
        run(plan_run(tmp_path, RecordingWatch(), of_method(choices, "sparsegrad", **change))).score
        for change in ({}, {"gradient_checkpointing": True})
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "falls"),
    [("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2), ("linear", lambda t: 1 - t)],
)
def test_the_learning_rate_rises_then_falls_to_0(schedule, falls, choices, tmp_path):
    asked = changed(choices, max_steps=12, warmup_steps=3, schedule=schedule)
    planned = plan_run(tmp_path, RecordingWatch(), asked)
    planned.folder.path.mkdir(parents=True)
    model = load_model(planned.config, planned.inputs).model
    trainer = make_trainer(model, torch.optim.SGD(model.parameters(), lr=5e-3), planned)
    trainer.create_scheduler(12)
    rates = []
    for _ in range(12):
        rates.append(trainer.lr_scheduler.get_last_lr()[0])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    rising = [5e-3 * step / 3 for step in range(3)]
    falling = [5e-3 * falls(step / 9) for step in range(9)]
    assert rates == pytest.approx(rising + falling)


def test_a_warm_up_takes_no_more_than_a_third_of_a_short_run(choices, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), choices)
    planned.folder.path.mkdir(parents=True)
    assert planned.config.warmup_steps == 50
    trainer = make_trainer(load_model(planned.config, planned.inputs).model, None, planned)
    assert trainer.args.warmup_steps == 8 // 3  # 32 sequences in batches of 4


def test_the_saved_tokenizer_writes_the_format_that_was_trained(choices, tmp_path):
    planned = plan_run(tmp_path, RecordingWatch(), choices)
    run(planned)
    tokenizer = AutoTokenizer.from_pretrained(planned.folder.path / "model")
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "Why?"}], tokenize=False)
    assert asked == "<s>[INST] Why? [/INST]"


def test_the_recipe_is_the_papers_and_every_part_of_it_can_be_changed(model):
    given = {"model": str(model), "task": "oasst1", "data": "demo", "length": 64}
    (config,) = configs_of(dict(**given, methods=["lora"]))
    recipe = {
        "learning_rate": 9e-4,
        "batch_size": 64,
        "accumulation_steps": 32,
        "epochs": 1.0,
        "rank": 32,
        "blocks": "every:3",
        "schedule": "cosine",
        "warmup_steps": 50,
        "eval_steps": 75,
        "patience": 0,
        "freeze_rest": True,
        "loss_on": "assistant",
        "chat_format": "llama-2",
        "precision": "fp32",
    }
    assert {name: getattr(config, name) for name in recipe} == recipe
    other = dict(
        **given,
        methods=["lora"],
        batch_size=6,
        blocks="all",
        schedule="constant",
        warmup_steps=0,
        freeze_rest=False,
        loss_on="all",
    )
    (config,) = configs_of(other)
    found = (config.accumulation_steps, config.blocks, config.schedule, config.warmup_steps)
    assert found == (3, "all", "constant", 0)
    assert (config.freeze_rest, config.loss_on) == (False, "all")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 131}, "--length 131: .* has positions for 130 tokens"),
        ({"blocks": "every:0"}, "--blocks every:0: "),
        ({"blocks": "2"}, "--blocks 2: there is no block 2"),
        ({"chat_format": "own"}, "--chat-format own: "),
        ({"padding": "max"}, "--padding: "),
        ({"methods": ["sparsegrad"], "place": "backward"}, "--place backward steps before"),
        ({"methods": ["sparsegrad"], "place": "adapter"}, "--place adapter .* give --basis-rank"),
        ({"methods": ["sparsegrad"], "basis_rank": 4, "kept": 17}, "--basis-rank 4: "),
        ({"methods": ["sparsegrad"], "basis_rank": 4, "basis": "none"}, "--basis-rank has no effect"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(change, message, choices):
    with pytest.raises(InputError, match=message):
        configs_of(changed(choices, **change))


@pytest.mark.parametrize(
    ("how", "place"),
    [
        ({}, "optimizer"),
        ({"accumulation_steps": 1}, "backward"),
        ({"basis_rank": 16}, "adapter"),
        ({"basis_rank": 16, "accumulation_steps": 1}, "backward"),
        ({"basis_rank": 16, "accumulation_steps": 1, "precision": "bf16-weights"}, "adapter"),
        ({"basis_rank": 16, "place": "optimizer"}, "optimizer"),
        ({"mask": "block"}, "adapter"),
    ],
)
def test_the_place_is_the_lightest_that_goes_with_parts_and_weights(how, place, choices):
    asked = changed(choices, methods=["sparsegrad"], density=0.02, batch_size=8, **how)
    (config,) = configs_of(asked)
    assert config.place == place


@pytest.mark.parametrize("precision", ["fp32", "bf16-weights"])
def test_few_directions_train_the_same_beside_the_weights_as_in_them(precision, choices, tmp_path):
    scores = []
    for place in ("adapter", "optimizer"):
        shorter = {"max_train_examples": 16, "eval_steps": 4, "precision": precision}
        asked = of_method(choices, "sparsegrad of few directions", place=place, **shorter)
        result = run(plan_run(tmp_path / place, RecordingWatch(), asked, keep_model=False))
        assert result.status == "done", result.error
        scores.append(result)
    beside, inside = scores
    assert beside.score == pytest.approx(inside.score, rel=1e-4 if precision == "fp32" else 5e-3)
    assert beside.parameters.trainable == inside.parameters.trainable
    assert beside.parameters.total == inside.parameters.total


@pytest.mark.parametrize(
    "change",
    [{"loss_on": "all"}, {"chat_format": "own"}, {"languages": ("de",)}, {"precision": "bf16-weights"}],
)
def test_options_of_conversations_are_refused_for_other_tasks(change, choices):
    with pytest.raises(InputError, match="is for chat tasks such as oasst1"):
        configs_of(changed(choices, task="cola", **change))


def test_malformed_trees_are_counted_in_the_result(choices, tmp_path):
    messages = [
        {"message_id": "a", "parent_id": None, "text": "Why?", "role": "prompter"},
        {"message_id": "b", "parent_id": "a", "text": "Because it is so.", "role": "assistant"},
    ]
    trees = []
    for number in range(12):
        tree = [
            {k: f"{v}{number}" if k.endswith("_id") and v else v for k, v in message.items()}
            | {
                "message_tree_id": f"a{number}",
                "lang": "en",
                "deleted": False,
                "tree_state": "ready_for_export",
            }
            for message in messages
        ]
        trees.append(tree)
    trees[3][1]["text"] = " "
    trees[5][1]["parent_id"] = "nobody"
    path = tmp_path / "messages.jsonl"
    path.write_text("".join(json.dumps(message) + "\n" for tree in trees for message in tree))
    asked = changed(choices, data=str(path), max_train_examples=None, length=16)
    result = run(plan_run(tmp_path, RecordingWatch(), asked, keep_model=False))
    assert result.data.left_out == {"empty text": 1, "missing parent": 1}
    assert sum(result.data.rows.values()) == 10
