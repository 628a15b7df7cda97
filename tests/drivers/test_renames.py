"""Names of nodes after a rewrite, followed by what they compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

import onnxfuse
from onnxfuse import UsageError
from onnxfuse.cli.main import main
from onnxfuse.drivers.renames import GoneError, Outputs, Renames
from onnxfuse.model_io import open_model

NASNET: Final = Path(onnxfuse.__file__).parent.parent / "examples" / "nasnetlarge" / "nasnetlarge.onnx"

# A chain of Slices, and a Softmax whose axis is moved.
MODEL: Final = """
<ir_version: 8, opset_import: ["": 13]>
example (float[2, 6, 20, 197] x) => (float[2, 6, 16, 197] y, float[2, 6, 20, 197] z)
<int64[1] one = {1}, int64[1] two = {2}, int64[1] end = {18}, int64[1] far = {17}, int64[1] axis = {2}, int64[1] other = {3}>
{
    [cut] a = Slice(x, one, end, axis)
    [cut_again] b = Slice(a, one, far, axis)
    [soft] c = Softmax <axis = 3> (x)
    [scaled] y = Relu(b)
    z = Relu(c)
}
"""


@pytest.fixture
def rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a model, what the passes for Ascend made of it, and the report."""
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(MODEL), "m.onnx")
    assert main(["apply", "m.onnx", "-o", "out.onnx", "-p", "ascend", "--json"]) == 0
    Path("report.json").write_text(capsys.readouterr().out)
    return tmp_path


def read(report: str | Path = "report.json", model: str | Path = "out.onnx") -> Renames:
    return Renames.read(Path(report), open_model(Path(model)))


def outputs(path: str | Path) -> Outputs:
    return Outputs.of(onnx.load(path, load_external_data=False).graph)


def test_names_that_atc_gives() -> None:
    text = """<ir_version: 8, opset_import: ["": 13]> g (float[4] x) => (float[2] y, float[2] z) {
        a = Relu(x) [b] c = Relu(a) d = Abs(c) y, z = Split <axis = 0> (d) }"""
    found = Outputs.of(onnx.parser.parse_model(text).graph)
    assert list(found.values) == ["Relu_0", "b", "Abs_1", "Split_2"]
    assert found.places["z"] == ("Split_2", 1)


def test_an_output_is_followed_by_its_value(rewritten: Path) -> None:
    """Each place that is returned computes what the old one did, as onnxruntime sees it."""
    renames, now = read(), outputs("out.onnx")
    assert renames.original == outputs("m.onnx")
    x = np.random.default_rng(0).normal(size=(2, 6, 20, 197)).astype(np.float32)
    followed = {}
    for node in ("cut_again", "soft", "scaled", "Relu_0"):
        place = renames.output(node, 0, now)
        followed[node] = place[0]
        old, new = outputs("m.onnx").values[node][0], now.values[place[0]][place[1]]
        assert np.array_equal(computed("m.onnx", old, x), computed("out.onnx", new, x))
    # Another node has the name now, or the same name means another node.
    assert followed["soft"] != "soft"
    assert followed["Relu_0"] != "soft"


def computed(path: str, value: str, x: np.ndarray) -> np.ndarray:
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=value))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def test_what_is_gone(rewritten: Path) -> None:
    renames, now = read(), outputs("out.onnx")
    with pytest.raises(GoneError, match=r"^nothing computes output 0 of cut any more: cut_again stands for it$"):
        renames.output("cut", 0, now)
    with pytest.raises(GoneError, match=r"^scaled had no output 1 in the model as it was$"):
        renames.output("scaled", 1, now)
    with pytest.raises(GoneError, match=r"^there is no node no, in the model as it is or as it was$") as raised:
        renames.output("no", 0, now)
    assert raised.value.cure == "name a node of one of them"
    with pytest.raises(GoneError, match=r"^there is no node scald") as raised:
        renames.output("scald", 0, now)
    assert raised.value.cure == "is scaled meant?"


def test_a_name_of_today(rewritten: Path) -> None:
    renames, now = read(), outputs("out.onnx")
    (new,) = (
        set(now.values)
        - set(outputs("m.onnx").values)
        - {name for name in now.values if "Relu" in name}
        - {name for name in now.values if now.values[name] == ("c",)}
    )
    assert renames.output(new, 0, now) == (new, 0)
    assert renames.nodes_now(new, now) == (new,)


@pytest.mark.parametrize(("how", "missing"), [("gone", "m.onnx is not there"), ("in place", "m.onnx is another one")])
def test_without_the_model_as_it_was(rewritten: Path, how: str, missing: str) -> None:
    """What a pass has touched is not guessed."""
    if how == "gone":
        Path("m.onnx").unlink()
    else:
        shutil.copy("out.onnx", "m.onnx")
    now = outputs("out.onnx")
    renames = read()
    assert renames.original is None
    assert renames.output("scaled", 0, now) == ("scaled", 0)
    for node in ("cut", "cut_again", "soft"):
        with pytest.raises(
            GoneError,
            match=rf"^a pass replaced {node}: .* stands for it, and the model as it was, .* is not found \({missing}\)$",
        ):
            renames.output(node, 0, now)
    with pytest.raises(GoneError, match=r"^there is no node scald") as raised:
        renames.output("scald", 0, now)
    assert raised.value.cure == "is scaled meant?"


