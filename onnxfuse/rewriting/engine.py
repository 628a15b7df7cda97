"""Runs one rewrite pass over a model: a worklist, and for each candidate match, build, verify, splice.

A replacement is built beside the graph and compared with what it replaces before it is put in: a rewrite that failed
its check is never in the model.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from onnxfuse.errors import PassError
from onnxfuse.model_io.origin import is_opaque
from onnxfuse.report.records import Applied, Declined, Failed, PassReport, Place, Rejected
from onnxfuse.rewriting import structure
from onnxfuse.rewriting.builder import Builder
from onnxfuse.rewriting.initializers import add_initializer, holds_initializers, remove_initializer
from onnxfuse.rewriting.match import Decline, Facts, Match, node_label
from onnxfuse.rewriting.naming import Names, can_rename, take_over
from onnxfuse.verification.region import Evidence, RegionVerifier
from onnxfuse.verification.region_model import Region

__all__ = ["Admit", "Engine", "RewriteRule"]

# A pass that keeps rewriting after this many rewrites per node it started with is not on its way to a fixpoint.
REWRITES_PER_NODE = 8


Admit = Callable[[int, Region, Evidence], bool]
"""Says whether a rewrite is put in, given its number, its region, and the evidence."""


class RewriteRule(Protocol):
    """What the engine needs of a pass."""

    @property
    def ops(self) -> frozenset[str]:
        """The op_types that `match` is to be asked about."""

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Returns the region around `node`, or None; declines through `facts`."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Returns a value for each of the region's outputs."""


