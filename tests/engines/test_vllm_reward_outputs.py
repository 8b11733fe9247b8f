"""Apart from `test_vllm_reward`: a load that fails ends the other vLLM engines of the process."""

import pytest
import tiny_models

from curate.engines.vllm_reward import VLLMReward
from curate.errors import ConfigError

pytestmark = pytest.mark.vllm


def test_several_outputs_need_a_choice(tmp_path, monkeypatch):
    pytest.importorskip("vllm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_models.reward_model(tmp_path, outputs=2)
    with pytest.raises(ConfigError, match="2 outputs"):
        VLLMReward(model=str(tmp_path), dtype="float32").load()
