"""Pipelines as text: what is read, and what is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onnxfuse
from onnxfuse import Pass, Pipeline, Repeat, UsageError
from onnxfuse.passes import MergeSliced, RemovePad
from onnxfuse.pipeline import registry
from tests.pipeline.optioned import KINDS, Chosen, Color, Colored, Fancy, Level, Plain, Speed, Strict
from tests.profile import EXAMPLES

# ---------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("merge-sliced", (MergeSliced(),)),
        ("merge-sliced,remove-pad", (MergeSliced(), RemovePad())),
        ("  merge-sliced ,\n\tremove-pad  ", (MergeSliced(), RemovePad())),
        ("merge-sliced{}", (MergeSliced(),)),
        ("remove-pad,remove-pad", (RemovePad(), RemovePad())),
        ("repeat(merge-sliced)", (Repeat((MergeSliced(),)),)),
        ("repeat{max-rounds=3}( merge-sliced , remove-pad )", (Repeat((MergeSliced(), RemovePad()), max_rounds=3),)),
        (
            "remove-pad,repeat(repeat{max-rounds=2}(merge-sliced)),remove-pad",
            (RemovePad(), Repeat((Repeat((MergeSliced(),), max_rounds=2),)), RemovePad()),
        ),
        ("repeat(minimal,merge-sliced)", (Repeat((RemovePad(), MergeSliced())),)),
    ],
)
def test_reads(text: str, members: tuple[Pass | Repeat, ...]) -> None:
    assert Pipeline.parse(text).members == members


@pytest.mark.usefixtures("more_passes")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fancy{count=7}", Fancy(count=7)),
        ("fancy{count=-7}", Fancy(count=-7)),
        ("fancy { count = 7 , deep = true }", Fancy(count=7, deep=True)),
        ("fancy{deep=TRUE,sharp-edges=false}", Fancy(deep=True, sharp_edges=False)),
        ("fancy{label=plain.text/with:signs+more}", Fancy(label="plain.text/with:signs+more")),
        ('fancy{label="-1"}', Fancy(label="-1")),
        ("fancy{label=-1}", Fancy(label="-1")),
        ('fancy{label="a, {b} = (c)"}', Fancy(label="a, {b} = (c)")),
        ("fancy{label='say \"it\"'}", Fancy(label='say "it"')),
        (r'fancy{label="say \"it\" \\ there"}', Fancy(label=r'say "it" \ there')),
        ('fancy{label=""}', Fancy(label="")),
        ("fancy{ratio=1e-3}", Fancy(ratio=1e-3)),
        ("fancy{ratio=2}", Fancy(ratio=2.0)),
        ("fancy{limit=4}", Fancy(limit=4)),
        ("fancy{title=4}", Fancy(title="4")),
        ("fancy{speed=very-fast}", Fancy(speed=Speed.VERY_FAST)),
        ('strict{dim="-1",to=1}', Strict("-1", 1)),
        ("strict{to=12,dim=N}", Strict("N", 12)),
        ('colored{color="dark blue",level=2}', Colored(Color.DARK_BLUE, Level.HIGH)),
        ("chosen{speed=very-fast}", Chosen(Speed.VERY_FAST)),
    ],
)
def test_reads_options(text: str, expected: Pass) -> None:
    (member,) = Pipeline.parse(text).members

    assert member == expected
    for option in dataclasses.fields(expected):  # type: ignore[arg-type]
        assert type(getattr(member, option.name)) is type(getattr(expected, option.name))


@pytest.mark.parametrize("name", sorted(registry.presets()))
def test_preset_stands_for_its_members(name: str) -> None:
    assert Pipeline.parse(name) == Pipeline.parse(registry.presets()[name])
    assert Pipeline.parse(f"{name},{name}").members == Pipeline.parse(name).members * 2
    assert Pipeline.parse(name + "{}") == Pipeline.parse(name)


def test_presets_that_there_are() -> None:
    assert {"minimal", "default", "ascend"} <= set(registry.presets())
    minimal, default, ascend = (
        {str(member) for member in Pipeline.parse(name).members} for name in ("minimal", "default", "ascend")
    )
    assert minimal <= default <= ascend
    assert {"merge-sliced", "remove-pad"} <= default


@pytest.mark.parametrize(
    "passes",
    [
        "remove-pad,merge-sliced",
        Pipeline(RemovePad(), MergeSliced()),
        [RemovePad(), MergeSliced()],
        ("remove-pad", MergeSliced()),
        ["minimal", Pipeline(MergeSliced())],
    ],
)
def test_takes_a_pipeline_in_any_form(passes: Any) -> None:
    assert Pipeline.of(passes) == Pipeline(RemovePad(), MergeSliced())


def test_takes_one_pass_or_one_group() -> None:
    assert Pipeline.of(RemovePad()).members == (RemovePad(),)
    assert Pipeline.of(Repeat((RemovePad(),))).members == (Repeat((RemovePad(),)),)


# ---------------------------------------------------------------------------------------------------- writing


def test_writes_what_differs_from_the_defaults() -> None:
    assert str(Fancy()) == "fancy"
    assert str(Fancy(count=4, sharp_edges=False)) == "fancy{count=4,sharp-edges=false}"
    assert str(Fancy(label="a b")) == 'fancy{label="a b"}'
    assert str(Fancy(label='"')) == r'fancy{label="\""}'
    assert str(Fancy(speed=Speed.VERY_FAST, hidden=7)) == "fancy{speed=very-fast}"
    assert str(Pipeline(Fancy(deep=True), Repeat((RemovePad(), MergeSliced()), max_rounds=2))) == (
        "fancy{deep=true},repeat{max-rounds=2}(remove-pad,merge-sliced)"
    )


fancy = st.builds(
    Fancy,
    count=st.integers(),
    deep=st.booleans(),
    sharp_edges=st.booleans(),
    label=st.one_of(st.text(), st.text(alphabet="\"'\\,{}()= \n-a1²")),
    ratio=st.floats(allow_nan=False),
    limit=st.one_of(st.none(), st.integers()),
    title=st.one_of(st.none(), st.text(alphabet="\"'\\ ab-")),
    speed=st.sampled_from(Speed),
)
strict = st.builds(Strict, dim=st.text(alphabet="\"'\\,{}()= -1N"), to=st.integers(), speed=st.sampled_from(Speed))
colored = st.builds(Colored, color=st.sampled_from(Color), level=st.sampled_from(Level))
chosen = st.builds(Chosen, speed=st.sampled_from(Speed))
single = st.one_of(st.sampled_from([MergeSliced(), RemovePad(), Plain()]), fancy, strict)
member = st.recursive(
    single,
    lambda inner: st.builds(Repeat, st.lists(inner, min_size=1, max_size=3).map(tuple), max_rounds=st.integers(1, 20)),
    max_leaves=6,
)


@EXAMPLES
@given(members=st.lists(member, min_size=1, max_size=4))
def test_text_reads_back(members: list[Pass | Repeat]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        real = registry.pass_class
        patch.setattr(registry, "pass_class", lambda name: KINDS.get(name) or real(name))
        pipeline = Pipeline(*members)
        back = Pipeline.parse(str(pipeline))

    assert back == pipeline
    assert hash(back) == hash(pipeline)
    assert str(back) == str(pipeline)


@pytest.mark.usefixtures("more_passes")
@EXAMPLES
@given(pass_=colored)
def test_text_of_enums_that_are_no_strings_reads_back(pass_: Pass) -> None:
    assert Pipeline.parse(str(pass_)).members == (pass_,)


@pytest.mark.usefixtures("more_passes")
@EXAMPLES
@given(pass_=chosen)
def test_text_of_enums_without_a_default_reads_back(pass_: Pass) -> None:
    assert Pipeline.parse(str(pass_)).members == (pass_,)


def test_pipeline_is_a_value() -> None:
    pipeline = Pipeline.parse("default")

    assert pipeline == Pipeline.parse("default")
    assert {pipeline: 1}[Pipeline(*pipeline.members)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipeline.members = ()  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------- without


def test_without_leaves_passes_out_wherever_they_are() -> None:
    pipeline = Pipeline.parse("remove-pad,repeat(merge-sliced,remove-pad),repeat(remove-pad),merge-sliced")

    assert str(pipeline.without(["remove-pad"])) == "repeat(merge-sliced),merge-sliced"
    assert str(pipeline.without(["merge-sliced"])) == "remove-pad,repeat(remove-pad),repeat(remove-pad)"
    assert pipeline.without([]) == pipeline
    assert pipeline.without(["remove-pad", "merge-sliced"]).members == ()


def test_without_keeps_the_rounds_of_a_group() -> None:
    pipeline = Pipeline.parse("repeat{max-rounds=2}(merge-sliced,remove-pad)")
    assert str(pipeline.without(["merge-sliced"])) == "repeat{max-rounds=2}(remove-pad)"


def test_without_a_pass_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="'merge-sliced' cannot be skipped: the pipeline remove-pad does not have it"):
        Pipeline.parse("minimal").without(["merge-sliced"])


# ---------------------------------------------------------------------------------------------------- groups


def test_group_runs_until_nothing_changes() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[N] x) => (float[M] y)
        <int64[1] one = {1}, int64[1] far = {9223372036854775807}, int64[2] pads = {0, 0}> {
            a = Slice(x, one, far)
            b = Pad(a, pads)
            y = Slice(b, one, far)
        }"""
    )
    once = onnxfuse.apply(model, "merge-sliced,remove-pad").report
    until = onnxfuse.apply(model, "repeat(merge-sliced,remove-pad)").report
    at_most_once = onnxfuse.apply(model, "repeat{max-rounds=1}(merge-sliced,remove-pad)").report

    assert [(each.name, len(each.applied)) for each in once.passes] == [("merge-sliced", 0), ("remove-pad", 1)]
    assert [(each.name, len(each.applied)) for each in until.passes] == [
        ("merge-sliced", 0),
        ("remove-pad", 1),
        ("merge-sliced", 1),
        ("remove-pad", 0),
        ("merge-sliced", 0),
        ("remove-pad", 0),
    ]
    assert [each.name for each in at_most_once.passes] == ["merge-sliced", "remove-pad"]
    assert [applied.index for applied in until.applied] == [1, 2]
    assert until.pipeline == "repeat(merge-sliced,remove-pad)"
