"""`sparsegrad calibrate`: find and save the basis, and show how sparse it makes the gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..config import BASIS_SETTINGS, Given
from ..errors import InputError
from ..settings import WHAT
from . import options as opt

if TYPE_CHECKING:
    from torch import Tensor

    from ..core import Basis


@opt.takes_settings(BASIS_SETTINGS)
def calibrate(
    *,
    task: opt.Task,
    seed: Annotated[
        list[int],
        opt.option("--seed", min=0, help="Random seed; repeatable.", panel=WHAT, show_default=True),
    ] = [0],  # noqa: B006
    given: Given,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
) -> int:
    """Find the basis in which a model's MLP gradients are nearly sparse, and save it.

    `sparsegrad finetune` with the same model, task, data and seed finds it again.
    """
    from ..models.checkpoint import fetch_weights
    from ..models.load import on_device
    from ..store.basis_file import load_basis
    from ..training.basis import basis_path, calibrate_and_save
    from ..training.inputs import quiet_libraries
    from ..training.resolve import resolve
    from ..training.run import load_model
    from .finetune import print_left_out
    from .progress import Display

    if given.get("precision") in ("tf32", "bf16"):
        raise InputError(
            f"--precision {given['precision']}: a basis is always computed in float32; leave the option out"
        )
    quiet_libraries(downloads=not (quiet or as_json))
    configs, sources = resolve({**given, "task": task}, ["sparsegrad"], seed)
    print_left_out(sources.data, quiet)
    if not dry_run:
        fetch_weights(sources.checkpoint)
    found = []
    with Display(quiet) as display:
        for config in configs:
            inputs = sources.inputs(config)
            path = basis_path(config, inputs, output)
            if dry_run:
                found.append({"seed": config.seed, "basis": str(path), "exists": path.exists()})
                continue
            line = display.line(f"{config.task} seed {config.seed}")
            if not path.exists():
                model = on_device(load_model(config, inputs).model, config.device)
                calibrate_and_save(model, config, inputs, path, line)
            line.remove()
            kinds = _describe(load_basis(path))
            found.append({"seed": config.seed, "basis": str(path), "kinds": kinds})
    if as_json:
        print(json.dumps({"model": configs[0].model, "task": configs[0].task, "bases": found}, indent=2))
    elif dry_run:
        for entry in found:
            print(f"seed {entry['seed']}: {entry['basis']}", "(is there)" if entry["exists"] else "(to do)")
    else:
        _print(found)
    return 0


def _describe(basis: Basis) -> dict[str, dict]:
    """Returns, for each kind, the energy in the top 1% before and after, and the spectra of both sides."""
    described = {}
    for kind, b in basis.kinds.items():
        before, after = (None, None) if b.concentration is None else b.concentration.tolist()
        described[kind] = {
            "shape": list(b.shape),
            "top1_energy_before": before,
            "top1_energy_after": after,
            "rank": list(b.rank),
            "energy_kept": {"V": _sum(b.V_energy), "U": _sum(b.U_energy), "both": _sum(b.energy)},
            "directions_for_90_percent": {"V": _directions(b.V_energy), "U": _directions(b.U_energy)},
            "spectrum": {"V": b.V_energy.tolist(), "U": b.U_energy.tolist()},
        }
    return described


def _directions(energy: Tensor, share: float = 0.9) -> int | None:
    """Returns the number of leading directions that carry `share` of the energy; None: some are cut off."""
    count = int((energy.cumsum(0) < share).sum()) + 1
    return count if count <= len(energy) else None


def _sum(shares: Tensor | None) -> float | None:
    return None if shares is None else shares.double().sum().item()


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.1f}%"


def _print(found: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    is_truncated = any(kind["rank"] != kind["shape"] for entry in found for kind in entry["kinds"].values())
    headings = ["O x I", "top 1%, before", "top 1%, in the basis", "90%: V", "90%: U"]
    for entry in found:
        table = Table(title=f"seed {entry['seed']}", title_justify="left", box=None, pad_edge=False)
        table.add_column("MLP linear")
        for heading in headings + is_truncated * ["kept: V", "U", "both, unseen"]:
            table.add_column(heading, justify="right")
        for kind, numbers in entry["kinds"].items():
            O, I = numbers["shape"]
            directions = numbers["directions_for_90_percent"]
            table.add_row(
                kind,
                f"{O} x {I}",
                _percent(numbers["top1_energy_before"]),
                _percent(numbers["top1_energy_after"]),
                f"{directions['V'] or 'more'} of {O}",
                f"{directions['U'] or 'more'} of {I}",
                *(is_truncated * [_percent(share) for share in numbers["energy_kept"].values()]),
            )
        console.print(table)
        console.print(f"saved in {entry['basis']}", highlight=False, soft_wrap=True)
    note = (
        "top 1%: share of an unseen gradient's energy (sum of squares) in its largest 1% of entries;\n"
        "90%: how many directions carry nine tenths of the energy of the calibration's gradients."
    )
    if is_truncated:
        note += "\nkept: share of it in the leading directions; of an unseen gradient's in those of both."
    console.print(note, style="dim", highlight=False)
