"""A user loads, changes the model with plain onnx_ir, and saves: all that was changed is written, all else is carried."""

from __future__ import annotations

import os

import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxfuse.model_io import load
from onnxfuse.model_io.emit import emit
from tests.model_io.editing import Edit, normalized
from tests.model_io.edits import EDITS
from tests.model_io.models import edited, everything, messages, proto_of

EXAMPLES = int(os.environ.get("ONNXFUSE_EXAMPLES", "200"))
ORIGINAL = everything()
DATA = ORIGINAL.SerializeToString()


def check(edits: list[Edit], kind: str) -> None:
    """Does edits to both forms of a model and compares what is written with what should be."""
    given_as = {"bytes": DATA, "proto": ORIGINAL, "copy": None}[kind]
    model: ir.Model = load(load(DATA)) if given_as is None else load(given_as)
    expected = ORIGINAL
    for edit in edits:
        try:
            edit.on_ir(model)
        except StopIteration:  # what it changes is gone with an edit before
            continue
        expected = edited(expected, edit.on_proto)

    written = emit(model).data()

    assert normalized(proto_of(written)) == normalized(expected)
    assert ORIGINAL.SerializeToString() == DATA


@pytest.mark.parametrize("kind", ["bytes", "proto", "copy"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_one_edit_is_written_and_all_else_carried(edit: Edit, kind: str) -> None:
    check([edit], kind)


# In one order, so that no edit looks for what another has removed or renamed; and few enough that they meet.
ORDER = [edit for edit in EDITS if not edit.name.startswith(("rename", "remove"))]
ORDER += [edit for edit in EDITS if edit not in ORDER]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sets(st.sampled_from(range(len(ORDER))), min_size=2, max_size=8), st.sampled_from(["bytes", "copy"]))
def test_any_edits_are_written_and_all_else_carried(chosen: set[int], kind: str) -> None:
    check([ORDER[index] for index in sorted(chosen)], kind)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_untouched_messages_stay_byte_for_byte(edit: Edit) -> None:
    model = load(DATA)
    edit.on_ir(model)

    before, after = messages(ORIGINAL), messages(proto_of(emit(model).data()))
    expected = messages(edited(ORIGINAL, edit.on_proto))

    untouched = {key for key, items in before.items() if expected.get(key) == items}
    assert len(untouched) > 10
    assert {key: after.get(key) for key in untouched} == {key: before[key] for key in untouched}


def test_edit_is_seen_after_a_copy_and_undone_leaves_the_original() -> None:
    model = load(DATA)
    model.graph.name = "else"
    copy = load(model)
    copy.graph.name = "everything"

    assert emit(copy).data() == DATA
    assert emit(model).data() != DATA
