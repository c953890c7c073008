"""The methods of PEFT that have a name here, one entry each; imports neither torch nor peft.

Each trains about as many values as LoRA of rank `--rank` would on the same matrices: `values` says how many
an `O x I` matrix has at each size, and the size whose sum is nearest is taken. A method whose number of
values cannot be chosen has no size. Fields that an entry does not name are at PEFT's defaults.

To add a method, add an entry: `tests/methods/test_peft.py` runs over all of them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Callable[[int, int, int], int]  # of (O, I, size)
Fits = Callable[[int, int, int], bool]


@dataclass(frozen=True)
class Entry:
    """A method of PEFT, at about LoRA's number of trained values."""

    name: str
    config: str  # the class of its configuration in PEFT
    help: str
    source: str
    size: str = ""  # the configuration's field that sets how much is trained
    values: Values = lambda O, I, size: 0
    fits: Fits = lambda O, I, size: size <= min(O, I)  # whether a matrix takes the size
    alpha: str = ""  # the field that scales the update
    alpha_of: float = 1.0  # ... to this many times the size
    seed: str = ""  # the field that a run's seed goes to
    options: Mapping[str, Any] = field(default_factory=dict)
    calibrates: bool = False  # begins from gradients of the model


def low_rank(O: int, I: int, r: int) -> int:
    """Returns the values of `B A`, where A is `r x I` and B `O x r`."""
    return r * (O + I)


