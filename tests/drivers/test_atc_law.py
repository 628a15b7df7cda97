"""What the checks pass atc takes, and what atc refuses the checks have named: over options and graphs that hypothesis draws."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.checks.graph import check_graph
from onnxfuse.drivers.checks.options import problems_of
from onnxfuse.drivers.findings import Finding, Severity
from tests.fakes.atc_program import main
from tests.fakes.option_rules import ERA_5, NEW, VALUES

EXAMPLES: Final = int(os.environ.get("ONNXFUSE_EXAMPLES", "150"))

# Numbers of which several say the same, and nobody knows which one a release takes.
ALIKE: Final = (
    {"E10001", "E10003", "E10014"},
    {"E10004", "E10054"},
    {"E10003", "E10037", "E10045", "E10046"},
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with files for options to name, in which the stand-in finds its environment."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("law")
        patch.chdir(folder)
        patch.setenv("ASCEND_OPP_PATH", str(folder))
        for name in ("FAKE_MANNER", "FAKE_RECORD", "FAKE_PIDS"):
            patch.delenv(name, raising=False)
        Path("there.txt").write_text("{}")
        for name, text in AIPP.items():
            Path(name).write_text(text)
        yield folder


AIPP: Final = {
    "good.cfg": "aipp_op {\n  aipp_mode: static  # or dynamic\n  related_input_rank: 0\n  mean_chn_0: -1.5e1\n}\n",
    "second.cfg": "aipp_op { aipp_mode: dynamic, related_input_rank: 1; }",
    "both.cfg": "aipp_op { aipp_mode: static }\naipp_op { aipp_mode: static related_input_rank: 1 }",
    "rubbish.cfg": "these are no words of AIPP",
    "half.cfg": "aipp_op { aipp_mode: static",
    "no_mode.cfg": "aipp_op { related_input_rank: 0 }",
    "odd_mode.cfg": "aipp_op { aipp_mode: moving }",
    "empty.cfg": "",
}


# ---- graphs


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """A few operators in a row, on one or two inputs, of which one may have a weight's name."""
    dims: st.SearchStrategy[str | int | None] = st.sampled_from(["N", 1, 3, 8])
    shapes = draw(st.lists(st.lists(dims, max_size=4), min_size=1, max_size=2))
    names = draw(st.sampled_from([("x", "y"), ("in:put", "y"), ("x.1", "onnx::y")]))
    inputs = [helper.make_tensor_value_info(names[at], TensorProto.FLOAT, shape) for at, shape in enumerate(shapes)]
    if not draw(st.integers(0, 9)):
        inputs[-1].type.tensor_type.ClearField("shape")
    nodes, last = [], names[0]
    for at in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(["", "node", f"node_{at}", f"node_{at}", f"node_{at}"]))
        nodes.append(helper.make_node(draw(st.sampled_from(["Relu", "Abs"])), [last], [f"v{at}"], name=name))
        last = f"v{at}"
    outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, shapes[0])]
    weights = []
    if draw(st.booleans()):  # as below IR 4
        weights.append(helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]))
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    graph = helper.make_graph(nodes, "drawn", inputs, outputs, weights)
    opset = draw(st.sampled_from([11, 11, 11, 11, 8, 13, 7, 14, 18, 19]))
    imports = [helper.make_opsetid("", opset)]
    if draw(st.integers(0, 19)) == 0:
        imports.append(helper.make_opsetid("my.ops", 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


# ---- options

SIZES: Final = st.sampled_from(["1", "3", "8", "-1", "-1"])
ODD_SIZES: Final = st.sampled_from(["0", "-2", "1~8", "8~1", "a", "", " 4", "1.5", "1" * 25, "[1"])


@st.composite
def input_shapes(draw: st.DrawFn, model: onnx.ModelProto) -> str:
    """What `--input_shape` may say of a model: mostly what fits it."""
    entries = []
    odd = draw(st.integers(0, 3)) == 0
    for value in model.graph.input:
        if (value.name == "w" and not odd) or (value.name == "y" and not draw(st.integers(0, 5))):
            continue
        dims = [
            str(dim.dim_value) if dim.HasField("dim_value") and draw(st.integers(0, 2)) else draw(SIZES)
            for dim in value.type.tensor_type.shape.dim
        ]
        if odd and draw(st.booleans()):
            dims = [*dims, draw(ODD_SIZES)] if draw(st.booleans()) else [*dims[:-1], draw(ODD_SIZES)]
        name = draw(st.sampled_from(["nobody", "v0", "node"])) if odd and not draw(st.integers(0, 5)) else value.name
        entries.append(f"{name}:{draw(st.sampled_from(['', ' ']))}{','.join(dims)}")
    return draw(st.sampled_from([";".join(entries)] * 9 + [",".join(entries)]))


@st.composite
def profiles(draw: st.DrawFn, free: int) -> dict[str, str]:
    """Options for profiles, with what they take along."""
    kind = draw(st.sampled_from(["dynamic_batch_size", "dynamic_image_size", "dynamic_dims"]))
    count = 2 if kind == "dynamic_image_size" else free or 1
    if kind == "dynamic_batch_size":
        text = draw(st.sampled_from(["1,2", "1,2,4,8", "1,2,4,8", "4", "1,0", "2,2", "1, 2", "1;2", "a", "1,2,"]))
        many = st.integers(90, 110).map(lambda most: ",".join(map(str, range(1, most))))
        return {kind: text if draw(st.integers(0, 7)) else draw(many)}
    sizes = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8] * 3 + [0])
    lengths = st.sampled_from([count] * 15 + [count + 1, max(1, count - 1)])
    groups = draw(st.lists(lengths.flatmap(lambda n: st.lists(sizes, min_size=n, max_size=n)), min_size=1, max_size=4))
    text = ";".join(",".join(map(str, group)) for group in groups)
    layout = draw(st.sampled_from(["ND", "ND", "ND", "NCHW"] if kind == "dynamic_dims" else ["NCHW", "NHWC", "ND"]))
    return {kind: text + draw(st.sampled_from(["", "", "", ";", "; "])), "input_format": layout}


