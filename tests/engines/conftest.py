"""An engine on a server whose answers the test gives."""

import pytest
from openai_answers import KEY

from curate.engines.openai import OpenAI


@pytest.fixture
def load(httpserver, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    engines = []

    def make(**fields):
        usual = {"base_url": httpserver.url_for("/v1"), "retries": 1, "timeout_s": 10.0}
        engines.append(OpenAI(model="tiny", **usual | fields).load())
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
