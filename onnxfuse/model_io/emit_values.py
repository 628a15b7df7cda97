"""Writes what is said of the values of a graph or function: its border, value_info, and quantization annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import onnx_ir as ir

from onnxfuse.model_io import anew, wire
from onnxfuse.model_io.lookup import Origins
from onnxfuse.model_io.origin import GraphOrigin, graph_origin, node_origin
from onnxfuse.model_io.state import NOTHING_SAID, ValueState, annotation, value_state, value_texts

__all__ = ["ValueWriter"]

# FunctionProto has value_info since IR version 10. Before, onnx_ir finds it in the main graph, under names like this.
FUNCTION_VALUE_INFO_IR: Final = 10
FUNCTION_VALUE_NAME: Final = "{}::{}/{}"


@dataclass
class ValueWriter:
    """Writes what is said of the values of one graph or function.

    Attributes:
        graph: The graph, or the function's.
        origin: Where it came from.
        origins: The run's look-ups.
        is_function: Whether it is a function's.
        ir_version: The model's.
    """

    graph: ir.Graph
    origin: GraphOrigin | None
    origins: Origins
    is_function: bool
    ir_version: int

    @cached_property
    def values(self) -> Mapping[str, ir.Value]:
        """All values of the graph, by name."""
        values = [*self.graph.inputs, *self.graph.initializers.values()]
        values += [value for node in self.graph for value in node.outputs]
        return {str(value.name): value for value in values}

    # ------------------------------------------------------------------ where a value came from

    def _came(self, value: ir.Value) -> tuple[GraphOrigin, str] | None:
        """Returns the graph that a value was read in and the name it had there."""
        name = str(value.name)
        if self.origin is not None and name in self.origin.names:
            return self.origin, name
        if (producer := value.producer()) is not None:
            came, index = node_origin(producer), value.index()
            if came is not None and index is not None and index < len(came.state.outputs):
                return came.home, came.state.outputs[index]
        elif self.origin is not None and value in self._renamed:
            return self.origin, self._renamed[value]
        return None

    @cached_property
    def _renamed(self) -> dict[ir.Value, str]:
        """The names that renamed inputs and initializers had: an input is known by its place, the other by its tensor."""
        if self.origin is None:
            return {}
        renamed = {}
        if len(self.graph.inputs) == len(self.origin.inputs):
            places = zip(self.graph.inputs, self.origin.inputs, strict=True)
            renamed = {value: name for value, name in places if name not in self.values}
        for value in self.graph.initializers.values():
            if (came := self.origin.tensors.get(id(value.const_value))) is not None and came[0] not in self.values:
                renamed[value] = came[0]
        return renamed

    def _then(self, value: ir.Value) -> ValueState:
        came = self._came(value)
        return NOTHING_SAID if came is None else came[0].values.get(came[1], NOTHING_SAID)

    def _as_written(self, value: ir.Value) -> ir.Value:
        """Returns `value`, or of an initializer with another tensor one of that tensor's type and shape.

        What a value_info says of an initializer must be what the initializer itself says.
        """
        tensor = value.const_value
        if tensor is None or not value.is_initializer() or value.is_graph_input():
            return value
        if self.origin is not None and id(tensor) in self.origin.tensors:
            return value
        written = ir.Value(
            name=value.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            doc_string=value.doc_string,
        )
        written.metadata_props.update(value.metadata_props)
        return written

    # ------------------------------------------------------------------ one value

    def _field(self, value: ir.Value, number: int, came_as: bytes | None = None) -> bytes:
        """Returns a ValueInfoProto: as it came, or with what has changed of it."""
        came = self._came(value)
        value = self._as_written(value)
        now = value_state(value)
        found = None
        if came is not None:
            found = (came_as, number) if came_as is not None else self.origins.value(came[0], came[1], number)
        if came is None or found is None:
            parts = [part for n in (1, 2, 3, 4) for part in anew.value_fields(value, now, n)]
            return wire.field_bytes(number, b"".join(parts))
        then = came[0].values.get(came[1], NOTHING_SAID)
        data, kind = found
        changed = [
            *([1] if came[1] != value.name else []),
            *([2] if (then.type, then.shape) != (now.type, now.shape) else []),
            *([3] if then.doc_string != now.doc_string else []),
            *([4] if then.metadata != now.metadata else []),
        ]
        if not changed:
            return data if kind == number else wire.field_bytes(number, wire.payload_of(data))
        anew_fields = {n: anew.value_fields(value, now, n) for n in changed}
        return wire.field_bytes(number, b"".join(wire.splice(memoryview(wire.payload_of(data)), anew_fields)))

    def border(self, values: Iterable[ir.Value], number: int) -> list[bytes]:
        """Returns the declarations of the graph's inputs or outputs."""
        named = self.origins.named(self.origin, number) if self.origin is not None else []
        out = []
        for index, value in enumerate(values):
            # By place first: a graph may list one output twice.
            name, field = named[index] if index < len(named) else ("", b"")
            out.append(self._field(value, number, field if name == value.name else None))
        return out

    # ------------------------------------------------------------------ value_info

    def infos(self, number: int, functions: Sequence[ir.Function] = ()) -> Iterator[bytes]:
        """Yields the value_info: of the values that are still there, and of names that never were values of the graph.

        A value_info goes with its value. None is invented: of an initializer, or of a value of which no more is said
        than when it came without one.

        Args:
            number: The field's.
            functions: Those that keep the value_info of their values here.
        """
        came = list(self.origins.named(self.origin, number)) if self.origin is not None else []
        if self.origin is not None:
            yield from self._still_true(self.origin, number, came, dict(self._of_functions(functions)))
        declared = {name for name, _ in came}
        if not self.is_function or self.ir_version >= FUNCTION_VALUE_INFO_IR:
            for value in self._undeclared(declared):
                yield self._field(value, number)

    def _still_true(
        self, origin: GraphOrigin, number: int, came: Sequence[tuple[str, bytes]], elsewhere: Mapping[str, bool]
    ) -> Iterator[bytes]:
        """Yields what came, as far as it still holds; written anew where something else does."""
        for name, field in came:
            value, was_value = self.values.get(name), name in origin.names
            if value is None:
                if not was_value and elsewhere.get(name, True):
                    yield field
                continue
            now = value_state(self._as_written(value))
            if was_value and now == origin.values.get(name, NOTHING_SAID):
                yield field
            elif now != NOTHING_SAID:
                yield self._field(value, number, field if was_value else None)

    def _undeclared(self, declared: set[str]) -> Iterator[ir.Value]:
        """Yields the values without a value_info that need one."""
        values: list[ir.Value] = [value for node in self.graph for value in node.outputs]
        if self.is_function:
            values = [*self.graph.inputs, *values]
        else:
            border = {*self.graph.inputs, *self.graph.outputs}
            values = [value for value in values if value not in border]
        for value in values:
            if not value.name or value.name in declared:
                continue
            now = value_state(value)
            if now != NOTHING_SAID and (now != self._then(value) or self._was_declared(value)):
                yield value
        names = self.origin.names if self.origin is not None else ()
        for name, value in self.graph.initializers.items():
            if name in declared or value.is_graph_input() or value.is_graph_output():
                continue
            # Its type and shape it says itself.
            texts = value_texts(value)
            is_new = texts != NOTHING_SAID[2:] and texts != self._then(value)[2:]
            if is_new or (name not in names and self._was_declared(value)):
                yield value

    def _was_declared(self, value: ir.Value) -> bool:
        came = self._came(value)
        return came is not None and self.origins.value(*came, 0) is not None

    def _of_functions(self, functions: Sequence[ir.Function]) -> Iterator[tuple[str, bool]]:
        """Yields the names under which the main graph says something of functions' values, and whether it still holds."""
        if self.ir_version >= FUNCTION_VALUE_INFO_IR:
            return
        for function in functions:
            origin = graph_origin(function.graph)
            if origin is None:
                continue
            values = {str(value.name): value for node in function for value in node.outputs}
            values |= {str(value.name): value for value in function.inputs}
            for name in origin.names:
                value = values.get(name)
                same = value is not None and value_state(value) == origin.values.get(name, NOTHING_SAID)
                yield FUNCTION_VALUE_NAME.format(function.domain, function.name, name), same

    # ------------------------------------------------------------------ quantization annotations

    def annotations(self, number: int) -> Iterator[bytes]:
        """Yields the quantization annotations of the values that are still there, and those of names not in the graph."""
        annotated = {name: names for name, value in self.values.items() if (names := annotation(value))}
        came = self.origin.annotations if self.origin is not None else {}
        done = set()
        for name, field in self.origins.named(self.origin, number) if self.origin is not None else []:
            if name in self.values:
                done.add(name)
                now = annotated.get(name, ())
                if now == came.get(name, ()):
                    yield field
                elif now:
                    yield anew.annotation_field(number, name, now)
            elif self.origin is not None and name not in self.origin.names:
                yield field
        for name, names in annotated.items():
            if name not in done:
                yield anew.annotation_field(number, name, names)
