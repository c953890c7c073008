"""`sparsegrad report`: what was found, in sentences, tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import glue_zip as glue
from . import options as opt

Compare = Literal["paper"]


def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Results folders, single runs, or result files of PEFT. Default: results.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        Compare | None,
        typer.Option(help="Add the paper's tables, ours beside them.", show_default=False),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Compare every other method with this one. Default: sparsegrad with each of the others.",
            show_default=False,
        ),
    ] = None,
    checklist: Annotated[
        bool,
        typer.Option("--checklist", help="Print ACL's reproducibility items, filled in from the folders."),
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="md,latex,html,csv",
            help="What to write: some of these, with commas or repeated. Default: md,csv.",
            show_default=False,
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the files. Default: the first folder.",
            show_default=False,
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    glue_zip: glue.GlueZip = None,
    method: glue.OfMethod = None,
    seed: glue.OfSeed = None,
    model: glue.OfModel = None,
    protocol: glue.OfProtocol = None,
    fill_missing: glue.FillMissing = None,
    as_json: opt.Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Write the files, print no tables.", rich_help_panel=opt.OUTPUT)
    ] = False,
) -> int:
    """Print what was found, and write it with figures as files."""
    folders = folders or [Path("results")]
    choice = {"method": method, "seed": seed, "model": model, "protocol": protocol}
    if glue_zip is not None:
        unused = {"output": output, "format": formats, "compare": compare, "baseline": baseline}
        glue.refuse("of no use with --glue-zip, which makes no report", **unused, checklist=checklist or None)
        glue.write_glue_zip(glue_zip, folders, choice, fill_missing, as_json, quiet)
        return 0
    glue.refuse("only with --glue-zip; a report shows every run", **choice, fill_missing=fill_missing)
    from rich.console import Console

    from ..report import build_report
    from ..report.render import DEFAULT_FORMATS, read_formats

    chosen = read_formats(formats) if formats else DEFAULT_FORMATS
    made = build_report(folders, compare=compare is not None, baseline=baseline)
    if checklist:
        why = "of no use with --checklist, which prints to the terminal"
        glue.refuse(why, output=output, format=formats, compare=compare, json=as_json or None)
        print(made.checklist(), end="")
        return 0
    first = folders[0].parent if folders[0].is_file() else folders[0]
    written = made.write(output or first, chosen)
    if as_json:
        print(json.dumps({**made.to_json(), "files": [str(path) for path in written]}, indent=2))
    elif not quiet:
        made.print(Console())
        figures = len(written) - len(chosen)
        counted = f" and {figures} figure{'' if figures == 1 else 's'}" if figures else ""
        paths = ", ".join(map(str, written[: len(chosen)]))
        Console(stderr=True).print(
            f"written: {paths}{counted}", markup=False, highlight=False, soft_wrap=True
        )
    return 0
