"""The rules of atc's options: each names its option and the vendor's code, and none fires where nothing is wrong."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any, Final

import pytest

from onnxfuse.drivers.atc import shape_rules as atc_shape_rules
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.shape_grammar import InputShape
from onnxfuse.drivers.atc.words import SOC_VERSIONS, Number, Release, Word

GOOD: Final = AtcOptions.parse("atc --model=m.onnx --framework=5 --output=m --soc_version=Ascend310")
WHEN: Final = {"input_format": "ND", "input_shape": "x:-1,3,-1,-1;y:-1,2"}


def broken(release: Release | None = None, **options: Any) -> list[tuple[str, str | None]]:
    given = {**GOOD.given(), **options}
    return [(problem.subject, problem.code) for problem in AtcOptions(**given).problems(release)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"input_shape": "x:1,3,224,224;onnx::y:0:2;s:"},
        {"input_shape": "x:1~8,3,224,-1"},
        {"input_shape": "-1,3;1~2,4"},
        {"input_shape_range": "x:[1~8,3,-1]"},
        {"input_shape_range": "[1~8,3,-1],[2]"},
        {"input_hint_shape": "0:[1,3];1:[2]"},
        {"input_shape": "x:-1,3,8,8;y:4", "dynamic_batch_size": "1,2,4"},
        {"input_shape": "x:1,3,-1,-1", "dynamic_image_size": "480,640; 240,320;"},
        {
            "input_shape": "x:1,-1,-1,3",
            "dynamic_image_size": "1,2;3,4",
            "input_format": "NHWC",
            "insert_op_conf": "a.cfg",
        },
        {**WHEN, "dynamic_dims": "1,8,8,1;2,8,8,2"},
        {"input_format": "ND", "input_shape": "x:$1,-1", "dynamic_dims": "1,2;3,4"},
        {"input_format": "ND", "input_shape": "x:$1,-1", "dynamic_dims": "1;3"},
        {"input_format": "ND", "input_shape": "x:$1,3", "dynamic_dims": "1;3"},
        {"input_shape": "x:$1,3", "dynamic_batch_size": "$2"},
        {"out_nodes": "a:0;b:1", "output_type": "a:0:FP16;b:1:FP32", "is_output_adjust_hw_layout": "true,false"},
        {"out_nodes": "dets;labels", "output_type": "FP16"},
        {"op_select_implmode": "high_precision", "optypelist_for_implmode": "Gelu"},
        {"precision_mode": "allow_mix_precision", "modify_mixlist": "l.json"},
        {"precision_mode_v2": "mixed_float16", "modify_mixlist": "l.json"},
        {"enable_compress_weight": False, "compress_weight_conf": "c"},
        {"input_shape": "x:-1", "dynamic_batch_size": "1,2048"},
        {"auto_tune_mode": "RL,GA"},
        {"soc_version": "Ascend950PR_9589"},
        {"soc_version": "{chip_name}"},
        {"soc_version": "Ascend310P3", "core_type": "VectorCore"},
        {"soc_version": "Ascend710", "core_type": "VectorCore"},
        {"soc_version": "Ascend910B4-1"},
        {"soc_version": "Ascend310P3", "aicore_num": "8|"},
        {"soc_version": "Ascend910B1", "aicore_num": "20|40"},
        {"aicore_num": "2"},
        {"aicore_num": "$n"},
        {"optimization_switch": "PassA:on;PassB:off"},
        {"host_env_os": "linux", "host_env_cpu": "aarch64"},
        {"model": None, "framework": None, "output": None, "singleop": "op.json"},
        {"output": "$out/m_{bs}"},
        {"output": "模型/m"},
        *({"soc_version": name} for name in SOC_VERSIONS),
    ],
)
def test_nothing_is_wrong(options: dict[str, Any]) -> None:
    assert broken(**options) == []


@pytest.mark.parametrize(
    ("options", "subject", "code"),
    [
        ({"model": None}, "--model", "E10054"),
        ({"framework": None}, "--framework", "E10007"),
        ({"output": None}, "--output", "E10054"),
        ({"soc_version": None}, "--soc_version", "E10054"),
        ({"model": ""}, "--model", "E10004"),
        ({"framework": 7}, "--framework", "E10007"),
        ({"framework": 3}, "--framework", None),
        ({"log": "verbose"}, "--log", "E10010"),
        ({"disable_reuse_memory": 2}, "--disable_reuse_memory", "E10006"),
        ({"enable_single_stream": "maybe"}, "--enable_single_stream", "E10005"),
        ({"buffer_optimize": "l3"}, "--buffer_optimize", "E10001"),
        ({"device_id": "a"}, "--device_id", "E10003"),
        ({"output": "m.om"}, "--output", None),
        ({"output": "out/"}, "--output", "E10022"),
        ({"output": "x" * 4096}, "--output", "E10021"),
        ({"model": "my model.onnx"}, "--model", "E10001"),
        ({"soc_version": "310P3"}, "--soc_version", None),
        ({"soc_version": "ascend310"}, "--soc_version", None),
        ({"soc_version": "Ascend910A", "core_type": "VectorCore"}, "--core_type", None),
        ({"input_shape": "x:1,a"}, "--input_shape", "E10002"),
        ({"input_shape": "1,3,224,224"}, "--input_shape", "E10002"),
        ({"input_shape": "-1,3", "dynamic_batch_size": "1,2"}, "--input_shape", "E10002"),
        ({"input_shape": "x:0"}, "--input_shape", "E10011"),
        ({"input_shape": "x:1;x:2"}, "--input_shape", None),
        ({"input_shape": "x:1~2", "soc_version": "Ascend310B1"}, "--input_shape", None),
        ({"input_shape": "x:1", "input_shape_range": "x:[1]"}, "--input_shape", None),
        ({"input_shape_range": "x:1"}, "--input_shape_range", "E10048"),
        ({"input_hint_shape": "x:[1]"}, "--input_hint_shape", "E10014"),
        ({"input_format": "NHWC"}, "--input_format", "E10001"),
        ({"input_format": "ND", "insert_op_conf": "a.cfg"}, "--input_format", "E10001"),
        ({"input_format": "NCDHW", "insert_op_conf": "a.cfg"}, "--input_format", "E10001"),
        ({**WHEN, "dynamic_dims": "1,2,3,4;5,6,7,8", "dynamic_batch_size": "1,2"}, "--dynamic_batch_size", "E10009"),
        ({**WHEN, "dynamic_dims": "1,2,3,4;5,6,7,8", "input_shape_range": "x:[1]"}, "--dynamic_dims", "E10009"),
        ({"dynamic_batch_size": "1,2"}, "--input_shape", "E10004"),
        ({**WHEN, "dynamic_dims": "1,2,3,4;5,6,7,8", "input_hint_shape": "0:[1]"}, "--input_hint_shape", "E10001"),
        ({"input_shape": "x:-1,1~3", "dynamic_batch_size": "1,2"}, "--input_shape", "E10040"),
        ({"input_shape": "x:-1;s:", "dynamic_batch_size": "1,2"}, "--input_shape", "E10012"),
        ({"input_shape": "x:-1,-1", "dynamic_batch_size": "1,2"}, "--input_shape", "E10018"),
        ({"input_shape": "x:1,2", "dynamic_batch_size": "1,2"}, "--input_shape", "E10031"),
        ({"input_shape": "x:-1", "dynamic_batch_size": "1, 2"}, "--dynamic_batch_size", "E10003"),
        ({"input_shape": "x:-1", "dynamic_batch_size": "1"}, "--dynamic_batch_size", "E10035"),
        ({"input_shape": "x:-1", "dynamic_batch_size": "1,0"}, "--dynamic_batch_size", "E10038"),
        ({"input_shape": "x:-1", "dynamic_batch_size": "1,1"}, "--dynamic_batch_size", "E10039"),
        ({"input_shape": "x:-1", "dynamic_batch_size": "1,4096"}, "--dynamic_batch_size", None),
        (
            {"input_shape": "x:-1", "dynamic_batch_size": ",".join(map(str, range(1, 102)))},
            "--dynamic_batch_size",
            "E10036",
        ),
        ({"input_shape": "x:1,3,-1,-1", "dynamic_image_size": "1,2;3"}, "--dynamic_image_size", "E10020"),
        ({"input_shape": "x:-1,3,-1,-1", "dynamic_image_size": "1,2;3,4"}, "--input_shape", "E10019"),
        ({"input_shape": "x:3,-1,-1", "dynamic_image_size": "1,2;3,4"}, "--input_shape", "E10019"),
        ({"input_shape": "x:1,3,4,4", "dynamic_image_size": "1,2;3,4"}, "--input_shape", "E10040"),
        (
            {"input_format": "ND", "input_shape": "x:1,3,-1,-1", "dynamic_image_size": "1,2;3,4"},
            "--input_format",
            "E10003",
        ),
        ({**WHEN, "dynamic_dims": "1,2,3;4,5,6"}, "--dynamic_dims", "E10003"),
        ({**WHEN, "dynamic_dims": "1,2,3,4,5;5,6,7,8,9"}, "--dynamic_dims", "E10003"),
        ({**WHEN, "dynamic_dims": "1,2,3,4; 5,6,7,8"}, "--dynamic_dims", "E10001"),
        ({**WHEN, "dynamic_dims": "1,2,3,4;5,6,7,8", "insert_op_conf": "a.cfg"}, "--dynamic_dims", "E10001"),
        ({**WHEN, "input_format": "NCHW", "dynamic_dims": "1,2,3,4;5,6,7,8"}, "--input_format", "E10001"),
        ({**WHEN, "input_format": None, "dynamic_dims": "1,2,3,4;5,6,7,8"}, "--input_format", "E10001"),
        ({"input_format": "ND", "input_shape": "x:1", "dynamic_dims": "1;2"}, "--input_shape", "E10040"),
        ({"input_format": "ND", "input_shape": "x:$1", "dynamic_dims": "1;2,3"}, "--dynamic_dims", "E10037"),
        ({"out_nodes": "a:0;b"}, "--out_nodes", "E10001"),
        ({"out_nodes": "a:b:0"}, "--out_nodes", "E10001"),
        ({"out_nodes": "a:x"}, "--out_nodes", "E10003"),
        ({"output_type": "FLOAT"}, "--output_type", "E10001"),
        ({"output_type": "a:0"}, "--output_type", "E10001"),
        ({"output_type": "a:0:FP16"}, "--output_type", None),
        ({"out_nodes": "a:0", "is_output_adjust_hw_layout": "true,false"}, "--is_output_adjust_hw_layout", None),
        ({"input_fp16_nodes": "a", "is_input_adjust_hw_layout": "yes"}, "--is_input_adjust_hw_layout", "E10005"),
        ({"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}, "--precision_mode", "E10056"),
        ({"enable_compress_weight": True, "compress_weight_conf": "c"}, "--enable_compress_weight", "E10047"),
        ({"optypelist_for_implmode": "Gelu"}, "--optypelist_for_implmode", "E10001"),
        ({"modify_mixlist": "l.json"}, "--modify_mixlist", "E10001"),
        ({"modify_mixlist": "l.json", "precision_mode": "force_fp16"}, "--modify_mixlist", "E10001"),
        ({"host_env_os": "windows"}, "--host_env_os", "E10001"),
        ({"host_env_cpu": "riscv"}, "--host_env_cpu", "E10001"),
        ({"aicore_num": "abc"}, "--aicore_num", "E10001"),
        ({"optimization_switch": "foo"}, "--optimization_switch", "E10001"),
        ({"device_id": "-1"}, "--device_id", "E10003"),
        ({"auto_tune_mode": "XX"}, "--auto_tune_mode", "E10001"),
        ({"auto_tune_mode": "RL", "op_bank_path": "b"}, "--auto_tune_mode", None),
        ({"weight": "w.bin"}, "--weight", None),
        ({"mode": 1}, "--om", None),
        ({"mode": 6}, "--om", "E10057"),
        ({"mode": 9}, "--mode", "E10001"),
    ],
)
def test_a_broken_rule_has_its_option_and_code(options: dict[str, Any], subject: str, code: str | None) -> None:
    assert (subject, code) in broken(**options)


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        ({"input_shape": "x:1~2"}, "--input_shape"),
        ({"input_shape": "x:-1"}, "--input_shape"),
        ({"input_shape": "x:"}, "--input_shape"),
        ({"precision_mode_v2": "fp16"}, "--precision_mode_v2"),
    ],
)
def test_some_belong_to_newer_releases(options: dict[str, Any], subject: str) -> None:
    assert broken(**options) == []
    assert broken(Release.CURRENT, **options) == []
    assert [found for found, _ in broken(Release.CANN_5, **options)] == [subject]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": 7},
        {"mode": 30},
        {"precision_mode": "cube_fp16in_fp32out"},
        {"precision_mode": "allow_mix_precision_fp16"},
        {"precision_mode": "allow_mix_precision_bf16"},
        {"precision_mode": "allow_fp32_to_bf16"},
        {"op_select_implmode": "high_precision_for_all"},
        {"op_select_implmode": "high_performance_for_all"},
        {"output_type": "INT8"},
        {"output_type": "HIF8"},
        {"out_nodes": "a:0;b:0", "output_type": "a:0:FP16;b:0:INT32"},
    ],
)
def test_words_belong_to_newer_releases(options: dict[str, Any]) -> None:
    """As options do; the chip is one that takes them all."""
    subject = f"--{list(options)[-1]}"
    assert broken(soc_version="Ascend910B1", **options) == []
    assert broken(Release.CURRENT, soc_version="Ascend910B1", **options) == []
    assert broken(Release.CANN_5, soc_version="Ascend910B1", **options) == [(subject, "E10001")]


@pytest.mark.parametrize(
    ("name", "word"), [(name, word) for name, of in AtcOptions.table().items() for word in of.choices or ()]
)
def test_a_word_is_its_text(name: str, word: Word | Number) -> None:
    values: dict[str, Any] = {name: str(word.value)}
    assert getattr(AtcOptions(**values), name) is word
    assert AtcOptions(**values).argv() == ["atc", f"--{name}={word.value}"]
    assert word.taken.release in (None, Release.CURRENT)


@pytest.mark.parametrize(
    ("option", "mode"),
    [
        ("precision_mode", "allow_mix_precision_bf16"),
        ("precision_mode", "allow_fp32_to_bf16"),
        ("precision_mode_v2", "mixed_bfloat16"),
    ],
)
def test_bfloat16_belongs_to_newer_chips(option: str, mode: str) -> None:
    for soc in ("Ascend310", "Ascend310P3", "Ascend710", "Ascend910A", "Ascend910B"):
        assert broken(None, **{"soc_version": soc, option: mode}) == [(f"--{option}", None)]
        assert broken(soc_version=soc, precision_mode="allow_mix_precision") == []
    for soc in ("Ascend310B1", "Ascend910B4", "Ascend910_9391", "Ascend950PR_9599", "Ascend031", "$1"):
        assert broken(None, **{"soc_version": soc, option: mode}) == []


@pytest.mark.parametrize("soc", ["Ascend310", "Ascend310B1", "Ascend910B1"])
def test_vector_cores_of_their_own(soc: str) -> None:
    assert broken(soc_version=soc, core_type="VectorCore") == [("--core_type", None)]
    assert broken(soc_version=soc, core_type="AiCore") == []


class Compared(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Compared.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_many_inputs_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = tuple(InputShape(Compared(f"x{at}"), (1,)) for at in range(1000))
    shapes += (InputShape(Compared("x7"), (1,)),)
    monkeypatch.setattr(atc_shape_rules, "parse_input_shape", lambda _: shapes)
    monkeypatch.setattr(Compared, "compared", 0)
    assert broken(input_shape="any") == [("--input_shape", None)]
    assert Compared.compared < 10 * len(shapes)


def test_a_release_without_an_option_needs_no_word_about_its_value() -> None:
    values: dict[str, Any] = {**GOOD.given(), "soc_version": "Ascend910B1", "precision_mode_v2": "mixed_bfloat16"}
    (problem,) = AtcOptions(**values).problems(Release.CANN_5)
    assert problem.message == "is no option of CANN 5: leave it out"


def test_auto_tune_belongs_to_the_older_one() -> None:
    assert broken(Release.CANN_5, auto_tune_mode="RL,GA") == []
    assert broken(Release.CURRENT, auto_tune_mode="RL,GA") == [("--auto_tune_mode", "E10001")]


def test_more_profiles_go_on_newer_chips() -> None:
    many: dict[str, Any] = {"input_shape": "x:-1", "dynamic_batch_size": ",".join(map(str, range(1, 257)))}
    assert broken(soc_version="Ascend950", **many) == []
    assert ("--dynamic_batch_size", "E10036") in broken(soc_version="Ascend310", **many)


@pytest.mark.parametrize(
    ("words", "subject", "rule", "hint"),
    [
        ("--out_node=a", "--out_node", "unknown-option", "--out_nodes"),
        ("--device 0", "--device", "unknown-option", "--device_id"),
        ("--nothing-like-it", "--nothing-like-it", "unknown-option", "leave it out"),
        ("--log", "--log", "missing-value", "--log=value"),
        ("--log=info --log=error", "--log", "repeated-option", "last"),
        ("-h", "-h", "no-conversion", "help"),
    ],
)
def test_words_that_are_no_option_and_value(words: str, subject: str, rule: str, hint: str) -> None:
    line = f"{shlex.join(GOOD.argv())} {words}"
    problems = AtcOptions.parse(line).problems()
    assert [(problem.subject, problem.rule) for problem in problems] == [(subject, rule)]
    assert hint in problems[0].message
    assert AtcOptions.parse(line).argv() == shlex.split(line)


@pytest.mark.parametrize("soc", ["Ascend310 ", " Ascend310", "Ascend310\n", "310 ", "ascend310"])
def test_a_chip_that_is_written_otherwise(soc: str) -> None:
    (problem,) = dataclasses.replace(GOOD, soc_version=soc).problems()
    assert (problem.rule, problem.message) == ("soc-version", f"is {soc!r}, which is no chip: did you mean Ascend310?")


@pytest.mark.parametrize("soc", ["Ascend999 x", "Ascend310P3,", "Ascend310é"])
def test_what_is_no_chip(soc: str) -> None:
    (problem,) = dataclasses.replace(GOOD, soc_version=soc).problems()
    assert problem.rule == "soc-version"


@pytest.mark.parametrize("soc", ["Ascend910_9382", "Ascend310B4", "Ascend950PR", "Ascend310P3"])
def test_a_chip_that_is_not_in_the_table_may_be_new(soc: str) -> None:
    assert not dataclasses.replace(GOOD, soc_version=soc).problems()