def ranges(model: onnx.ModelProto) -> st.SearchStrategy[dict[str, str]]:
    (name, *_), dims = (model.graph.input[0].name,), len(model.graph.input[0].type.tensor_type.shape.dim)
    size = st.sampled_from(["1", "-1", "1~8", "1 ~ 8", "3"] * 2 + ["8~1", "a", "1~", "-2", ""])
    shape = st.lists(size, min_size=max(0, dims - (not dims)), max_size=dims).map(",".join)
    form = st.sampled_from([f"{name}:[{{}}]"] * 5 + ["[{}]", f"{name}:{{}}", f"{name}:[{{}}", "nobody:[{}]", "[{}],"])
    return st.builds(lambda form, shape: {"input_shape_range": form.format(shape)}, form, shape)


def outputs(model: onnx.ModelProto) -> st.SearchStrategy[dict[str, str]]:
    nodes = [node.name for node in model.graph.node if node.name] or ["Relu_0", "Abs_0"]
    place = st.builds(
        "{}:{}".format, st.sampled_from([*nodes * 4, "nobody", "v0"]), st.sampled_from(["0"] * 6 + ["1", "x"])
    )
    named = st.sampled_from([model.graph.output[0].name] * 4 + ["nobody"])
    texts = st.lists(place, min_size=1, max_size=2) | st.lists(named, min_size=1, max_size=1) | st.lists(place | named)
    element = st.sampled_from(["FP16", "FP32", "UINT8", "INT8", "INT64", "FLOAT", "fp16"])

    @st.composite
    def both(draw: st.DrawFn) -> dict[str, str]:
        entries = draw(texts)
        made = {"out_nodes": ";".join(entries) + draw(st.sampled_from(["", "", ";"]))}
        if draw(st.booleans()):
            typed = entries if draw(st.integers(0, 3)) else [draw(place)]
            made["output_type"] = ";".join(f"{entry}:{draw(element)}" for entry in typed)
        if draw(st.integers(0, 3)) == 0:
            made["is_output_adjust_hw_layout"] = draw(st.sampled_from(["true", "true,false", "1", "false"]))
        return made

    return both() | st.builds(lambda text: {"output_type": text}, element)


def halves(model: onnx.ModelProto) -> st.SearchStrategy[dict[str, str]]:
    names = [value.name for value in model.graph.input if value.name != "w"]
    texts = st.sampled_from([*names * 3, ";".join(names), "w", "v0", "nobody", f"{names[0]};"])
    adjusted = st.sampled_from(["true", "false", "true,false", "yes"])
    plain = st.builds(lambda text: {"input_fp16_nodes": text}, texts)
    return plain | st.builds(
        lambda text, more: {"input_fp16_nodes": text, "is_input_adjust_hw_layout": more}, texts, adjusted
    )


