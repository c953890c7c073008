"""Classifiers that start from a checkpoint: what is pretrained, what is new, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.models.checkpoint import Checkpoint, find_checkpoint
from sparsegrad_cli.models.load import (
    LoadedModel,
    classifier_config,
    hash_tokenizer,
    load_classifier,
    load_tokenizer,
)

from ..checkpoints import KINDS, demo_folder, roberta_from_demo, tiny_checkpoint

DENSE_HEAD = {
    f"classifier.{part}" for part in ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias")
}
LINEAR_HEAD = {"classifier.weight", "classifier.bias"}
HEADS = {
    "bert": LINEAR_HEAD,
    "roberta": DENSE_HEAD,
    "distilbert": LINEAR_HEAD | {"pre_classifier.weight", "pre_classifier.bias"},
    "electra": DENSE_HEAD,
    "llama": {"score.weight"},
}


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "bert", "bert")


def seeded(
    checkpoint: Checkpoint, seed: int = 0, num_labels: int = 3, regression: bool = False
) -> LoadedModel:
    torch.manual_seed(seed)
    return load_classifier(checkpoint, num_labels, regression)


def edit_config(folder: Path, **changes: str | int) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def logits(checkpoint: Checkpoint, model: transformers.PreTrainedModel, texts: list[str]) -> torch.Tensor:
    batch = load_tokenizer(checkpoint)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_is_pretrained_and_the_head_follows_the_seed(kind: str, tmp_path: Path) -> None:
    checkpoint = find_checkpoint(str(tiny_checkpoint(tmp_path / kind, kind)))
    first, again, other = seeded(checkpoint, 0), seeded(checkpoint, 0), seeded(checkpoint, 1)
    assert first.head == HEADS[kind]
    stored = load_file(tmp_path / kind / "model.safetensors")
    weights = {name: value for name, value in first.model.named_parameters() if name not in first.head}
    assert weights
    for name, value in weights.items():
        assert torch.equal(value, stored[name])
    for name, value in again.model.named_parameters():
        assert torch.equal(value, first.model.get_parameter(name))
    assert any(
        not torch.equal(other.model.get_parameter(name), first.model.get_parameter(name))
        for name in first.head
    )


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_change_a_prediction(kind: str, tmp_path: Path) -> None:
    checkpoint = find_checkpoint(str(tiny_checkpoint(tmp_path / kind, kind)))
    model = seeded(checkpoint).model
    short, long = "A good film.", "The company said that sales were slow in the third quarter, and worse."
    together = logits(checkpoint, model, [short, long])
    torch.testing.assert_close(together[0], logits(checkpoint, model, [short])[0], atol=1e-5, rtol=1e-4)
    assert together.shape == (2, 3)


def test_a_model_without_pooler_gets_a_new_one_that_counts_as_head(bert: Path) -> None:
    edit_weights(bert, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    loaded = seeded(find_checkpoint(str(bert)))
    assert loaded.head == LINEAR_HEAD | {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_regression_has_one_output_and_squared_error(bert: Path) -> None:
    checkpoint = find_checkpoint(str(bert))
    model = seeded(checkpoint, num_labels=1, regression=True).model.eval()
    batch = load_tokenizer(checkpoint)(["A film.", "Two dogs."], padding=True, return_tensors="pt")
    labels = torch.tensor([1.5, 4.0])
    found = model(**batch, labels=labels)
    torch.testing.assert_close(found.loss, ((found.logits.squeeze(1) - labels) ** 2).mean())


def test_half_precision_weights_become_float32(bert: Path) -> None:
    edit_weights(bert, lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()}))
    edit_config(bert, dtype="bfloat16")
    assert {value.dtype for value in seeded(find_checkpoint(str(bert))).model.parameters()} == {torch.float32}


def test_a_head_of_another_size_is_drawn_anew(bert: Path, tmp_path: Path) -> None:
    seeded(find_checkpoint(str(bert)), num_labels=5).model.save_pretrained(tmp_path / "tuned")
    load_tokenizer(find_checkpoint(str(bert))).save_pretrained(tmp_path / "tuned")
    tuned = find_checkpoint(str(tmp_path / "tuned"))
    first, again, other = (seeded(tuned, seed).model.classifier.weight for seed in (0, 0, 1))
    assert first.shape == (3, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_printed(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seeded(find_checkpoint(str(bert)))
    assert capfd.readouterr() == ("", "")


def drop_last_layer(folder: Path) -> None:
    edit_weights(
        folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "encoder.layer.1" in name]
    )


SPOILED = {
    "sizes differ": (lambda f: edit_config(f, intermediate_size=48), "belong to different models"),
    "a layer is missing": (drop_last_layer, "weights lack 16 parameters of BertForSequenceClassification"),
    "another family": (
        lambda f: edit_config(f, model_type="roberta"),
        "another family than config.json says",
    ),
    "no classifier": (lambda f: edit_config(f, model_type="vit"), "no sequence classifier for a vit model"),
    "unknown family": (lambda f: edit_config(f, model_type="mine"), "does not know the model_type 'mine'"),
    "its own code": (
        lambda f: edit_config(f, model_type="mine", auto_map={"AutoConfig": "code.Config"}),
        "code that a checkpoint brings is not run",
    ),
    "wrong type": (lambda f: edit_config(f, hidden_size="many"), "cannot read config.json .*hidden_size"),
    "bad config": (lambda f: (f / "config.json").write_text("{"), "cannot read config.json"),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
        "cannot read its weights .*SafetensorError",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer: put its files"),
    "bad tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "cannot read its tokenizer"),
}


@pytest.mark.parametrize("flaw", SPOILED)
def test_what_cannot_be_trained_is_refused_in_one_line(flaw: str, bert: Path) -> None:
    spoil, message = SPOILED[flaw]
    spoil(bert)
    with pytest.raises(InputError, match=message) as caught:
        load_classifier(find_checkpoint(str(bert)), 2, False)
    assert str(caught.value).startswith(f"--model {bert}: ")
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_model_is_refused(bert: Path) -> None:
    shutil.copy(demo_folder() / "tokenizer.json", bert)
    with pytest.raises(InputError, match="token ids up to 30521, its embedding 211 rows"):
        load_classifier(find_checkpoint(str(bert)), 2, False)


def test_code_of_a_checkpoint_never_runs(bert: Path, tmp_path: Path) -> None:
    (bert / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit_config(bert, model_type="mine", auto_map={"AutoConfig": "code.Config"})
    with pytest.raises(InputError):
        classifier_config(find_checkpoint(str(bert)))
    assert not (tmp_path / "ran").exists()


def test_a_decoder_pads_with_the_token_that_its_configuration_names(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "llama", "llama")
    assert load_tokenizer(find_checkpoint(str(folder))).pad_token == "</s>"
    edit_config(folder, pad_token_id=3)
    checkpoint = find_checkpoint(str(folder))
    assert load_tokenizer(checkpoint).pad_token == "<unk>"
    assert seeded(checkpoint).model.config.pad_token_id == 3


def test_real_roberta(shared: Path) -> None:
    checkpoint = find_checkpoint(str(shared / "models" / "sapiens-vh"))
    loaded = seeded(checkpoint)
    assert type(loaded.model) is transformers.RobertaForSequenceClassification
    assert loaded.head == DENSE_HEAD
    alone = logits(checkpoint, loaded.model, ["EVQLVESGG"])
    torch.testing.assert_close(logits(checkpoint, loaded.model, ["EVQLVESGG", "EVQLVESGGGLVQPG"])[:1], alone)


def test_real_llama(shared: Path) -> None:
    checkpoint = find_checkpoint(str(shared / "models" / "stories260K"))
    loaded = seeded(checkpoint)
    assert type(loaded.model) is transformers.LlamaForSequenceClassification
    assert loaded.head == {"score.weight"}
    assert loaded.model.config.pad_token_id == load_tokenizer(checkpoint).pad_token_id
    alone = logits(checkpoint, loaded.model, ["Once upon a time"])
    both = logits(checkpoint, loaded.model, ["Once upon a time", "Once upon a time there was a little girl"])
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)


def test_bert_weights_in_the_roberta_class_compute_the_same(tmp_path: Path) -> None:
    source, roberta = find_checkpoint("demo"), find_checkpoint(str(roberta_from_demo(tmp_path / "roberta")))
    batch = load_tokenizer(source)(["A man plays.", "What is it?"], padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs, ours = (
            seeded(checkpoint).model.base_model.eval()(**batch).last_hidden_state
            for checkpoint in (source, roberta)
        )
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)


CHANGES = {
    "truncation_side": lambda tokenizer: setattr(tokenizer, "truncation_side", "left"),
    "model_input_names": lambda tokenizer: setattr(tokenizer, "model_input_names", ["input_ids"]),
    "chat_template": lambda tokenizer: setattr(tokenizer, "chat_template", "{{ messages }}"),
    "special tokens": lambda tokenizer: tokenizer.add_special_tokens({"sep_token": "[X]"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tokenizers_that_write_otherwise_have_other_hashes(bert: Path, change: str) -> None:
    checkpoint = find_checkpoint(str(bert))
    tokenizer = load_tokenizer(checkpoint)
    before = hash_tokenizer(tokenizer)
    tokenizer("A call sets truncation.", truncation=True, max_length=4, padding="max_length")
    assert hash_tokenizer(tokenizer) == hash_tokenizer(load_tokenizer(checkpoint)) == before
    CHANGES[change](tokenizer)
    assert hash_tokenizer(tokenizer) != before
