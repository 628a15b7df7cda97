"""Other people's passes in the text of a pipeline: how they are named, found, and refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onnxfuse
from onnxfuse import Pipeline, UsageError
from onnxfuse.adapters import GsPass, IrPass
from tests.adapters.models import model, ops

FIX = """
import onnx_ir as ir
from beside import UNWANTED

def fix(model):
    for node in list(model.graph):
        if node.op_type == UNWANTED:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)

def later(model):
    import deferred
    deferred.note.append(len(model.graph))

class Holder:
    @staticmethod
    def inside(model):
        fix(model)

    class Nested:
        @staticmethod
        def deeper(model):
            fix(model)

number = 7

def __getattr__(name):
    if name == "unlucky":
        raise RuntimeError("nobody may have it")
    raise AttributeError(name)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with modules of all manners; afterwards nothing of them is imported."""
    files = {
        "fixes.py": FIX,
        "beside.py": "UNWANTED = 'Identity'",
        "deferred.py": "note = []",
        "broken.py": "import fixes\nraise ValueError('half a module')",
        "unparsed.py": "def f(:\n",
        "needy.py": "import no_such_package",
        "quitting.py": "import sys\nsys.exit('bye')",
        "json.py": "def dumps(model): raise AssertionError",
        "house/__init__.py": "",
        "house/room.py": "from fixes import fix",
        "house/cellar.py": "import no_such_package",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    modules, path_before = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path_before
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    "target", ["fixes.fix", "house.room.fix", "fixes.Holder.inside", "fixes.Holder.Nested.deeper", "'fixes.fix'"]
)
def test_what_is_in_the_folder(folder: Path, target: str) -> None:
    pipeline = Pipeline.parse(f"merge-sliced,ir:{target}", folder=folder)
    assert str(pipeline) == f"merge-sliced,ir:{target.strip(chr(39))}"
    assert "Identity" not in ops(onnxfuse.apply(model(), pipeline).model)


def test_the_folder_is_the_last_place_when_the_import_is_over(folder: Path) -> None:
    pipeline = Pipeline.parse("ir:fixes.later", folder=folder)
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1
    assert not onnxfuse.apply(model(), pipeline).report.rejected
    import json

    assert Path(json.__file__).parent != folder


def test_without_a_folder_it_is_not_looked_for_there(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^ir:fixes\.fix: there is no module fixes$"):
        Pipeline.parse("ir:fixes.fix")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("fix", "what of the module? ir:fix.NAME is expected"),
        ("no_such_module.fix", "there is no module no_such_module"),
        ("fixes.fxi", "the module fixes has no attribute fxi"),
        ("fixes.Holder.outside", "the class fixes.Holder has no attribute outside"),
        ("fixes.number.real.x", "the object fixes.number.real has no attribute x"),
        ("house.attic.fix", "the module house has no attribute attic"),
        ("house.room", "is a module: ir:house.room.NAME is expected"),
        ("needy.fix", "the module needy cannot be imported: ModuleNotFoundError: No module named 'no_such_package' ("),
        ("house.cellar.fix", "the module house.cellar cannot be imported: ModuleNotFoundError: No module named"),
        ("broken.fix", "the module broken cannot be imported: ValueError: half a module ("),
        ("unparsed.fix", "the module unparsed cannot be imported: SyntaxError: "),
        ("quitting.fix", "the module quitting cannot be imported: SystemExit: bye ("),
        ("fixes.unlucky", "fixes.unlucky cannot be had: RuntimeError: nobody may have it ("),
        ("fixes.", "a module and a name in it are expected, with a dot between them"),
        ("'fixes fix'", "a module and a name in it are expected, with a dot between them"),
        (".fix", "a module and a name in it are expected, with a dot between them"),
        ("fixes:fix", "a module and a name in it are expected, with a dot between them"),
        ("<lambda>", "stands for an object of a Python program, which text cannot name"),
    ],
)
@pytest.mark.parametrize("prefix", ["ir", "gs"])
def test_what_cannot_be_found(folder: Path, prefix: str, target: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(f"{prefix}:{target}", folder=folder)
    message = str(raised.value)
    assert message.startswith(f"{prefix}:{target.strip(chr(39))}")
    assert says.replace("ir:", f"{prefix}:") in message
    assert "\n" not in message
    if says.endswith("("):
        assert message.endswith((":1)", ":2)", ":29)"))


def test_errors_of_an_import_tell_the_line(folder: Path) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse("ir:broken.fix", folder=folder)
    assert str(raised.value).endswith(f"({folder / 'broken.py'}:2)")


def test_what_is_no_function(folder: Path) -> None:
    pytest.importorskip("onnx_graphsurgeon")
    with pytest.raises(UsageError, match=r"^gs:fixes\.number is no function"):
        Pipeline.parse("gs:fixes.number", folder=folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("py:fixes.fix", "there is no prefix py: in a pipeline (gs:, ir:, exec: are)"),
        ("gs:", "cannot be read at character 4: what gs: is to run is expected"),
        ("exec:{in}", "cannot be read at character 6: what exec: is to run is expected"),
        ("exec:'cp {in} {out}", "the quotation mark is not closed"),
        ("ir:fixes.fix{deep=true}", "ir has no option 'deep': it has none"),
    ],
)
def test_syntax(folder: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(text, folder=folder)
    assert says in str(raised.value)


# ---- what text cannot name


def test_objects_that_text_cannot_name() -> None:
    def local(graph: object) -> None:
        pass

    for pass_ in (IrPass(lambda model: None), IrPass(local)):
        text = str(Pipeline(pass_))
        with pytest.raises(UsageError, match="stands for an object of a Python program, which text cannot name"):
            Pipeline.parse(text)
    assert str(IrPass(lambda model: None)).startswith('ir:"<') or str(IrPass(lambda model: None)).startswith("ir:<")


# ---- trust


@pytest.mark.parametrize("text", ["ir:broken.fix", "gs:broken.fix", "exec:'no-such-tool {in} {out}'"])
@pytest.mark.parametrize("around", ["{}", "merge-sliced,{}", "repeat(remove-pad,{})", "remove-pad\n{} # harmless\n"])
def test_code_is_refused_where_nobody_trusts_it(folder: Path, text: str, around: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(around.format(text), trusted=False, folder=folder)
    assert str(raised.value) == (
        f"{text.replace(chr(39), '')} runs code, and the pipeline comes from a file: it does so only where that is trusted "
        "(--trust)"
    )
    assert "broken" not in sys.modules  # nothing of it was run


def test_what_runs_no_code_needs_no_trust() -> None:
    assert len(Pipeline.parse("default,repeat(merge-sliced)", trusted=False).members) == 3


# ---- names


def test_leaving_one_out(folder: Path) -> None:
    pipeline = Pipeline.parse(
        "remove-pad,ir:fixes.fix,repeat(ir:fixes.later,exec:'cp {in} {out}'),ir:fixes.later", folder=folder
    )
    assert str(pipeline.without(["ir:fixes.fix"])) == (
        'remove-pad,repeat(ir:fixes.later,exec:"cp {in} {out}"),ir:fixes.later'
    )
    assert str(pipeline.without(["ir"])) == 'remove-pad,repeat(exec:"cp {in} {out}")'
    assert str(pipeline.without(["exec", "ir:fixes.later"])) == "remove-pad,ir:fixes.fix"
    with pytest.raises(UsageError, match="'gs' cannot be skipped"):
        pipeline.without(["gs"])


def test_a_function_by_its_module_is_named() -> None:
    pytest.importorskip("onnx_graphsurgeon")
    from tests.adapters.test_gs import fold

    assert str(GsPass(fold)) == "gs:tests.adapters.test_gs.fold"
    assert Pipeline.parse(str(GsPass(fold))) == Pipeline(GsPass(fold))


# ---- lines and comments


@pytest.mark.parametrize(
    "text",
    [
        "merge-sliced\nremove-pad",
        "merge-sliced,\nremove-pad,\n",
        "# what helps\n\nmerge-sliced # first\n  ,remove-pad\n",
        "merge-sliced#no space\nremove-pad # , repeat( {\n#",
        "\n\nmerge-sliced\r\nremove-pad\r\n",
    ],
)
def test_lines_and_comments(text: str) -> None:
    assert str(Pipeline.parse(text)) == "merge-sliced,remove-pad"


def test_a_group_over_several_lines() -> None:
    text = "repeat { max-rounds = 4 } (\n  merge-sliced, # one\n  remove-pad\n)\nremove-pad\n"
    assert str(Pipeline.parse(text)) == "repeat{max-rounds=4}(merge-sliced,remove-pad),remove-pad"


def test_a_sign_in_quotation_marks_is_no_comment() -> None:
    (member,) = Pipeline.parse("exec:'cp {in} {out} # of #'").members
    assert str(member) == 'exec:"cp {in} {out} # of #"'


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "  # nothing"])
def test_an_empty_one(text: str) -> None:
    with pytest.raises(UsageError, match="the pipeline is empty: name at least one pass or preset"):
        Pipeline.parse(text)


def test_an_error_on_a_line() -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse("merge-sliced\n# a comment\nremove-pad )\n")
    assert str(raised.value) == (
        "line 3 of the pipeline cannot be read at character 12: a comma or the end is expected"
    )
