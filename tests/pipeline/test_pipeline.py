"""Pipelines as text: what is read, what is written, and what is said of text that is neither."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse import Builder, Facts, Match, Numerics, Pass, Pipeline, Repeat, RewritePass, UsageError
from onnxfuse.passes import MergeSliced, RemovePad
from onnxfuse.pipeline import registry
from tests.profile import EXAMPLES


class Speed(StrEnum):
    SLOW = "slow"
    VERY_FAST = "very-fast"


class Color(Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Plain(RewritePass):
    """A pass that does nothing."""

    name: ClassVar[str] = "plain"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Neg"})

    def match(self, node: Any, facts: Facts) -> Match | None:
        del node, facts
        return None

    def rewrite(self, match: Match, build: Builder) -> list[Any]:
        raise AssertionError((match, build))


@dataclass(frozen=True)
class Fancy(Plain):
    """A pass with an option of every kind."""

    name: ClassVar[str] = "fancy"
    count: int = 3
    deep: bool = False
    sharp_edges: bool = True
    label: str = "any"
    ratio: float = 0.5
    limit: int | None = None
    title: str | None = None
    speed: Speed = Speed.SLOW
    hidden: int = dataclasses.field(default=0, repr=False)


@dataclass(frozen=True)
class Strict(Plain):
    """A pass with options that must be given."""

    name: ClassVar[str] = "strict"
    dim: str
    to: int
    speed: Speed = Speed.SLOW


@dataclass(frozen=True)
class Colored(Plain):
    """A pass with enums that are no strings."""

    name: ClassVar[str] = "colored"
    color: Color = Color.RED
    level: Level = Level.LOW


@dataclass(frozen=True)
class Chosen(Plain):
    """A pass with an enum that must be given."""

    name: ClassVar[str] = "chosen"
    speed: Speed


KINDS: dict[str, type[Pass]] = {kind.name: kind for kind in (Plain, Fancy, Strict, Colored, Chosen)}


@pytest.fixture
def more_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the passes of this file."""
    real = registry.pass_class
    monkeypatch.setattr(registry, "pass_class", lambda name: KINDS.get(name) or real(name))


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


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_empty_text(text: str) -> None:
    with pytest.raises(UsageError, match=r"^the pipeline is empty: name at least one pass or preset$"):
        Pipeline.parse(text)


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        (",", 1, "the name of a pass is expected"),
        ("merge-sliced,", 14, "the name of a pass is expected"),
        ("merge-sliced,,remove-pad", 14, "the name of a pass is expected"),
        ("merge-sliced remove-pad", 14, "a comma or the end is expected"),
        ("merge-sliced)", 13, "a comma or the end is expected"),
        ("merge-sliced}", 13, "a comma or the end is expected"),
        ("-x", 1, "the name of a pass is expected"),
        ("repeat", 7, "repeat is followed by its passes in parentheses"),
        ("repeat{max-rounds=2}", 21, "repeat is followed by its passes in parentheses"),
        ("repeat()", 8, "the name of a pass is expected"),
        ("repeat(remove-pad", 18, "a closing parenthesis is expected"),
        ("remove-pad{", 12, "the name of an option is expected"),
        ("remove-pad{a", 13, "the option a needs a value: a=..."),
        ("remove-pad{a=", 14, "the option a needs a value"),
        ("remove-pad{a=}", 14, "the option a needs a value"),
        ("remove-pad{a=1", 15, "a comma or a closing brace is expected"),
        ("remove-pad{a=1 b=2}", 16, "a comma or a closing brace is expected"),
        ("remove-pad{a=1,}", 16, "the name of an option is expected"),
        ("remove-pad{a=1,a=2}", 18, "the option a is given twice"),
        ('remove-pad{a="1}', 17, "the quotation mark is not closed"),
        ("remove-pad{a='1\"}", 18, "the quotation mark is not closed"),
    ],
)
def test_syntax_error_names_the_place(text: str, at: int, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(text)

    assert str(raised.value) == f"the pipeline {text!r} cannot be read at character {at}: {what}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("merge-slice", "merge-sliced"),
        ("merge_sliced", "merge-sliced"),
        ("Remove-Pad", "remove-pad"),
        ("defualt", "default"),
        ("zzzzzz", None),
    ],
)
def test_unknown_pass(name: str, near: str | None) -> None:
    hint = f": did you mean {near}?" if near else ""
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(f"remove-pad,{name}")

    assert str(raised.value) == f"there is no pass {name!r}{hint} (onnxfuse passes lists them)"


@pytest.mark.usefixtures("more_passes")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("remove-pad{mode=edge}", "remove-pad has no option 'mode': it has none"),
        (
            "fancy{depth=1}",
            "fancy has no option 'depth': it has count, deep, sharp-edges, label, ratio, limit, title, speed",
        ),
        (
            "fancy{hidden=1}",
            "fancy has no option 'hidden': it has count, deep, sharp-edges, label, ratio, limit, title, speed",
        ),
        ("fancy{count=many}", "fancy{count} is an int, not 'many'"),
        ("fancy{count=1.5}", "fancy{count} is an int, not '1.5'"),
        ("fancy{limit=many}", "fancy{limit} is an int, not 'many'"),
        ("fancy{deep=maybe}", "fancy{deep} is true or false, not 'maybe'"),
        ("fancy{ratio=half}", "fancy{ratio} is a float, not 'half'"),
        ("fancy{speed=fast}", "fancy{speed} is one of slow, very-fast, not 'fast'"),
        ("repeat{rounds=2}(plain)", "repeat has no option 'rounds': it has max-rounds"),
        ("repeat{max-rounds=0}(plain)", "repeat: max-rounds is at least 1, not 0"),
        ("repeat{max-rounds=x}(plain)", "repeat{max-rounds} is an int, not 'x'"),
        ("default{a=1}", "the preset default takes no options"),
    ],
)  # fmt: skip
def test_wrong_options(text: str, error: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(text)

    assert str(raised.value) == error


@pytest.mark.usefixtures("more_passes")
def test_option_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=r"^strict.*'?to'?") as raised:
        Pipeline.parse("strict{dim=N}")

    assert "__init__" not in str(raised.value)
    assert "positional" not in str(raised.value)


def test_what_a_pass_says_of_its_options_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Picky(Plain):
        name: ClassVar[str] = "picky"
        count: int = 1

        def __post_init__(self) -> None:
            if self.count < 1:
                raise ValueError("count is at least 1")

    monkeypatch.setattr(registry, "pass_class", lambda _: Picky)
    with pytest.raises(UsageError, match=r"^picky: count is at least 1$"):
        Pipeline.parse("picky{count=0}")


def test_group_runs_until_nothing_changes() -> None:
    import onnx

    import onnxfuse

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
