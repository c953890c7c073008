"""Files of a Hugging Face hub repository, or of its copy in the cache; each way to fail is one line."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils import tqdm

from ..errors import InputError, WorkError

TIMEOUT = 10  # seconds for the hub's first answer
BUSY = (408, 429)  # HTTP status codes that, as all from 500 on, say nothing about the repository
# as `datasets` reads it
DATASETS_OFFLINE = os.environ.get("HF_DATASETS_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, and how messages name it and what would do without it."""

    id: str
    kind: Literal["model", "dataset"]
    option: str  # what the user asked with: "--model roberta-base"
    instead: str  # what works without the hub: "a local directory or --model demo"

    @property
    def page(self) -> str:
        """The address of its page, for a browser."""
        folder = "datasets/" if self.kind == "dataset" else ""
        return f"{constants.ENDPOINT}/{folder}{self.id}"


class _NoBar(tqdm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


def fetch(
    repository: Repository, files: Sequence[str], commit: str | None = None, progress: bool = False
) -> Path:
    """Download files of a repository, unless the cache has them.

    Where the hub cannot be asked (no network, offline mode, its own failure), the cached copy is taken.

    Args:
        repository: what to read.
        files: patterns of file names, as in `fnmatch`.
        commit: the revision; None takes the newest, or the newest in the cache.
        progress: whether to show a bar on a terminal.

    Returns:
        The folder of the snapshot, named from its commit. A file that the repository does not have is not
        there; nor, where the cached copy is taken, is one that was never downloaded.

    Raises:
        InputError: there is no such repository, or no access to it, or neither hub nor cached copy.
        WorkError: the cache cannot be written.
    """
    with _only_errors_logged():
        trouble = None
        try:
            trouble = None if commit else _trouble(repository)
            folder = snapshot_download(
                repository.id,
                repo_type=repository.kind,
                revision=commit,
                allow_patterns=list(files),
                local_files_only=trouble is not None,
                tqdm_class=None if progress and sys.stderr.isatty() else _NoBar,
            )
        except GatedRepoError:
            raise _gated(repository) from None
        except IncompleteSnapshotError as error:
            folder = error.snapshot_path
        except (LocalEntryNotFoundError, FileMetadataError, HTTPError) as error:
            raise _unreachable(repository, trouble or _explain(error.__cause__ or error)) from None
        except OSError as error:
            if error.errno not in DISK_TROUBLE:
                raise
            where = error.filename or constants.HF_HUB_CACHE
            raise WorkError(
                f"cannot write to the hub's cache, {where} ({error.strerror}): set HF_HOME to a folder that "
                "can be written"
            ) from None
    return Path(folder)


def _trouble(repository: Repository) -> str | None:
    """Ask the hub for the repository; returns why the hub cannot be asked, or None where all is well.

    `snapshot_download` asks the same, but waits without a limit.

    Raises:
        InputError: the hub says that there is no such repository or that it is closed to us.
    """
    if repository.kind == "dataset" and DATASETS_OFFLINE:
        return "offline mode is on (HF_DATASETS_OFFLINE)"
    try:
        HfApi().repo_info(repository.id, repo_type=repository.kind, timeout=TIMEOUT)
    except GatedRepoError:
        raise _gated(repository) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{repository.option}: the hub shows no {repository.kind} {repository.id!r}; check the name, "
            f"log in with hf auth login if it is private, or take {repository.instead}"
        ) from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code < 500 and code not in BUSY:
            raise InputError(f"{repository.option}: {_explain(error)}; see {repository.page}") from None
        return _explain(error)
    except (HTTPError, OfflineModeIsEnabled, json.JSONDecodeError) as error:
        return _explain(error)
    return None


def _explain(error: BaseException) -> str:
    """Returns what went wrong between us and the hub."""
    hub = constants.ENDPOINT
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is on (HF_HUB_OFFLINE)"
    if isinstance(error, HfHubHTTPError):
        return f"the hub ({hub}) answers {error.response.status_code} {error.response.reason_phrase}"
    if isinstance(error, json.JSONDecodeError | FileMetadataError):
        return f"what answers at {hub} is not the hub: check HF_ENDPOINT and the proxy"
    detail = " ".join(str(error).split())
    return f"the hub ({hub}) cannot be reached: {type(error).__name__}{f', {detail}' if detail else ''}"


def _unreachable(repository: Repository, trouble: str) -> InputError:
    way_out = "unset it" if trouble.startswith("offline") else "try again later"
    return InputError(
        f"{repository.option}: {trouble}, and the cache ({constants.HF_HUB_CACHE}) holds no whole copy; "
        f"{way_out}, or take {repository.instead}"
    )


def _gated(repository: Repository) -> InputError:
    return InputError(
        f"{repository.option}: access to it is gated; accept its terms at {repository.page} and log in with "
        f"hf auth login (or set HF_TOKEN), or take {repository.instead}"
    )


@contextmanager
def _only_errors_logged() -> Iterator[None]:
    """Log errors alone: the library logs each retry, and the message in the end says it all."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)
