"""Errors of input and of work, and the causes of failed work."""

import difflib
import errno
from collections.abc import Iterable


class InputError(ValueError):
    """Bad usage or bad input (exit code 2).

    The message is one line: what is wrong, where (option, file, line), and what would be right.
    """


class WorkError(RuntimeError):
    """The work itself failed (exit code 1): the disk filled up, the loss diverged, a file was cut short."""


class DeviceError(WorkError):
    """A CUDA error other than out of memory: this process cannot use the device any more."""


class DiskError(WorkError):
    """Files cannot be written: the disk is full or read-only, so no other run can write its files either."""


class UnreadableResultWarning(UserWarning):
    """A result that cannot be read is left out, and the rest goes on."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is not known: the known ones and the nearest."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no {what} {name!r}, there are {', '.join(names)}{hint}"


OUT_OF_MEMORY = (
    "out of memory",  # "CUDA out of memory", "CUDA error: out of memory", "CUDA driver error: out of memory"
    "_ALLOC_FAILED",  # CUBLAS_STATUS_ALLOC_FAILED; likewise cuDNN, cuSOLVER, cuSPARSE and cuFFT
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "can't allocate memory",  # torch's allocator on a CPU
    "Cannot allocate memory",  # errno ENOMEM
    "std::bad_alloc",
)
DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "device-side assert", "cuDNN error", "CUBLAS_STATUS_")


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception says that the memory of the device or of the machine ran out."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OutOfMemoryError", "MemoryError"}) or any(s in str(error) for s in OUT_OF_MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Returns whether an exception leaves the CUDA device unusable for the rest of this process."""
    return not is_out_of_memory(error) and any(s in str(error) for s in DEVICE_ERRORS)


def is_disk_full(error: BaseException) -> bool:
    """Returns whether an exception says that files cannot be written; safetensors says it only in words."""
    cannot_write = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return cannot_write or any(s in str(error) for s in ("No space left", "file write failed"))
