"""Find the checkpoint that a run starts from: `demo`, `smollm2`, a directory, a GGUF file, or on the hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .demo import check_demo, demo_folder
from .smollm2 import smollm2_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # names the shards of large weights
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
)
TOKENIZER_FILES += ("sentencepiece.bpe.model", "bpe.codes")  # one of them has the vocabulary
SMALL_FILES = ("config.json", INDEX, *TOKENIZER_FILES, "merges.txt", "tokenizer_config.json")
SMALL_FILES += ("special_tokens_map.json", "added_tokens.json")


SHAPES_ALONE = "config:sha256:"  # begins the identity of a model without weights


@dataclass(frozen=True)
class Checkpoint:
    """Pretrained weights and tokenizer.

    On the hub, configuration and tokenizer are in `location` already; `fetch_weights` adds the weights.
    """

    name: str  # as the user typed it
    location: str  # directory to give to `from_pretrained`
    revision: str  # hub: the commit; otherwise the SHA-256 of the weights, hexadecimal
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
        return _from_gguf(name, smollm2_file() if name == "smollm2" else Path(name).expanduser())
    folder = demo_folder() if name == "demo" else Path(name).expanduser()
    if name and folder.is_dir():
        _check_config(name, folder)
        if not needs_weights and lacks_weights(name):
            sha256 = _sha256([folder / "config.json"])
            return Checkpoint(name, str(folder), sha256, f"{SHAPES_ALONE}{sha256}")
        sha256 = _sha256(weight_files(name, folder))
        if name == "demo":
            check_demo(sha256)
        return Checkpoint(name, str(folder), sha256, f"sha256:{sha256}")
    if name and folder.exists():
        raise InputError(f"--model {name}: it is a file; give the directory that holds it")
    folder = _from_hub(name, SMALL_FILES)
    _check_config(name, folder)
    return Checkpoint(name, str(folder), folder.name, f"hub:{name}@{folder.name}")


def lacks_weights(name: str) -> bool:
    """Whether it names a directory that holds shapes at most."""
    if name in ("", "demo", "smollm2") or name.endswith(".gguf"):
        return False
    folder = Path(name).expanduser()
    return folder.is_dir() and not any(file.is_file() for file in _named_weights(folder))


def _from_gguf(name: str, file: Path) -> Checkpoint:
    from .gguf import unpacked

    if not file.is_file():
        raise InputError(f"--model {name}: no such file")
    sha256 = _sha256([file])
    return Checkpoint(name, str(unpacked(name, file, sha256)), sha256, f"sha256:{sha256}")


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
    """The safetensors files of a model, in order; nothing is loaded by pickle.

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


def _named_weights(folder: Path) -> list[Path]:
    """Where the weights ought to be: the shards that the index names, or the one file."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS]
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{index}: not an index of weights: it needs a weight_map of file names") from None
    return [folder / Path(shard).name for shard in sorted(shards)]


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


def _sha256(files: Iterable[Path]) -> str:
    """Of the file; of several, over the lines that `sha256sum` would print for them."""
    digests = {}
    for file in files:
        with file.open("rb") as stream:
            digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{digests[name]}  {name}\n" for name in digests).encode()).hexdigest()


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
