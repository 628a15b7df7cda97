"""Building a pair of models that share their weights, in any float type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from ml_dtypes import bfloat16
from onnx import helper, numpy_helper

__all__ = ["Array", "Build", "Draft", "Models", "Pair", "Workshop", "as_attribute", "correct", "ints", "wrong"]

Array = np.ndarray[Any, Any]
Models = tuple[onnx.ModelProto, onnx.ModelProto]
Operand = str | Array | np.generic | float

OPSET: Final = 20
IR_VERSION: Final = 9

LOW_PRECISION: Final = (np.dtype(np.float16), np.dtype(bfloat16))


class Draft:
    """One model in the making: calling it adds a node.

    A number that stands among the inputs of a node becomes an initializer; float64 takes the model's float type.
    """

    def __init__(self, dtype: np.dtype[Any], inputs: Mapping[str, Sequence[int | str]]) -> None:
        self.dtype = dtype
        self.graph = onnx.GraphProto(name="pair")
        self.elem_type = helper.np_dtype_to_tensor_dtype(dtype)
        for name, shape in inputs.items():
            self.graph.input.append(helper.make_tensor_value_info(name, self.elem_type, shape))

    def __call__(self, op_type: str, *inputs: Operand, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node; returns the name of its first output, `NAME_0`, where a second would be `NAME_1`."""
        name = f"{op_type}_{len(self.graph.node)}"
        read = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        written = [f"{name}_{index}" for index in range(outputs)]
        self.graph.node.append(helper.make_node(op_type, read, written, name=name, **attributes))
        return written[0]

    def constant(self, value: Array | np.generic | float) -> str:
        """Adds an initializer: float64 in the model's type, all else as it is."""
        array = np.asarray(value)
        with np.errstate(over="ignore"):
            stored = array.astype(self.dtype) if array.dtype == np.float64 else array
        name = f"c{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(stored, name))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Adds a Cast."""
        return self("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def quantizable(self, value: str) -> str:
        """Returns the value as QuantizeLinear takes it: no double."""
        return self.cast(value, np.float32) if self.dtype == np.float64 else value

    def finish(self, value: str) -> onnx.ModelProto:
        """Returns the model, whose output `y` is `value`; its type and rank are inferred."""
        self.graph.node.append(helper.make_node("Identity", [value], ["y"]))
        self.graph.output.add(name="y")
        model = helper.make_model(self.graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        model.graph.output[0].CopyFrom(inferred.graph.output[0])
        onnx.checker.check_model(model, full_check=True)
        return model


@dataclass
class Workshop:
    """What a pair is made with: weights that both models share, and are the same numbers in every float type.

    Attributes:
        dtype: Of the models.
        stored: The type that the pair is about: weights are numbers of this type also where `dtype` is wider.
        rng: Of the weights.
    """

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    rng: np.random.Generator

    def normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Array:
        """Draws weights, as float64."""
        return self.rounded(self.rng.normal(mean, scale, shape))

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Draws weights, as float64."""
        return self.rounded(self.rng.uniform(low, high, shape))

    def powers(self, low: float, high: float, *shape: int) -> Array:
        """Draws 10^U(low, high), as float64."""
        return self.rounded(10 ** self.rng.uniform(low, high, shape))

    def kernel(self, out: int, into: int, *window: int) -> Array:
        """Draws the weights of a convolution, of such a scale that activations keep theirs."""
        return self.normal(out, into, *window, scale=1 / np.sqrt(into * np.prod(window)))

    def rounded(self, array: Array) -> Array:
        """Rounds float64 to the numbers of the stored type."""
        return array.astype(self.stored).astype(np.float64)

    def pair(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        before: Callable[[Draft], str],
        after: Callable[[Draft], str],
    ) -> Models:
        """Builds both models."""
        drafts = [Draft(self.dtype, inputs) for _ in range(2)]
        return drafts[0].finish(before(drafts[0])), drafts[1].finish(after(drafts[1]))


Build = Callable[[Workshop], Models]


@dataclass(frozen=True)
class Pair:
    """Two models, and whether the second is a right rewrite of the first.

    Attributes:
        name: Unique.
        right: Whether both compute the same real function, and only rounding differs.
        make: Builds both.
        dtype: The float type of the models.
        note: What is special about it.
        below_resolution: A wrong rewrite whose effect is no larger than the rounding of a right one.
        seed: Of the weights.
    """

    name: str
    right: bool
    make: Build = field(repr=False)
    dtype: np.dtype[Any]
    note: str = ""
    below_resolution: bool = False
    seed: int = 0

    @property
    def truth(self) -> str:
        """`equivalent` or `different`."""
        return "equivalent" if self.right else "different"

    def build(self, dtype: np.dtype[Any] | None = None) -> Models:
        """Builds the models, in a float type of their own or the one given."""
        seed = [self.seed, *self.name.encode()]
        # What is stored in half the bits is drawn there too: no other type need round it.
        stored = self.dtype if self.dtype in LOW_PRECISION else np.dtype(np.float32)
        return self.make(Workshop(dtype or self.dtype, stored, np.random.default_rng(seed)))


def correct(name: str, make: Build, note: str = "", *, dtype: Any = np.float32) -> Pair:
    """Returns a pair of equivalent models."""
    return Pair(name, True, make, np.dtype(dtype), note)


def wrong(name: str, make: Build, note: str = "", *, dtype: Any = np.float32, below_resolution: bool = False) -> Pair:
    """Returns a pair of different models."""
    return Pair(name, False, make, np.dtype(dtype), note, below_resolution)


def as_attribute(number: float) -> float:
    """Returns the number that a float attribute holds: ONNX has them in float32 only."""
    return float(np.float32(number))


def ints(*numbers: int) -> Array:
    """Returns int64 numbers, as axes and shapes are given."""
    return np.array(numbers, np.int64)
