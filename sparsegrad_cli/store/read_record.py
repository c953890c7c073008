"""Our own JSON files, read back."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pydantic

from ..errors import InputError
from .schema import Record

Kind = TypeVar("Kind", bound=Record)


def read_record(kind: type[Kind], path: Path, advice: str) -> Kind:
    """A record from the file that it was written to.

    Args:
        advice: what to do about a file that is not what it should be.

    Raises:
        InputError: the file is missing, or holds something else; names it.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: missing, though what belongs with it is there") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        place = "".join(f"{part}: " for part in problem["loc"])
        raise InputError(
            f"{path}: not one that sparsegrad wrote ({place}{problem['msg']}); {advice}"
        ) from None
