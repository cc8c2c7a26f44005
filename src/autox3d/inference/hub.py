"""Uploads a folder of weights to Hugging Face, with a card that its pages read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]
)

from autox3d.core.errors import Refused
from autox3d.vision.models import weights

LOGIN = "Type: hf auth login"


def push(folder: Path, repository: str, dataset: str = "", private: bool = False) -> str:
    """Uploads a copy of the folder, whose card is completed as by `autox3d pack`.

    Args:
        repository: `name` or `organisation/name`; it is made if it is not there

    Returns:
        the address of the repository.

    Raises:
        Refused: the folder cannot be read, there is no token, or Hugging Face does not take it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        weights.complete(folder, copy, None, None, dataset=dataset)
        if huggingface_hub.get_token() is None:
            raise Refused(f"{repository}: there is no token for Hugging Face. {LOGIN}")
        hub = huggingface_hub.HfApi(library_name="autox3d")
        try:
            made = hub.create_repo(repository, private=private, exist_ok=True)
            hub.upload_folder(repo_id=made.repo_id, folder_path=copy)
        except (HTTPError, HFValidationError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise Refused(
                f"{repository}: not uploaded ({reason}). Nothing here changed."
            ) from error
    return str(made)
