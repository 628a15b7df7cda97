"""The vendor's error codes: found in logs of all shapes, explained, and what is told of them is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.error_codes import ERROR_CODES, codes_in, explain
from onnxfuse.pipeline import registry
from tests.profile import EXAMPLES


@pytest.mark.parametrize(
    ("log", "codes"),
    [
        ("E10016: Opname x does not exist", ["E10016"]),
        (
            "ATC run failed, Please check the detail log\nE89999: Inner Error!\n        E89999 Add: [FUNC:InferShape]",
            ["E89999"],
        ),
        ("EZ9999: Inner Error!\nE40021: Failed to compile Op [x]. ", ["EZ9999", "E40021"]),
        ("[PID: 42] 2024-01-01-10:00:00.000.000 Invalid_Argument(E10001): Value", ["E10001"]),
        ("W11001: High-priority service of op[a] is invalid\nE10001.", ["W11001", "E10001"]),
        ("[ERROR] GE(1,atc): ErrorNo: 4294967295 [E19999]", ["E19999"]),
        ("ATC run success, welcome to the next use.", []),
        ("no file at /models/E10016.onnx, out_E10001, E10001_x, XE10001, E100010, E10016-2", []),
        ("0xE10016 ABCE19999 e10016", []),
        ("", []),
    ],
)
def test_codes_are_found(log: str, codes: list[str]) -> None:
    assert list(codes_in(log)) == codes


@EXAMPLES
@given(st.lists(st.sampled_from(sorted(ERROR_CODES)), unique=True), st.sampled_from([": x\n", "\n", " ", ", "]))
def test_each_code_is_found_once_and_in_order(codes: list[str], between: str) -> None:
    log = between.join([*codes, *codes, ""])
    assert list(codes_in(log)) == codes


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_code_is_explained(code: str) -> None:
    entry = ERROR_CODES[code]
    assert codes_in(code) == (code,) == (entry.code,)
    assert explain(code).startswith(f"{code}: {entry.meaning}")
    assert entry.cure in explain(code)
    assert "\n" not in explain(code)
    assert set(entry.options) <= set(AtcOptions.table())
    assert set(entry.passes) <= set(registry.origins())


@pytest.mark.parametrize(
    ("code", "owner"), [("EZ1234", "the layer of operators"), ("W99999", "a warning"), ("E10099", "read")]
)
def test_an_unknown_code_is_explained_as_far_as_it_can_be(code: str, owner: str) -> None:
    assert explain(code).startswith(f"{code}: ")
    assert owner in explain(code)


def test_every_code_that_a_rule_names_is_explained() -> None:
    lines = [
        "atc --model= x --framework=9 --log=x --disable_reuse_memory=3 --enable_single_stream=x --output=a/",
        "atc --mode=6 --precision_mode=force_fp16 --precision_mode_v2=fp16 --input_shape=a --input_shape_range=a",
        "atc --dynamic_dims=1 --dynamic_batch_size=0,0 --input_shape=x:0 --out_nodes=a:b --input_hint_shape=x",
    ]
    codes = {problem.code for line in lines for problem in AtcOptions.parse(line).problems()} - {None}
    assert len(codes) > 12
    assert codes <= set(ERROR_CODES)
