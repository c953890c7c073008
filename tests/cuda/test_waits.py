"""On CUDA nothing is on the wrong device and the host waits for no step, by a device without numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

COMPILER = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to build the device without numbers with"),
    pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has a CUDA of its own"),
]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Point and precision -> waits and kernels of a step, or the error that it ended with."""
    library = tmp_path_factory.mktemp("device") / "device.so"
    home = Path(torch.__file__).parent
    include = [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
    link = [f"-L{home / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{home / 'lib'}"]
    source = Path(__file__).with_name("device.cpp")
    built = subprocess.run(
        [
            COMPILER,
            "-std=c++20",
            "-O0",
            "-w",
            "-shared",
            "-fPIC",
            str(source),
            *include,
            *link,
            "-o",
            str(library),
        ],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [sys.executable, "-m", "tests.cuda.simulate", str(library)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_point_trains_reloads_evaluates_and_merges(simulated):
    assert len(simulated) == 22  # two of them models of transformers without padding
    assert not {name: found["error"] for name, found in simulated.items() if "error" in found}


def test_the_host_never_waits_for_a_step(simulated):
    waits = {name: found["waits"] | found["waits_in_eval"] for name, found in simulated.items()}
    assert not {name: found for name, found in waits.items() if found}


def test_one_update_does_for_all_matrices_of_a_kind(simulated):
    """Two matrices of each of two kinds; AdamW of the rest takes two kernels."""
    for precision in ("fp32", "bf16"):
        kernels = simulated[f"calibrated dynamic optimizer {precision}"]["kernels_of_update"]
        assert kernels <= 2 * (70 if precision == "bf16" else 60) + 2