ENTRIES = (
    Entry(
        "lora",
        "LoraConfig",
        "LoRA: a trained product of two thin matrices beside each frozen matrix.",
        "Hu et al. 2022, arXiv:2106.09685",
        "r",
        low_rank,
        alpha="lora_alpha",
    ),
    Entry(
        "rslora",
        "LoraConfig",
        "rsLoRA: LoRA whose update is scaled by the root of the rank.",
        "Kalajdzievski 2023, arXiv:2312.03732",
        "r",
        low_rank,
        options={"use_rslora": True},
        alpha="lora_alpha",
    ),
    Entry(
        "dora",
        "LoraConfig",
        "DoRA: LoRA for the direction of each row of the matrix, and a trained length of it.",
        "Liu et al. 2024, arXiv:2402.09353",
        "r",
        lambda O, I, r: r * (O + I) + O,
        options={"use_dora": True},
        alpha="lora_alpha",
    ),
    Entry(
        "pissa",
        "LoraConfig",
        "PiSSA: LoRA that begins as the matrix's leading singular directions.",
        "Meng et al. 2024, arXiv:2404.02948",
        "r",
        low_rank,
        options={"init_lora_weights": "pissa"},
        alpha="lora_alpha",
    ),
    Entry(
        "olora",
        "LoraConfig",
        "OLoRA: LoRA that begins as the leading columns of the matrix's QR decomposition.",
        "Buyukakyuz 2024, arXiv:2406.01775",
        "r",
        low_rank,
        options={"init_lora_weights": "olora"},
        alpha="lora_alpha",
    ),
    Entry(
        "loraga",
        "LoraConfig",
        "LoRA-GA: LoRA that begins along the leading singular directions of the first gradients.",
        "Wang et al. 2024, arXiv:2407.05000",
        "r",
        low_rank,
        lambda O, I, r: 2 * r <= min(O, I),
        options={"init_lora_weights": "lora_ga", "lora_ga_config": {}},
        calibrates=True,
        alpha="lora_alpha",
    ),
    Entry(
        "adalora",
        "AdaLoraConfig",
        "AdaLoRA: begins as LoRA, and prunes the third of its directions that matters least.",
        "Zhang et al. 2023, arXiv:2303.10512",
        "init_r",
        lambda O, I, r: r * (O + I + 1),
        alpha="lora_alpha",
    ),
    Entry(
        "vera",
        "VeraConfig",
        "VeRA: two trained vectors around frozen random matrices of rank 256, shared by all layers.",
        "Kopiczko et al. 2024, arXiv:2310.11454",
        seed="projection_prng_key",
        options={"r": 256, "save_projection": False},
    ),
    Entry(
        "ia3",
        "IA3Config",
        "(IA)^3: a trained factor for each output, or for each input of the MLP's second matrix.",
        "Liu et al. 2022, arXiv:2205.05638",
    ),
    Entry(
        "oft",
        "OFTConfig",
        "OFT: a trained block-diagonal rotation of each matrix's inputs.",
        "Qiu et al. 2023, arXiv:2306.07280",
        "oft_block_size",
        lambda O, I, b: I * (b - 1) // 2,
        lambda O, I, b: b > 1 and I % b == 0,
    ),
    Entry(
        "boft",
        "BOFTConfig",
        "BOFT: a trained rotation of each matrix's inputs in blocks, and a factor for each output.",
        "Liu et al. 2024, arXiv:2311.06243",
        "boft_block_size",
        lambda O, I, b: I * b + O,
        lambda O, I, b: b > 1 and I % b == 0,
        options={"boft_n_butterfly_factor": 1},  # PEFT takes no more where it cannot compile for CUDA
    ),
    Entry(
        "hra",
        "HRAConfig",
        "HRA: a trained chain of Householder reflections of each matrix's inputs.",
        "Yuan et al. 2024, arXiv:2405.17484",
        "r",
        lambda O, I, r: r * I,
        lambda O, I, r: r % 2 == 0 and r <= I,  # pairs of equal reflections undo one another at the start
    ),
    Entry(
        "fourierft",
        "FourierFTConfig",
        "FourierFT: trained coefficients at frequencies of the update's Fourier transform drawn at random.",
        "Gao et al. 2024, arXiv:2405.03003",
        "n_frequency",
        lambda O, I, n: n,
        lambda O, I, n: n <= O * I,
        seed="random_loc_seed",
        options={"init_weights": True},
    ),
    Entry(
        "shira",
        "ShiraConfig",
        "SHiRA: entries of each matrix drawn at random, once.",
        "Bhardwaj et al. 2024, arXiv:2406.13175",
        "r",
        low_rank,
        seed="random_seed",
    ),
    Entry(
        "randlora",
        "RandLoraConfig",
        "RandLoRA: a full-rank update as a trained weighting of frozen random low-rank products.",
        "Albert et al. 2025, arXiv:2502.00987",
        "r",
        lambda O, I, r: -(-min(O, I) // r) * (r + min(O, I)),
        alpha="randlora_alpha",
        alpha_of=20,  # as PEFT's own default: 640 at rank 32
        seed="projection_prng_key",
        options={"save_projection": False},
    ),
    Entry(
        "c3a",
        "C3AConfig",
        "C3A: an update of trained circulant blocks.",
        "Chen et al. 2024, arXiv:2407.19342",
        "block_size",
        lambda O, I, b: O * I // b,
        lambda O, I, b: O % b == 0 and I % b == 0,
        options={"init_weights": True},
    ),
    Entry(
        "road",
        "RoadConfig",
        "RoAd: trained rotations and scales of pairs of outputs.",
        "Liao and Monz 2024, arXiv:2409.00119",
        "group_size",
        lambda O, I, g: O,
        lambda O, I, g: g % 2 == 0 and g <= 64 and O % g == 0,  # the outputs that are paired
    ),
    Entry(
        "delora",
        "DeloraConfig",
        "DeLoRA: LoRA with normalized directions and a trained bound of the update's norm.",
        "Bini et al. 2025, arXiv:2503.18225",
        "r",
        lambda O, I, r: r * (O + I) + 1,
    ),
    Entry(
        "psoft",
        "PsoftConfig",
        "PSOFT: a trained rotation within the span of each matrix's leading singular directions.",
        "Wu et al. 2026, ICLR, openreview.net/forum?id=FSHrinMArK",
        "r",
        lambda O, I, r: r * (r - 1) // 2 + 2 * r,
        alpha="psoft_alpha",
    ),
    Entry(
        "miss",
        "MissConfig",
        "MiSS: a trained matrix of few rows, repeated along the inputs.",
        "Kang and Yin 2024, arXiv:2409.15371",
        "r",
        lambda O, I, r: r * O,
        lambda O, I, r: r <= I,
    ),
    Entry(
        "loha",
        "LoHaConfig",
        "LoHa: an elementwise product of two low-rank products.",
        "Hyeon-Woo et al. 2022, arXiv:2108.06098",
        "r",
        lambda O, I, r: 2 * r * (O + I),
        alpha="alpha",
    ),
    Entry(
        "hira",
        "HiraConfig",
        "HiRA: an elementwise product of the matrix itself and a low-rank product.",
        "Huang et al. 2025, ICLR, openreview.net/forum?id=TwJrTz9cRS",
        "r",
        low_rank,
    ),
    Entry(
        "gralora",
        "GraloraConfig",
        "GraLoRA: a LoRA of its own for each quarter of the matrix.",
        "Jung et al. 2025, arXiv:2505.20355",
        "r",
        low_rank,
        lambda O, I, r: O % 2 == I % 2 == r % 2 == 0 and r <= min(O, I),
        alpha="alpha",
    ),
    Entry(
        "deft",
        "DeftConfig",
        "DEFT: a trained low-rank part of the matrix is taken away and another put in its place.",
        "DEFT: Decompositional Efficient Fine-Tuning, NeurIPS 2025",
        "r",
        low_rank,
    ),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}


def order_and_colour(name: str) -> tuple[int, str]:
    """Returns where a method stands in tables, LoRA before all sparse ones, and a colour of its own."""
    if name == "lora":
        return 10, "#c1651a"
    position = next((n for n, entry in enumerate(ENTRIES) if entry.name == name), len(ENTRIES))
    red, green, blue = colorsys.hls_to_rgb(0.618 * position % 1, 0.42, 0.5)
    return 100 + position, f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
