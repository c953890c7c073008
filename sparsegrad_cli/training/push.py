"""An exported run goes to the hub, when it is told to."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from ..errors import InputError, WorkError


def push_folder(folder: Path, name: str, base: str, private: bool = False) -> str:
    """Upload a folder as a model of the hub; its card gets the licence of the base model, where one is known.

    Args:
        folder: with a card, as `export.export_run` leaves it.
        name: `user/name`; the repository is made if there is none.
        base: what the run began with.

    Returns:
        The address of the commit.

    Raises:
        InputError: the name is none, or nobody is logged in.
        WorkError: the hub cannot be reached, or refuses.
    """
    api = HfApi()
    try:
        licence = _licence_of(api, base)
        if licence is not None:
            card = ModelCard.load(folder / "README.md")
            card.data.license = licence
            card.save(folder / "README.md")
        api.create_repo(name, private=private or None, exist_ok=True)
        message = "Upload by sparsegrad push"
        commit = api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    except HFValidationError as error:
        raise InputError(f"{name}: {error}") from None
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403):
            raise InputError(
                f"{name}: the hub refuses ({error.response.status_code}): log in with `hf auth login` as "
                "somebody who may write there"
            ) from None
        raise WorkError(f"{name}: the hub did not take it ({error})") from error
    except (OSError, OfflineModeIsEnabled) as error:
        message = f"{name}: the hub cannot be reached ({error}): the same command tries again"
        raise WorkError(message) from error
    return str(commit.commit_url)


def _licence_of(api: HfApi, base: str) -> str | None:
    """Returns the licence that the base model's card names."""
    if Path(base).exists() or "/" not in base:
        return None
    try:
        data = api.model_info(base).card_data
    except RepositoryNotFoundError:
        return None
    found = None if data is None else data.get("license")
    return found if isinstance(found, str) else None
