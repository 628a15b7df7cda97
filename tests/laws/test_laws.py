"""Every registered pass keeps every law."""

from __future__ import annotations

import pytest

from onnxfuse.pipeline import registry
from onnxfuse.testing import Law, pass_laws


@pytest.mark.parametrize(
    "law",
    [pytest.param(law, id=f"{name}-{law.name}") for name in registry.origins() for law in pass_laws(name)],
)
def test_law(law: Law) -> None:
    law()
