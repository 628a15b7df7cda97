"""The languages of shapes, profiles and outputs: what is written is read back, and what cannot be read has its code."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.drivers.atc.shape_grammar import (
    ANY,
    DimRange,
    GrammarError,
    InputShape,
    OutNode,
    OutputType,
    input_shape_text,
    out_nodes_text,
    output_type_text,
    parse_hint_shape,
    parse_input_shape,
    parse_out_nodes,
    parse_output_type,
    parse_profiles,
    parse_shape_range,
)
from tests.profile import EXAMPLES

SIZES: Final = st.integers(1, 2**63 - 1)
RANGES: Final = st.tuples(SIZES, SIZES).map(lambda pair: DimRange(min(pair), max(pair)))
UNFILLED: Final = st.sampled_from(["${bs}", "$1", "$batch_size", "{batch size}", "{bs}", "${bs:-1}", "${a[0],b;c}"])
DIMS: Final = st.lists(SIZES | st.just(ANY) | RANGES | UNFILLED, max_size=6).map(tuple)
NAMES: Final = (
    st.text(st.characters(codec="utf-8", exclude_characters=";{}$"), min_size=1)
    .map(str.strip)
    .filter(lambda name: name and name != ":")
)
NAMED: Final = st.lists(st.builds(InputShape, NAMES, DIMS), min_size=1, max_size=4).map(tuple)


def range_text(shapes: tuple[InputShape, ...]) -> str:
    """Shapes as `--input_shape_range` takes them."""
    dims = [f"[{input_shape_text((InputShape('', shape.dims),))}]" for shape in shapes]
    if not any(shape.name for shape in shapes):
        return ",".join(dims)
    return ";".join(f"{shape.name}:{text}" for shape, text in zip(shapes, dims, strict=True))


@EXAMPLES
@given(NAMED)
def test_input_shapes_are_read_back(shapes: tuple[InputShape, ...]) -> None:
    assert parse_input_shape(input_shape_text(shapes)) == shapes


@EXAMPLES
@given(NAMED)
def test_shape_ranges_are_read_back(shapes: tuple[InputShape, ...]) -> None:
    assert parse_shape_range(range_text(shapes)) == shapes


@EXAMPLES
@given(st.lists(DIMS.filter(bool), min_size=1, max_size=4))
def test_shapes_by_position_are_read_back(dims: list[tuple[int, ...]]) -> None:
    shapes = tuple(InputShape("", entry) for entry in dims)
    assert parse_input_shape(input_shape_text(shapes)) == shapes
    assert parse_shape_range(range_text(shapes)) == shapes


PROFILES: Final = {
    "dynamic_batch_size": st.tuples(SIZES),
    "dynamic_image_size": st.tuples(SIZES, SIZES),
    "dynamic_dims": st.lists(SIZES, min_size=1, max_size=5).map(tuple),
}


@pytest.mark.parametrize("option", PROFILES)
@EXAMPLES
@given(data=st.data())
def test_profiles_are_read_back(option: str, data: st.DataObject) -> None:
    profiles = tuple(data.draw(st.lists(PROFILES[option], min_size=1)))
    text = ("," if option == "dynamic_batch_size" else ";").join(",".join(map(str, profile)) for profile in profiles)
    assert parse_profiles(option, text) == profiles
    assert parse_profiles(option, text + ("," if option == "dynamic_batch_size" else ";")) == profiles


NODES: Final = NAMES.filter(lambda name: ":" not in name)


@EXAMPLES
@given(st.lists(st.builds(OutNode, NODES, st.integers(0, 99)), min_size=1) | st.lists(NODES.map(OutNode), min_size=1))
def test_outputs_are_read_back(nodes: list[OutNode]) -> None:
    assert parse_out_nodes(out_nodes_text(nodes)) == tuple(nodes)


@EXAMPLES
@given(st.lists(st.builds(OutputType, NODES, st.integers(0, 99), st.sampled_from(["FP16", "FP32"])), min_size=1))
def test_output_types_are_read_back(types: list[OutputType]) -> None:
    assert parse_output_type(output_type_text(types)) == tuple(types)
    assert parse_output_type("FP16") == output_type_text("FP16") == "FP16"


@EXAMPLES
@given(st.text(st.sampled_from("ab:;,-~[]{}$ 0123456789.\n")))
def test_no_text_is_an_error_of_another_kind(text: str) -> None:
    readers = [parse_input_shape, parse_shape_range, parse_hint_shape, parse_out_nodes, parse_output_type]
    for read in [*readers, *(lambda text, o=option: parse_profiles(o, text) for option in PROFILES)]:
        try:
            read(text)
        except GrammarError as error:
            assert error.code.startswith("E1")
            assert "\n" not in str(error)


def test_an_entry_is_split_at_its_last_colon() -> None:
    assert parse_input_shape("onnx::Reshape_0:1,20") == (InputShape("onnx::Reshape_0", (1, 20)),)


def test_blanks_round_items_are_trimmed() -> None:
    assert parse_input_shape("actual_input_1: 1,3, 1024 ,2048; b:2") == (
        InputShape("actual_input_1", (1, 3, 1024, 2048)),
        InputShape("b", (2,)),
    )


def test_scalars_ranges_and_free_axes() -> None:
    assert parse_input_shape("s:;x:1~8,3,224,-1") == (
        InputShape("s", ()),
        InputShape("x", (DimRange(1, 8), 3, 224, ANY)),
    )
    assert parse_shape_range("n:[8~20,3,5,-1];m:[]") == (
        InputShape("n", (DimRange(8, 20), 3, 5, ANY)),
        InputShape("m", ()),
    )
    assert parse_hint_shape("0:[1,3,224,224];1:[2]") == {0: (1, 3, 224, 224), 1: (2,)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x:1,a", "E10002"),
        ("x:1.5,2", "E10002"),
        ("x:1,,2", "E10002"),
        ("x:[1,2]", "E10002"),
        ("x:8~", "E10002"),
        ("x:9~8", "E10002"),
        (":1,2", "E10002"),
        ("x:1;", "E10002"),
        ("x:0,3", "E10011"),
        ("x:-2,3", "E10011"),
        (f"x:{2**63}", "E10013"),
        (f"x:{'9' * 5000}", "E10013"),
    ],
)
def test_input_shapes_that_are_none(text: str, code: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse_input_shape(text)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["n:8~20", "n:[8~20", "n:[[8]]", "[1],2", "n:[a]", "n:[2~1]", "n:[1~-1]", "[1];[2]"])
def test_shape_ranges_that_are_none(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse_shape_range(text)
    assert caught.value.code == "E10048"


@pytest.mark.parametrize("text", ["x:[1]", "0:1,2", "0:[1];0:[2]", "0:[-1]", "[1]"])
def test_hints_that_are_none(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse_hint_shape(text)
    assert caught.value.code == "E10014"


@pytest.mark.parametrize(
    ("option", "text", "code"),
    [
        ("dynamic_batch_size", "1, 2", "E10003"),
        ("dynamic_batch_size", "1;2", "E10003"),
        ("dynamic_image_size", "a,b", "E10003"),
        ("dynamic_image_size", "1,2;3", "E10020"),
        ("dynamic_image_size", "1,2,3;4,5,6", "E10020"),
        ("dynamic_dims", "1,2; 3,4", "E10001"),
        ("dynamic_dims", "1,-2", "E10001"),
        ("dynamic_dims", "1,2;;3,4", "E10001"),
    ],
)
def test_profiles_that_are_none(option: str, text: str, code: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse_profiles(option, text)
    assert caught.value.code == code


def test_image_sizes_may_have_blanks() -> None:
    assert parse_profiles("dynamic_image_size", "1, 2; 3,4;") == ((1, 2), (3, 4))


@pytest.mark.parametrize(
    ("text", "code"),
    [("a:0;b", "E10001"), ("a:b:0", "E10001"), ("a:x", "E10003"), ("a:0;;b:1", "E10001"), (":0", "E10001")],
)
def test_outputs_that_are_none(text: str, code: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse_out_nodes(text)
    assert caught.value.code == code
