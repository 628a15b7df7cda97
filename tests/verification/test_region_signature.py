from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

from onnxfuse.verification.region_model import Built, signature


def signed(weight: np.ndarray) -> bytes:
    return signature(Built(onnx.ModelProto(), {}, {"c0": weight}, (), reads_shapes=False), [])


@pytest.mark.parametrize(
    "weight",
    [
        np.arange(2048, dtype=np.float32),
        np.arange(2048).astype(ml_dtypes.bfloat16).reshape(32, 64),
        np.arange(2048).astype(ml_dtypes.int4),
        np.array([f"s{index}" for index in range(2048)], object),
    ],
    ids=lambda weight: str(weight.dtype),
)
def test_equal_signatures_mean_equal_weights_of_every_type(weight: np.ndarray) -> None:
    copy = np.array([f"{text}" for text in weight], object) if weight.dtype.hasobject else weight.copy()
    assert signed(weight) == signed(copy)
    copy.reshape(-1)[7] = copy.reshape(-1)[8]
    assert signed(weight) != signed(copy)
