"""Every registered pass keeps every law."""

from __future__ import annotations

import pytest

from onnxfuse.testing import Law, pass_laws
from tests.laws.conftest import NAMES


@pytest.mark.parametrize(
    "law",
    [pytest.param(law, id=f"{name}-{law.name}") for name in NAMES for law in pass_laws(name)],
)
def test_law(law: Law) -> None:
    law()
