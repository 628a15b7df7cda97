"""Real models with inputs of all kinds: nearly everything that is drawn for them runs."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import onnx
import pytest

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError
from onnxfuse.verification.input_sets import sets_of
from onnxfuse.verification.model_check import ModelCheck
from onnxfuse.verification.pair import Pair

MODELS = Path(__file__).parents[1] / "gauntlet" / "models"
FLOATS = (1, 10, 11)


def ran_and_dropped(model: onnx.ModelProto) -> tuple[int, list[str]]:
    side = EvalModel(model)
    check = ModelCheck(Pair(side, side, 1 << 30, None, [], time.monotonic()), True, {}, 0, None)
    ran, dropped = 0, []
    for inputs in sets_of(check, None, None, 0):
        try:
            check.run_first(inputs.make())
            ran += 1
        except EvaluationError as error:
            dropped.append(f"{inputs.label}: {error}")
    return ran, dropped


def takes_more_than_floats(path: Path) -> bool:
    graph = onnx.load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    return any(i.name not in stored and i.type.tensor_type.elem_type not in FLOATS for i in graph.input)


# Its product with a matrix takes one of the shapes that it is reshaped to.
FEW = {"mm_add_unknown_rank"}
GAUNTLET = [path for path in sorted(MODELS.glob("*.onnx")) if path.stem not in FEW and takes_more_than_floats(path)]


@pytest.mark.parametrize("path", GAUNTLET, ids=lambda path: path.stem)
def test_all_that_is_drawn_for_a_model_runs(path: Path) -> None:
    ran, dropped = ran_and_dropped(onnx.load(path))
    assert dropped == []
    assert ran >= 25


@pytest.mark.parametrize("name", sorted(FEW))
def test_what_runs_on_few_inputs_is_found(name: str) -> None:
    assert ran_and_dropped(onnx.load(MODELS / f"{name}.onnx"))[0] > 5


NODES = [
    "adagrad",
    "attention_4d_with_past_and_present_qk_matmul_bias",
    "bitshift_left_uint8",
    "compress_0",
    "constantofshape_int_zeros",
    "cumsum_2d_axis_0",
    "div_uint8",
    "dropout_default_mask_ratio",
    "expand_dim_changed",
    "gather_0",
    "gather_elements_1",
    "gathernd_example_int32_batch_dim1",
    "identity_opt",
    "if_opt",
    "loop11",
    "loop13_seq",
    "loop16_seq_none",
    "maxunpool_export_with_output_shape",
    "nllloss_NCd1d2_with_weight_reduction_sum",
    "onehot_with_axis",
    "optional_get_element_sequence",
    "optional_has_element_empty_optional_input",
    "pow_types_float32_int32",
    "qlinearconv",
    "range_int32_type_negative_delta",
    "reduce_max_keepdims_random",
    "reshape_extended_dims",
    "resize_upsample_sizes_nearest_not_larger",
    "reversesequence_time",
    "rotary_embedding_with_rotary_dim",
    "scatter_elements_with_axis",
    "scatternd_add",
    "sce_mean_weight_ii",
    "sequence_insert_at_back",
    "slice_neg_steps",
    "split_variable_parts_2d_opset18",
    "split_to_sequence_1",
    "squeeze_negative_axes",
    "stft",
    "tensorscatter",
    "tile",
    "top_k",
    "tril_pos",
    "unsqueeze_two_axes",
    "where_long_example",
]


@pytest.fixture(scope="module")
def nodes() -> dict[str, onnx.ModelProto]:
    """The models that onnx tests its backends with."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name.removeprefix("test_"): case.model for case in collect_testcases(None)}  # type: ignore[misc]


@pytest.mark.parametrize("name", NODES)
def test_all_that_is_drawn_for_an_operator_runs(name: str, nodes: dict[str, onnx.ModelProto]) -> None:
    ran, dropped = ran_and_dropped(nodes[name])
    assert dropped == []
    assert ran > 0