# Each is one option, or those that have to do with each other.
WORDS: Final = {
    **{name: f"{older} {newer}".split() for name, (_, older, newer) in VALUES.items() if name != "mode"},
    "aicore_num": ["8", "8|", "20|40"],
    "device_id": ["0", "1"],
    "optimization_switch": ["PassA:on;PassB:off"],
    "auto_tune_mode": ["RL,GA", "GA"],
}
ODD_WORDS: Final = st.sampled_from(["banana", "", "2~3", "TRUE", "t", "-1", "01"])
FILE: Final = st.sampled_from(["there.txt", "there.txt", "missing.txt", "no file.txt"])
CHIPS: Final = [
    *("Ascend310", "Ascend310P3", "Ascend310B1", "Ascend910A", "Ascend910B", "Ascend910B4", "Ascend950PR_9589"),
    *("Banana", "ascend310", "310P3"),
]


def words() -> st.SearchStrategy[dict[str, str]]:
    name = st.sampled_from(sorted(WORDS))
    return name.flatmap(
        lambda name: (st.sampled_from(WORDS[name]) | st.sampled_from(WORDS[name]) | ODD_WORDS).map(
            lambda word: {name: word}
        )
    )


def pairs() -> st.SearchStrategy[dict[str, str]]:
    mode = st.sampled_from(["allow_mix_precision", "force_fp16", "force_fp32"])
    version_2 = st.sampled_from(["mixed_float16", "fp16"])
    return st.one_of(
        st.fixed_dictionaries(
            {"modify_mixlist": FILE}, optional={"precision_mode": mode, "precision_mode_v2": version_2}
        ),
        st.fixed_dictionaries(
            {"optypelist_for_implmode": st.just("SoftmaxV2")},
            optional={"op_select_implmode": st.sampled_from(["high_precision", "high_precision_for_all"])},
        ),
        st.fixed_dictionaries(
            {"compress_weight_conf": FILE},
            optional={"enable_compress_weight": st.sampled_from(["true", "false", "True"])},
        ),
        st.fixed_dictionaries({"auto_tune_mode": st.just("RL,GA")}, optional={"op_bank_path": st.just("bank")}),
        st.builds(lambda path: {"fusion_switch_file": path}, FILE),
        st.builds(
            lambda path, layout: {"insert_op_conf": path, "input_format": layout},
            st.sampled_from(["good.cfg"] * 6 + [*AIPP, "missing.cfg"]),
            st.sampled_from(["NCHW", "NCHW", "NHWC", "ND"]),
        ),
        st.builds(
            lambda shape: {"input_hint_shape": shape}, st.sampled_from(["0:[1,3]", "0:[1];1:[2]", "x:[1]", "0:1"])
        ),
    )


@st.composite
def runs(draw: st.DrawFn) -> tuple[onnx.ModelProto, str, dict[str, str]]:
    """A model, a release, and options: few that are wrong, so that there is one reason."""
    model = draw(graphs())
    made: dict[str, str] = {"model": "m.onnx", "framework": "5", "output": "out", "soc_version": draw(chips())}
    if draw(st.integers(0, 3)):
        made["input_shape"] = draw(input_shapes(model))
    free = made.get("input_shape", "").count("-1")
    parts = [words(), words(), pairs(), outputs(model), halves(model), ranges(model), profiles(free), OUTPUT, LACKS]
    for part in draw(st.lists(st.sampled_from(parts), max_size=3)):
        made |= draw(part)
    if free and not draw(st.integers(0, 1)):
        made |= draw(profiles(free))
    if "input_shape_range" in made:  # which overrides it
        made["input_shape"] = ABSENT
    return model, draw(st.sampled_from(["8.0", "5.1"])), {name: text for name, text in made.items() if text != ABSENT}


def chips() -> st.SearchStrategy[str]:
    return st.sampled_from([chip for chip in CHIPS[:7] for _ in range(5)] + CHIPS[7:])


ABSENT: Final = "<absent>"
OUTPUT: Final = st.sampled_from(["out/", "out/.", "a b", "模型", "x" * 5000]).map(lambda path: {"output": path})
LACKS: Final = st.sampled_from(["model", "framework", "output", "soc_version"]).map(lambda name: {name: ABSENT})


