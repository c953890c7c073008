"""From what a user asked for to the rows that are measured, checked before any process is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import PositiveInt

from ..core import FORMS, SUPPORTS
from ..errors import InputError, unknown
from ..methods import get_method, method_names
from ..training.checks import check_basis_rank, check_density, check_sizes
from ..training.configure import LARGE_HIDDEN_SIZE, LORA_RANK, LORA_RANK_LARGE
from ..training.option_checks import HOLDS_ROTATED
from ..training.recipe import GLUE
from .schema import BenchConfig, CalibrationConfig, RowSpec
from .subject import Found, SubjectChoices, find

ORDER = ("ft", "lora", "meprop", "sparsegrad")
BURN_IN = {"cpu": 2, "cuda": 10}
PROBE_STEPS = 2  # batches beyond the calibration's, that give a confined support its energies


@dataclass(frozen=True)
class Choices(SubjectChoices):
    """What is measured of it."""

    methods: Sequence[str] = ()
    forms: Sequence[str] = ()
    supports: Sequence[str] = ()
    freeze_rest: bool | None = None
    density: float | None = None
    kept: PositiveInt | None = None
    rank: PositiveInt | None = None
    basis_rank: PositiveInt | None = None
    calibration_steps: PositiveInt = 4
    rounds: PositiveInt = 3
    steps: PositiveInt = 5
    burn_in: PositiveInt | None = None


def plan(choices: Choices, from_shapes: bool = False) -> tuple[BenchConfig, Found]:
    """Finds model and data, fills in the defaults, and checks that all fit together.

    Args:
        from_shapes: see `find`.

    Raises:
        InputError: anything that is wrong with what was asked for.
    """
    rows = choose_rows(choices.methods, choices.forms, choices.supports, choices.basis_rank)
    _check_options(choices, [row.method for row in rows])
    found = find(choices, from_shapes)
    check_sizes(choices.model, found.shapes, choices.kept, choices.rank)
    density = choices.density if choices.density or choices.kept else GLUE.density
    if choices.basis_rank is not None:
        check_basis_rank(found.shapes, choices.basis_rank, choices.kept, density)
    large = found.skeleton.config.hidden_size >= LARGE_HIDDEN_SIZE
    config = BenchConfig(
        **found.subject.model_dump(),
        rows=tuple(rows),
        freeze_rest=GLUE.freeze_rest if choices.freeze_rest is None else choices.freeze_rest,
        density=density,
        kept=choices.kept,
        rank=choices.rank or (LORA_RANK_LARGE if large else LORA_RANK),
        basis_rank=choices.basis_rank,
        calibration_steps=choices.calibration_steps,
        rounds=choices.rounds,
        steps=choices.steps,
        burn_in=BURN_IN[found.subject.device] if choices.burn_in is None else choices.burn_in,
    )
    return config, found


def plan_calibration(
    choices: SubjectChoices, steps: int, basis_rank: int | None = None, stack: bool = True
) -> tuple[CalibrationConfig, Found]:
    """The same for a comparison of calibrations by `steps` batches."""
    found = find(choices)
    config = CalibrationConfig(**found.subject.model_dump(), steps=steps, basis_rank=basis_rank, stack=stack)
    return config, found


def choose_rows(
    methods: Sequence[str], forms: Sequence[str], supports: Sequence[str], basis_rank: int | None = None
) -> list[RowSpec]:
    """A row for each method; of sparsegrad one for each form and each confined support.

    Args:
        methods: none: all.
        forms, supports: where either is given, only the rows that they name.
        basis_rank: of a truncated basis, which not every form takes; the form "corner" is for it alone.

    Raises:
        InputError: a name that is not known, a form or support without sparsegrad, or a form that does not go
            with the basis.
    """
    for option, given, known in (
        ("method", methods, method_names()),
        ("form", forms, FORMS),
        ("support", supports, SUPPORTS),
    ):
        for name in given:
            if name not in known:
                raise InputError(f"--{option}: {unknown(option, name, known)}")
    not_for = ("corner",) if basis_rank is None else HOLDS_ROTATED
    for form in forms:
        if form in not_for:
            wants = "give --basis-rank" if basis_rank is None else "leave --basis-rank out"
            raise InputError(f"--form {form}: {wants}, or take another form")
    names = [name for name in sorted(method_names(), key=_place) if not methods or name in methods]
    if "sparsegrad" not in names and (forms or supports):
        raise InputError("--form and --support are of --method sparsegrad: add it, or leave them out")
    rows = []
    for name in names:
        if name != "sparsegrad":
            rows.append(RowSpec(method=name))
            continue
        all_rows = not forms and not supports
        wants_dynamic = all_rows or (not forms and "dynamic" in supports)
        dynamic = [form for form in FORMS if form not in not_for] if wants_dynamic else forms
        rows += [RowSpec(method=name, form=form, support="dynamic") for form in FORMS if form in dynamic]
        confined = [support for support in SUPPORTS if support != "dynamic"]
        rows += [RowSpec(method=name, support=s) for s in confined if all_rows or s in supports]
    return rows


def _place(method: str) -> int:
    return ORDER.index(method) if method in ORDER else len(ORDER)


def _check_options(choices: Choices, methods: Sequence[str]) -> None:
    check_density(choices.density, choices.kept)
    for option in ("density", "kept", "rank", "basis_rank"):
        if getattr(choices, option) is not None and not any(
            option in get_method(name).options for name in methods
        ):
            flag = "--" + option.replace("_", "-")
            raise InputError(f"{flag} is not used by --method {', '.join(methods)}: leave it out")
