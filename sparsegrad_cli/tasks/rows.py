"""Rows of a data file, in the formats that data comes in, each with its place for messages.

Lines end at a newline and nowhere else: GLUE's texts hold U+2028, U+0085 and the like. A .tsv is read
with no quoting, as GLUE's were written; a .csv with the usual double quotes. Blank lines hold no row.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError

FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


class InvalidRowError(ValueError):
    """A row that cannot be used.

    Args:
        message: what is wrong with it.
        reason: the same without its values, to count such rows by.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


Row = Mapping[str, object] | InvalidRowError


@dataclass(frozen=True)
class Rows:
    """The rows of one split, as they were found."""

    source: str  # a path, or what else they came from
    numbered: Iterable[tuple[int, Row]]  # each with its line, or where there are no lines its number, from 1
    by_line: bool = True
    names: Mapping[str, str] = field(default_factory=dict)  # our name of a column -> theirs, where it differs

    def place(self, number: int) -> str:
        """Returns where a row is, to begin a message with."""
        return f"{self.source}:{number}" if self.by_line else f"{self.source}, row {number}"


def read_rows(
    path: Path,
    needed: Collection[str],
    names: Mapping[str, str],
    columns: Collection[str] | None = None,
    optional: Collection[str] = (),
) -> Rows:
    """Open a data file by its ending; rows are read as they are asked for.

    Args:
        path: a file with one of the endings of `FORMATS`.
        needed: our names of the columns that every row must have.
        names: our name of a column -> the file's, where it differs.
        columns: all columns, in order, of a .tsv or .csv without a header line.
        optional: more columns of a .parquet to read where it has them; the other formats give all there are.

    Raises:
        InputError: here or while rows are read: the file cannot be read, is empty, has a broken line
            or lacks a column.
    """
    theirs = [names.get(column, column) for column in needed]
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending in ("tsv", "csv"):
        cells = _tsv_lines(path) if ending == "tsv" else _csv_records(path)
        return Rows(str(path), _table(path, cells, theirs, columns), names=names)
    if columns is not None and ending in ("jsonl", "parquet"):
        raise InputError(
            f"{path}: its rows name their columns, and `columns` is for .tsv and .csv files without a header "
            "line: leave it out of the task"
        )
    if ending == "jsonl":
        checked = ((number, _whole(row, theirs)) for number, row in json_lines(path, theirs))
        return Rows(str(path), checked, names=names)
    if ending == "parquet":
        return Rows(str(path), parquet_rows([path], str(path), theirs, optional), by_line=False, names=names)
    raise InputError(f"{path}: not a data file by its ending: {', '.join(FORMATS)} are read")


def as_text(column: str, value: object) -> str:
    """Returns the value of a text column; raises InvalidRowError if it is not a text."""
    if not isinstance(value, str):
        what = "missing" if value is None else repr(value)
        raise InvalidRowError(f"{column} is {what}, not a text", f"{column} is not a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRowError(
                f"{column} holds half a surrogate pair, which is not a character", f"{column} is not Unicode"
            ) from None
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, from 1, without a byte order mark."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number}: not UTF-8: {error.reason} at byte {error.start}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def json_lines(path: Path, keys: Collection[str] = ()) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects of a file of JSON lines with their line numbers, from 1.

    Args:
        keys: that an object should have; named for a line that is no object.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object; names it.
    """
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: broken JSON: {error.msg} at column {error.colno}") from None
        except RecursionError:
            raise InputError(f"{path}:{number}: JSON nested too deep to read") from None
        if not isinstance(row, dict):
            hint = f", with {', '.join(keys)}" if keys else ""
            raise InputError(f"{path}:{number}: not a JSON object: each line is one{hint}")
        yield number, row


def _whole(row: Mapping[str, object], columns: Collection[str]) -> Row:
    """Returns a row, if it has these columns."""
    missing = next((column for column in columns if column not in row), None)
    if missing is None:
        return row
    return InvalidRowError(_absent(missing, row), f"no column {missing!r}")


def _tsv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(path):
        if line := line.removesuffix("\n").removesuffix("\r"):
            yield number, line.split("\t")


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}:{number}: broken CSV: {error}") from None
        if cells:
            yield number, cells


def _table(
    path: Path, lines: Iterator[tuple[int, list[str]]], needed: list[str], columns: Iterable[str] | None
) -> Iterator[tuple[int, Row]]:
    names = list(columns) if columns else next(lines, (1, []))[1]
    if not names:
        raise InputError(f"{path}: empty: the first line names the columns")
    hint = "" if columns else "; of a file without a header line, `columns` of the task names the columns"
    require(needed, names, f"{path}:1", hint)
    for number, cells in lines:
        if len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
        else:
            message = f"{len(cells)} columns, not the {len(names)} of {', '.join(names)}"
            yield number, InvalidRowError(message, "another number of columns")


def parquet_rows(
    files: Sequence[Path], place: str, needed: Collection[str], optional: Collection[str], hint: str = ""
) -> Iterator[tuple[int, Row]]:
    """Yield the rows of parquet files that belong together, numbered from 1.

    Args:
        place: what the files are, to begin a message with.
        needed: columns that they must have.
        optional: columns to read where they have them.
        hint: what to do about a file that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        there = pq.read_schema(files[0]).names
        require(needed, there, place)
        table = pq.read_table(files, columns=[name for name in there if name in (*needed, *optional)])
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{place}: cannot be read: {reason}{hint}") from None
    yield from enumerate(table.to_pylist(), 1)


def require(columns: Collection[str], there: Collection[str], place: str, hint: str = "") -> None:
    """Raise InputError, which begins with `place`, where one of the columns is not there."""
    for column in columns:
        if column not in there:
            raise InputError(f"{place}: {_absent(column, there)}{hint}")


def _absent(column: str, there: Collection[str]) -> str:
    return f"no column {column!r}, there are {', '.join(there) or 'none'}"
