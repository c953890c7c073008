"""GGUF files: configuration, tokenizer and quantised weights in one; unpacked once, into the cache."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError
from ..store.cache import add_folder, cache_folder


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
        add_folder(folder, lambda temporary: _unpack(name, file, temporary))
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