# ---- the law


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
@given(run=runs())
def test_what_is_refused_was_named(run: tuple[onnx.ModelProto, str, dict[str, str]]) -> None:
    model, cann, made = run
    onnx.save(model, "m.onnx")
    named = errors_of(model, made, cann)
    refused, text = refusal(made, cann)
    event("refused" if refused else "taken")
    shown = f"{made} {cann}: atc says {text!r}, and the checks {[*map(str, named)]}"
    if not refused:
        assert not [error for error in named if error.code], shown
        return
    assert named, shown
    code = found[0] if (found := re.findall(r"^(E[0-9]{5}):", text, re.MULTILINE)) else None
    if code is not None:
        same = {code}.union(*(alike for alike in ALIKE if code in alike))
        options = set(re.findall(r"--[a-z0-9_]+", text))
        without = [error for error in named if error.code is None]
        about = any(option in f"{error.message} {error.at}" for error in without for option in options)
        assert about or same & {error.code for error in named}, shown


def errors_of(model: onnx.ModelProto, made: dict[str, str], cann: str) -> list[Finding]:
    options = AtcOptions(**made)  # type: ignore[arg-type]
    found = [*problems_of(options, cann), *check_graph(model, options, cann=cann)]
    return [finding for finding in found if finding.severity is Severity.ERROR]


def refusal(made: dict[str, str], cann: str) -> tuple[bool, str]:
    """Runs the stand-in; returns whether it refused, and what it said."""
    import contextlib
    import io

    said: Any = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setenv("FAKE_ERA", cann[0])
        code = main([f"--{name}={value}" for name, value in made.items()])
    return code != 0, said.getvalue()


def test_all_options_are_known_to_both() -> None:
    table = AtcOptions.table()
    assert ERA_5 - {"h", "help"} <= {name for name, of in table.items() if len(of.releases) == 2} | {"auto_tune_mode"}
    assert NEW - {"h", "help"} <= set(table)


BATCHES: Final = {"input_shape": "x:-1,3", "dynamic_batch_size": "1,2"}
FREE: Final = {"input_shape": "x:-1,-1", "dynamic_dims": "1,2;3,4"}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"soc_version": "Banana"}, "E10001"),
        ({"input_shape_range": "x:1~8,3"}, "E10048"),
        ({"input_shape": "x:1~8,3"}, "E10002"),
        ({"input_shape": "x:-1,3"}, "E10011"),
        ({"modify_mixlist": "there.txt"}, "E10001"),
        ({"optypelist_for_implmode": "SoftmaxV2"}, "E10001"),
        ({"enable_compress_weight": "true", "compress_weight_conf": "there.txt"}, "E10047"),
        ({**FREE, "input_format": "ND", "insert_op_conf": "good.cfg"}, "E10001"),
        ({"insert_op_conf": "rubbish.cfg"}, "E10052"),
        ({"insert_op_conf": "good.cfg", "input_fp16_nodes": "x"}, "E10034"),
        ({"input_fp16_nodes": "nobody"}, "E10016"),
        ({"input_fp16_nodes": "node"}, "E10017"),
        ({"output": "x" * 5000}, "E10021"),
        ({"op_select_implmode": "high"}, "E10001"),
        ({"op_select_implmode": "high_precision_for_all"}, "E10001"),
        ({"output_type": "FLOAT"}, "E10001"),
        ({"output_type": "INT8"}, "E10001"),
        ({"output_type": "node:0:FP16"}, "E10001"),
        ({"input_format": "NHWC"}, "E10001"),
        ({"precision_mode": "cube_fp16in_fp32out"}, "E10001"),
        ({**FREE, "input_format": "NCHW"}, "E10003"),
        ({**BATCHES, "input_shape": "x:1,3"}, "E10031"),
        ({**FREE, "input_format": "ND", "input_shape": "x:1,3"}, "E10040"),
        ({"precision_mode_v2": "fp16"}, "ERROR: unknown command line flag 'precision_mode_v2'"),
    ],
)
def test_what_atc_of_cann_5_refuses(more: dict[str, str], code: str) -> None:
    """The stand-in itself, against the guides: else one that refuses nothing would keep the law."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    node = helper.make_node("Relu", ["x"], ["y"], name="node")
    graph = helper.make_graph([node], "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), "m.onnx")
    made = {"model": "m.onnx", "framework": "5", "output": "out", "soc_version": "Ascend310"}
    assert refusal(made, "5.1") == (
        False,
        "ATC start working now, please wait for a moment.\nATC run success, welcome to the next use.\n",
    )
    refused, text = refusal({**made, **more}, "5.1")
    assert refused
    assert code in text
