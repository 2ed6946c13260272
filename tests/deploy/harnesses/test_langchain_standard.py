"""The tests that LangChain asks of every embedding model."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_tests")
pytestmark = [pytest.mark.torch, pytest.mark.asyncio, pytest.mark.filterwarnings("ignore")]

from langchain_tests.integration_tests import EmbeddingsIntegrationTests  # noqa: E402
from langchain_tests.unit_tests import EmbeddingsUnitTests  # noqa: E402

from isthmus.deploy.harnesses.langchain import ClosedEmbeddings  # noqa: E402


class Ours:
    @property
    def embeddings_class(self) -> Any:
        return ClosedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": "emoji"}


class TestUnit(Ours, EmbeddingsUnitTests):
    """What needs no model."""


class TestIntegration(Ours, EmbeddingsIntegrationTests):
    """What the model gives."""