@dataclass
class Engine:
    """Runs one pass to its fixpoint.

    Attributes:
        model: The model; it is changed in place.
        rule: The pass.
        label: The pass with its options, for the report and the provenance mark.
        numerics: Its numerics class, for the report.
        verifier: Compares regions; None to compare nothing.
        structure: Whether the structure is checked.
        names: The run's names.
        excluded: Names of nodes that no rewrite may touch.
        first_index: The number of the first rewrite.
        limit: How many rewrites to apply at the most; None for all.
        admit: Asked about every rewrite that is built, also where verification said no to it, before it is put in:
            called with the number that it has or would have, its region, and the evidence. False leaves it out.
        progress: Called with (done, total) now and then.
    """

    model: ir.Model
    rule: RewriteRule
    label: str
    numerics: str
    verifier: RegionVerifier | None
    structure: bool = True
    names: Names | None = None
    excluded: Collection[str] = ()
    first_index: int = 1
    limit: int | None = None
    admit: Admit | None = None
    progress: Callable[[int, int], None] | None = None
    facts: Facts = field(init=False)

    def __post_init__(self) -> None:
        self.facts = Facts(self.model)
        self.names = self.names or Names(self.model)
        self._applied: list[Applied] = []
        # Outcomes that say no, by the node asked about: asking again replaces the answer, removing the node removes it.
        self._answers: dict[ir.Node, Declined | Rejected | Failed] = {}
        self._dead: dict[ir.Graph, list[ir.Node]] = {}
        self._removed: set[ir.Node] = set()
        self._verify_seconds = 0.0

    def run(self) -> PassReport:
        """Rewrites until nothing more matches, or until the limit is reached: what is left is not asked then.

        Raises:
            PassError: The pass does not reach a fixpoint.
        """
        start = time.perf_counter()
        queue = deque(self._candidates())
        queued = set(queue)
        most = REWRITES_PER_NODE * max(len(queue), 8)
        visited, total = 0, len(queue)
        try:
            while queue and len(self._applied) != self.limit:
                node = queue.popleft()
                queued.discard(node)
                if node in self._removed:
                    continue
                visited += 1
                if self.progress is not None and visited % 64 == 0:
                    self.progress(min(visited, total), total)
                for neighbour in self._visit(node):
                    if neighbour not in queued and self._is_candidate(neighbour):
                        queued.add(neighbour)
                        queue.append(neighbour)
                if len(self._applied) > most:
                    raise PassError(
                        f"{self.label} reaches no fixpoint: {most} rewrites, the last at {self._applied[-1].at}. "
                        "The pass matches its own output; it needs mending"
                    )
        finally:
            self._sweep()
        answers = [answer for node, answer in self._answers.items() if node not in self._removed]
        return PassReport(
            name=self.label,
            numerics=self.numerics,
            applied=tuple(self._applied),
            declined=tuple(answer for answer in answers if isinstance(answer, Declined)),
            rejected=tuple(answer for answer in answers if isinstance(answer, Rejected)),
            failed=tuple(answer for answer in answers if isinstance(answer, Failed)),
            seconds=time.perf_counter() - start,
            verify_seconds=self._verify_seconds,
            visited=visited,
            sessions=self.verifier.sessions if self.verifier is not None else 0,
        )

    # ------------------------------------------------------------------ candidates

    def _candidates(self) -> Iterator[ir.Node]:
        # From the outputs towards the inputs: a chain is met at its end, and can be taken in whole.
        for graph in self.facts.scopes:
            for node in reversed(graph):
                if self._is_candidate(node):
                    yield node

    def _is_candidate(self, node: ir.Node) -> bool:
        return self.facts.is_op(node, *self.rule.ops) and node not in self._removed

    def _place(self, node: ir.Node) -> Place:
        return Place(node_label(node), node.op_type, self.facts.scope(node))

    def _visit(self, node: ir.Node) -> Sequence[ir.Node]:
        """Asks the pass about `node`; returns the nodes to ask about again."""
        self._answers.pop(node, None)
        match: Match | None = None
        builder: Builder | None = None
        try:
            match = self.rule.match(node, self.facts)
            if match is None:
                return ()
            self._guard(match)
            builder = self._builder(match)
            values = list(self.rule.rewrite(match, builder))
            if isinstance(graph := match.nodes[0].graph, ir.Graph):
                self.facts.shapes.place(builder.nodes, graph)
            if self.structure:
                structure.check_replacement(match, builder, values, self.facts)
            return self._commit(node, match, builder, values)
        except Decline as decline:
            self._answers[node] = Declined(self._place(node), decline.reason, _culprit(decline.at, node))
        except Exception as error:  # noqa: BLE001 - whatever a pass raises is a finding about the pass, and is reported
            text = f"{type(error).__name__}: {error}" if not isinstance(error, PassError) else str(error)
            self._answers[node] = Failed(self._place(node), text, traceback.format_exc())
        if builder is not None:
            builder.discard()
        return ()

    def _guard(self, match: Match) -> None:
        if not match.outputs:
            raise Decline("nothing reads what the region computes", None)
        graph = match.nodes[0].graph
        imports = self.facts.opset_imports(graph) if isinstance(graph, ir.Graph) else {"": 1}
        if imports.get("", imports.get("ai.onnx", 0)) < 1:
            raise Decline(
                "no version of ONNX's own domain is imported here: which operators these are is not said", None
            )
        for node in match.nodes:
            if is_opaque(node):
                raise Decline("the node carries an attribute that onnx_ir cannot hold", node)
            if node_label(node) in self.excluded:
                raise Decline("the node is left out by --except", node)

    def _builder(self, match: Match) -> Builder:
        assert self.names is not None  # noqa: S101 - set in __post_init__
        graph = match.nodes[0].graph
        as_nodes = not holds_initializers(self.model, graph, self.facts.functions)
        return Builder(match, provenance=self.label, in_function=as_nodes, fresh=self.names.fresh)

    # ------------------------------------------------------------------ commit

    def _commit(self, node: ir.Node, match: Match, builder: Builder, values: list[ir.Value]) -> Sequence[ir.Node]:
        evidence = Evidence("not-run", "verification is off")
        region = self._region(match, builder, values)
        if self.verifier is not None:
            start = time.perf_counter()
            evidence = self.verifier.check(region)
            self._verify_seconds += time.perf_counter() - start
        index = self.first_index + len(self._applied)
        admitted = self.admit is None or self.admit(index, region, evidence)
        if evidence.grade == "rejected":
            builder.discard()
            self._answers[node] = Rejected(self._place(node), evidence.text, evidence.details)
            return ()
        if not admitted:
            raise Decline("the rewrite is left out", None)
        place = self._place(node)
        gone = [(node_label(old), old.op_type) for old in match.nodes]
        inside = [value for old in match.nodes for value in old.outputs]
        names: dict[str, str | None] = {str(value.name): None for value in inside}
        again = [use.node for value in match.outputs for use in value.uses() if use.node not in match.nodes]
        again += [producer for value in match.inputs if (producer := value.producer()) is not None]
        graph = match.nodes[0].graph
        assert isinstance(graph, ir.Graph)  # noqa: S101 - structure.check_replacement saw to it
        self._splice(graph, match, builder, values, names)
        self._applied.append(
            Applied(
                index=index,
                at=place,
                removed=tuple(gone),
                added=tuple((node_label(new), new.op_type) for new in builder.nodes),
                grade=evidence.grade,
                evidence=evidence.text,
                max_error=evidence.max_error,
                values=names,
                nodes={label: tuple(node_label(new) for new in builder.nodes) for label, _ in gone},
            )
        )
        return [*builder.nodes, *again]

    def _region(self, match: Match, builder: Builder, values: Sequence[ir.Value]) -> Region:
        graph = match.nodes[0].graph
        assert isinstance(graph, ir.Graph)  # noqa: S101 - structure.check_replacement saw to it
        return Region(
            before=match.nodes,
            after=tuple(builder.nodes),
            outputs=tuple(zip(match.outputs, values, strict=True)),
            opset_imports=self.facts.opset_imports(graph),
            ir_version=self.model.ir_version,
            shapes=self.facts.shapes,
            contents=self.facts.constant,
            numerics=self.numerics,
        )

    def _splice(
        self,
        graph: ir.Graph,
        match: Match,
        builder: Builder,
        values: list[ir.Value],
        names: dict[str, str | None],
    ) -> None:
        for constant in builder.constants:
            add_initializer(self.model, graph, constant)
        built = {value for new in builder.nodes for value in new.outputs}
        for index, (old, new) in enumerate(zip(match.outputs, values, strict=True)):
            name = str(old.name)
            if new in built:
                built.remove(new)  # it takes this name and no other
                take_over(old, new)
                del names[name]
            elif not old.is_graph_output():
                names[name] = str(new.name)
            elif can_rename(new, graph):
                names[str(new.name)] = name
                take_over(old, new)
                del names[name]
            else:
                # Both names must survive: an Identity takes the place of what was removed.
                values[index] = builder.op("Identity", new)
                take_over(old, values[index])
                del names[name]
        graph.insert_before(match.nodes[-1], builder.nodes)
        for node in builder.nodes:
            self.facts.add_uses(node)
        for old, new in zip(match.outputs, values, strict=True):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            self.facts.move_uses(old, new)
        self._remove(match.nodes)
        if len(match.outputs) > 1:
            graph.sort()  # one of the outputs may be read before the place where the region ended

    def _remove(self, nodes: Sequence[ir.Node]) -> None:
        """Removes nodes, and what only they used: pure nodes and initializers."""
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node in self._removed or not isinstance(node.graph, ir.Graph):
                continue
            self._removed.add(node)
            self._dead.setdefault(node.graph, []).append(node)
            self.facts.add_uses(node, -1)
            inputs = [value for value in node.inputs if value is not None]
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
            for value in dict.fromkeys(inputs):
                if self.facts.use_count(value) or value.is_graph_output():
                    continue
                producer = value.producer()
                if producer is not None:
                    if structure.is_removable(producer) and not any(
                        self.facts.use_count(out) or out.is_graph_output() for out in producer.outputs
                    ):
                        stack.append(producer)
                elif value.is_initializer():
                    remove_initializer(self.model, value)

    def _sweep(self) -> None:
        # In one go: onnx_ir looks at all outputs of the graph at each removal.
        for graph, nodes in self._dead.items():
            graph.remove(nodes)
        self._dead.clear()


def _culprit(at: ir.Node | ir.Value | None, candidate: ir.Node) -> str | None:
    if at is None or at is candidate:
        return None
    return str(at.name) if isinstance(at, ir.Value) else node_label(at)