@pytest.mark.parametrize("told", ["m.onnx", "models/m.onnx", "/nowhere/m.onnx"])
def test_the_model_as_it_was_is_looked_for_beside_the_report(
    rewritten: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    report = json.loads(Path("report.json").read_text())
    Path("report.json").write_text(json.dumps({**report, "input": told}))
    if told == "models/m.onnx":
        Path("models").mkdir()
        Path("m.onnx").rename("models/m.onnx")
    (rewritten / "there").mkdir()
    monkeypatch.chdir(rewritten / "there")
    now = outputs("../out.onnx")
    assert read("../report.json", "../out.onnx").output("scaled", 0, now) == ("scaled", 0)
    assert read("../report.json", "../out.onnx").original is not None
    (rewritten / "m.onnx").unlink(missing_ok=True)
    (rewritten / "models" / "m.onnx").unlink(missing_ok=True)
    missing = read("../report.json", "../out.onnx").missing
    assert f"{told} is not there, " in missing
    assert missing.endswith("../m.onnx is not there")


@pytest.mark.parametrize("told", ["x" * 300, "nul\0", "."])
def test_a_model_as_it_was_that_cannot_be_named(rewritten: Path, told: str) -> None:
    report = json.loads(Path("report.json").read_text())
    Path("report.json").write_text(json.dumps({**report, "input": told}))
    assert read().missing.startswith(f"{told} is not there")


def test_the_report_of_another_model(rewritten: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"^report.json: is the report of another model than m.onnx: that had 1 of Slice, and this has 2$",
    ):
        read(model="m.onnx")
    model = onnx.load("out.onnx")
    model.graph.output[0].name = "another"
    for node in model.graph.node:
        node.output[:] = ["another" if name == "y" else name for name in node.output]
    onnx.save(model, "renamed.onnx")
    with pytest.raises(
        UsageError,
        match=r"^report.json: is the report of another model than .*: that had an output y, and this has none$",
    ):
        read(model="renamed.onnx")


def test_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["apply", str(NASNET), "-o", "out.onnx", "-p", "merge-sliced", "--verify", "structure", "--json"]
    assert main(words) == 0
    Path("report.json").write_text(capsys.readouterr().out)
    renames, now, before = read(), outputs("out.onnx"), outputs(NASNET)
    merged = 0
    for node, values in before.values.items():
        for index, value in enumerate(values):
            if value in now.places:
                assert renames.output(node, index, now) == now.places[value]
            else:
                with pytest.raises(GoneError, match="nothing computes output 0 of .* any more") as raised:
                    renames.output(node, index, now)
                merged += str(raised.value).endswith(" stands for it")
    assert merged == 11


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "is no report: what `onnxfuse apply --json` prints is expected"),
        ('{"schema": 2, "passes": []}', "is no report"),
        ('{"schema": 1, "passes": [{}]}', "is no report that is whole: KeyError: 'applied'"),
        ('{"schema": 1, "passes": [3]}', "is no report that is whole"),
    ],
)
def test_what_is_no_report(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UsageError, match=says):
        read(tmp_path / "report.json", NASNET)


def test_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read(tmp_path / "report.json", NASNET)


def test_steps_are_composed() -> None:
    def step(
        values: dict[str, str | None], nodes: dict[str, list[str]], scope: tuple[str, ...] = ()
    ) -> dict[str, object]:
        return {"values": values, "nodes": nodes, "at": {"scope": list(scope)}}

    steps = [
        step({"a": "b"}, {"n": ["m", "o"]}),
        step({"b": "c"}, {"m": ["p"]}),
        step({"c": None}, {"o": []}),
        step({"x": "y"}, {"q": ["r"]}, scope=("loop",)),
    ]
    renames = Renames.of(json.loads(json.dumps({"passes": [{"applied": steps[:2]}, {"applied": steps[2:]}]})))
    assert renames.values == {"a": None, "b": None, "c": None}
    assert renames.nodes == {"n": ("p",), "m": ("p",), "o": (), "q": ("r",)}
    assert renames.origins == {"p": ("n",), "r": ("q",)}
    now = Outputs(
        {"p": ("c",), "s": ("d",), "Relu_0": ("r",)}, {"c": ("p", 0), "d": ("s", 0), "r": ("Relu_0", 0)}, ("d",)
    )
    # The last is called by its first output in a report.
    named = {name: renames.nodes_now(name, now) for name in ("n", "m", "o", "s", "q", "z")}
    assert named == {"n": ("p",), "m": ("p",), "o": (), "s": ("s",), "q": ("Relu_0",), "z": None}


def test_nodes_that_stand_for_others() -> None:
    changes: list[dict[str, list[str]]] = [
        {"slice_1": ["slice_2"], "slice_2": ["slice_2"]},
        {"slice_2": ["slice_3"], "slice_3": ["slice_3"]},
        {"pad": []},
        {"soft": ["before", "soft", "after"]},
    ]
    steps = [{"at": {"scope": []}, "values": {}, "nodes": nodes} for nodes in changes]
    assert Renames.of({"passes": [{"applied": steps}]}).origins == {
        "slice_3": ("slice_1", "slice_2", "slice_3"),
        "before": ("soft",),
        "soft": ("soft",),
        "after": ("soft",),
    }
