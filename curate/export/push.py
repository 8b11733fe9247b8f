"""An exported dataset to the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from curate.errors import ConfigError, StageError
from curate.hub import hub_trouble

_FILES = ["README.md", "dataset_info.json", "data/*.parquet"]


def push(folder: Path, repo: str, *, message: str, private: bool = True) -> str:
    """Upload the Parquet files and the card of an export; return the new commit's id.

    The repository (`owner/name`) is made if it is not there, private unless told otherwise;
    an existing one keeps its visibility, and its older Parquet files go in the same commit. The
    token is the environment's HF_TOKEN or the login of `hf auth login`, and is kept nowhere.
    Raises ConfigError for a folder that is no export, a bad name or a refused token, and
    StageError where the Hub fails.
    """
    if not (folder / "README.md").is_file() or not list(folder.glob("data/*.parquet")):
        raise ConfigError(f"{folder} holds no exported dataset; run the pipeline to its end first")
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo):
        raise ConfigError(f"{repo!r} is no repository name; write owner/name")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    api = HfApi(library_name="curate")
    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=_FILES,
            delete_patterns=["data/*.parquet"],
            commit_message=message,
        )
    except LocalTokenNotFoundError:
        raise ConfigError("no Hub token; set HF_TOKEN or run `hf auth login`") from None
    except Exception as error:
        why = hub_trouble(error)
        if why is None:
            raise
        code = getattr(getattr(error, "response", None), "status_code", None)
        if code in (401, 403):
            raise ConfigError(
                f"{repo} is not written: {why} (HTTP {code}); "
                "set HF_TOKEN to a token that may write there"
            ) from None
        raise StageError(f"{repo} is not written: {why}; try again") from None
    return str(commit.oid)
