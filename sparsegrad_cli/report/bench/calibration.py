"""A comparison of calibrations as tables."""

from __future__ import annotations

from ...bench.folder import Bench
from ...bench.schema import CalibrationConfig, CalibrationResult, CalibrationRow
from ..layout import Part
from ..numbers import DASH, megabytes, speed
from ..section import Section
from .caption import code, machine, model, short_name
from .paper import paper_calibration_seconds

WAYS = {"sums": "running sums (ours)", "svd": "stack and SVD (paper)"}
LEGEND = {
    "seconds": "passes over the batches and decomposition; gradients: the passes alone",
    "added": "peak above the model, passes included: resident set on a CPU, allocator on CUDA",
    "stack": "bytes of the gradients that the paper's way holds at once, without its SVD",
    "keeps": "share of the energy (sum of squares) in the gradients that the basis is made from; "
    "unseen: by both sides, of one more batch",
    "angle": "largest principal angle between the leading directions of both, those that carry 90% of the "
    "energy; 0° is the same space, whatever the signs",
}


def calibration_section(bench: Bench) -> Section:
    """The section of `bench calibrate`."""
    config, result = bench.config, bench.result
    assert isinstance(config, CalibrationConfig)
    assert isinstance(result, CalibrationResult)
    rows = result.rows
    base = next((row.seconds for row in rows if row.by == "svd"), None)
    costs = [
        _part("calibration", [WAYS[row.by] for row in rows]),
        _part("batches", [str(row.steps) for row in rows]),
        _part("seconds", [speed(row.seconds) for row in rows]),
        _part("gradients", [speed(row.gradient_seconds) for row in rows]),
        _part("vs SVD", [_share(row, base, config.steps) for row in rows]),
        _part("added MB", [megabytes(row.added_bytes) for row in rows]),
    ]
    found = result.agreement
    agreement = [
        _part("MLP linear", [f"{a.kind} {a.side}" for a in found]),
        _part("directions", [f"{a.directions} of {a.size}" for a in found]),
        _part("cosine", [f"{a.cosine:.6f}" for a in found]),
        _part("angle", [f"{a.degrees:.3f}°" for a in found]),
    ]
    sizes = [
        _part("MLP linear", [size.kind for size in result.kinds]),
        _part("O × I", [_product(size.shape) for size in result.kinds]),
        _part("stack MB", [megabytes(size.stack_bytes) for size in result.kinds]),
    ]
    if config.basis_rank is not None:
        sizes += [
            _part("basis", [_product(size.rank) for size in result.kinds]),
            _part("V keeps", [f"{100 * size.v_keeps:.2f}%" for size in result.kinds]),
            _part("U keeps", [f"{100 * size.u_keeps:.2f}%" for size in result.kinds]),
            _part("unseen", [_percent(size.both_keep) for size in result.kinds]),
        ]
    paper = paper_calibration_seconds(config.model)
    shape = f"{config.batch_size} × {config.length}, {config.task or 'random tokens'}"
    told = {
        "ran on": machine(bench),
        "model": model(config),
        "batches": shape,
        "paper": f"{paper:g} s on a Xeon" if paper else "",
        "code": code(bench.environment),
        "seconds": LEGEND["seconds"],
        "added": LEGEND["added"],
        "stack": LEGEND["stack"] if result.kinds else "",
        "keeps": LEGEND["keeps"] if config.basis_rank is not None else "",
        "angle": LEGEND["angle"] if found else "",
    }
    return Section(
        title=f"{short_name(config.model)}: calibration by {config.steps} batches",
        grids=[costs, *([sizes] if result.kinds else []), *([agreement] if found else [])],
        notes=[f"{WAYS[row.by]}: {row.status} ({row.error})" for row in rows if row.status != "done"],
        caption={name: text for name, text in told.items() if text},
    )


def _product(shape: tuple[int, int]) -> str:
    return f"{shape[0]} × {shape[1]}"


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.2f}%"


def _part(head: str, texts: list[str]) -> Part:
    return Part([head], [[text] for text in texts])


def _share(row: CalibrationRow, base: float | None, steps: int) -> str:
    if row.seconds is None or not base or row.steps != steps:
        return DASH
    return f"{row.seconds / base:.2f}"
