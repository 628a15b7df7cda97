"""Models that would take more memory than there is, if anything were computed of them, or believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import legal, model_of, node, refused, tensor, value, with_slices

INT64 = TensorProto.INT64


def ints(name: str, *numbers: int) -> onnx.TensorProto:
    return tensor(name, [len(numbers)], INT64, int64_data=list(numbers))


def holding(weight: onnx.TensorProto) -> onnx.ModelProto:
    """A model that adds an initializer."""
    weight.name = "w"
    return with_slices(model_of([node("Add", "x w", "y")], initializers=[weight]))


# ---- initializers that say they are large


@refused("it has 4 bytes of data, its shape [1073741824, 1073741824] asks for")
def dims_of_product_2_60(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [2**30, 2**30], raw_data=b"abcd"))


@refused("more elements than can be counted")
def dims_whose_product_overflows_to_nothing(_: Path) -> onnx.ModelProto:
    # Modulo 2^64 the product is 0, and in bytes as well.
    return holding(tensor("w", [2**32, 2**32], raw_data=b""))


@refused("more elements than can be counted")
def dims_whose_product_overflows_to_what_is_there(_: Path) -> onnx.ModelProto:
    # 4 modulo 2^64.
    return holding(tensor("w", [2**62 + 1, 4, 1], raw_data=bytes(16)))


@refused("has a negative dim")
def negative_dims(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [-1, -8], raw_data=bytes(32)))


@refused("it has 31 bytes of data, its shape [8] asks for 32")
def dims_that_do_not_match_the_data(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [8], raw_data=bytes(31)))


@refused("it has 7 values, its shape [8] asks for 8")
def dims_that_do_not_match_the_values(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [8], float_data=[0.0] * 7))


@refused("it has 4096 bytes of data, its shape [1152921504606846976] asks for")
def large_data_of_larger_dims(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [2**60], raw_data=bytes(4096)))


@refused("do not fit its shape")
def constant_of_dims_2_60(_: Path) -> onnx.ModelProto:
    held = tensor("c", [2**60], raw_data=bytes(2048))
    return model_of([helper.make_node("Constant", [], ["w"], value=held), node("Add", "x w", "y")])


@refused("asks for")
def packed_values_of_dims_2_60(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [2**60], TensorProto.INT4, int32_data=[1]))


@refused("it has 1000000 dims")
def million_dims(_: Path) -> onnx.ModelProto:
    """Their product would have twenty million digits."""
    return holding(tensor("w", [2**62] * 1_000_000, raw_data=b"abcd"))


@refused("more elements than can be counted")
def dims_of_weights_taken_out_beyond_int64(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [2**62, 2**62]))


@refused("it has 10000 dims")
def ten_thousand_dims_of_1(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], initializers=[tensor("w", [1] * 10_000, raw_data=b"abcd")]))


@refused("asks for")
def empty_tensor_of_huge_dims(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [2**62, 0], raw_data=b"abcd"))


@legal()
def empty_tensor_beside_a_huge_dim(_: Path) -> onnx.ModelProto:
    w = tensor("w", [2**62, 0], raw_data=b"")
    return with_slices(model_of([node("Relu", "x", "y")], initializers=[w]))


@legal()
def weights_taken_out_of_a_terabyte(_: Path) -> onnx.ModelProto:
    return holding(tensor("w", [2**20, 2**18]))


@refused("index")
def sparse_index_out_of_range(_: Path) -> onnx.ModelProto:
    model = holding(tensor("w", [1], raw_data=bytes(4)))
    del model.graph.initializer[0]
    sparse = model.graph.sparse_initializer.add(dims=[8])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([1, 2**40]), "w_at"))
    return model


@legal(runs=False)
def sparse_tensor_of_dims_2_60(_: Path) -> onnx.ModelProto:
    model = with_slices(model_of([node("Shape", "w", "y")], outputs=[value("y", [2], INT64)]))
    sparse = model.graph.sparse_initializer.add(dims=[2**30, 2**30])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([5]), "w_at"))
    return model


@refused("sparse")
def sparse_values_that_do_not_match_the_indices(_: Path) -> onnx.ModelProto:
    model = model_of([node("Add", "x w", "y")])
    sparse = model.graph.sparse_initializer.add(dims=[8])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(3, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([1, 2]), "w_at"))
    return model


# ---- operators that make much of little


@legal(runs=False)
def expand_to_terabytes(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Expand", "x to", "y")], initializers=[ints("to", 2**20, 2**20, 1, 8)]))


@legal(runs=False)
def constant_of_shape_of_10_gb(_: Path) -> onnx.ModelProto:
    nodes = [node("ConstantOfShape", "to", "c"), node("ReduceSum", "c", "s"), node("Add", "x s", "y")]
    return with_slices(model_of(nodes, initializers=[ints("to", 50_000, 50_000)]))


@legal(runs=False)
def constant_of_shape_of_2_60(_: Path) -> onnx.ModelProto:
    nodes = [node("ConstantOfShape", "to", "c"), node("ReduceSum", "c", "s"), node("Add", "x s", "y")]
    return with_slices(model_of(nodes, initializers=[ints("to", 2**30, 2**30)]))


@legal(runs=False)
def tile_to_terabytes(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Tile", "x n", "y")], initializers=[ints("n", 2**30, 2**10)]))


@legal(runs=False)
def pad_to_terabytes(_: Path) -> onnx.ModelProto:
    pads = [node("Pad", "x n", "p"), node("Pad", "p zero", "y")]
    return with_slices(model_of(pads, initializers=[ints("n", 0, 2**40, 0, 2**40), ints("zero", 0, 0, 0, 0)]))


@legal(runs=False)
def range_to_2_60(_: Path) -> onnx.ModelProto:
    scalars = [tensor(name, [], INT64, int64_data=[n]) for name, n in (("a", 0), ("b", 2**60), ("d", 1))]
    return with_slices(
        model_of([node("Range", "a b d", "y")], inputs=[], outputs=[value("y", [None], INT64)], initializers=scalars)
    )


@legal(runs=False)
def range_beyond_what_len_counts(_: Path) -> onnx.ModelProto:
    numbers = (("a", -(2**63)), ("b", 2**63 - 1), ("d", 1))
    scalars = [tensor(name, [], INT64, int64_data=[n]) for name, n in numbers]
    nodes = [node("Range", "a b d", "r"), node("Shape", "r", "s"), node("ConstantOfShape", "s", "y")]
    return with_slices(model_of(nodes, inputs=[], initializers=scalars))


@legal(runs=False)
def one_hot_to_terabytes(_: Path) -> onnx.ModelProto:
    inits = [ints("depth", 2**40), tensor("values", [2], float_data=[0.0, 1.0])]
    inputs = [value("x", ["N"], INT64)]
    return with_slices(model_of([node("OneHot", "x depth values", "y")], inputs=inputs, initializers=inits))


@legal(runs=False)
def resize_to_terabytes(_: Path) -> onnx.ModelProto:
    scales = tensor("scales", [4], float_data=[1.0, 1.0, 1e6, 1e6])
    inputs = [value("x", ["N", 3, 8, 8])]
    nodes = [node("Resize", "x  scales", "y", mode="nearest")]
    nodes[0].input[:] = ["x", "", "scales"]
    return with_slices(model_of(nodes, inputs=inputs, initializers=[scales]))


@legal(runs=False)
def resize_by_infinity(_: Path) -> onnx.ModelProto:
    scales = tensor("scales", [4], float_data=[1.0, 1.0, float("inf"), float("nan")])
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")]
    return with_slices(model_of(nodes, inputs=[value("x", ["N", 3, 8, 8])], initializers=[scales]))


@legal(runs=False)
def inputs_of_2_62(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("Relu", "x", "y")], inputs=[value("x", [2**31, 2**31])]))


@legal(runs=False)
def slices_of_2_62(_: Path) -> onnx.ModelProto:
    """The region that is rewritten is itself too large to be run at the shape that is declared."""
    model = with_slices(model_of([node("Relu", "x", "y")]))
    for axis, size in enumerate((2**20, 2**20, 2**11, 2**11)):
        model.graph.input[1].type.tensor_type.shape.dim[axis].dim_value = size
    model.graph.output[1].type.tensor_type.ClearField("shape")
    return model


@legal(runs=False)
def pads_of_terabytes_that_could_go(_: Path) -> onnx.ModelProto:
    """Two Slices of what a Pad makes large: the region's inputs are large."""
    inits = [ints("n", 2**40, 2**40, 0, 0), ints("one", 1), ints("end", 2**40), ints("a0", 0), ints("a1", 1)]
    nodes = [node("Pad", "x n", "p"), node("Slice", "p one end a0", "s"), node("Slice", "s one end a1", "y")]
    return model_of(nodes, initializers=inits)


@legal()
def slices_with_extreme_bounds(_: Path) -> onnx.ModelProto:
    inits = [ints("low", -(2**63)), ints("high", 2**63 - 1), ints("a0", 0), ints("a1", 1), ints("step", 2**63 - 1)]
    nodes = [node("Slice", "x low high a0 step", "s"), node("Slice", "s low high a1 step", "y")]
    return model_of(nodes, initializers=inits)


# ---- numbers that grow


def _grown(nodes: list[onnx.NodeProto], last: str, inits: list[onnx.TensorProto]) -> onnx.ModelProto:
    """A Slice up to the number `last`, behind another: the engine asks what it is."""
    bounds = [ints("one", 1), ints("rows", 0), ints("columns", 1)]
    tail = [node("Slice", f"x one {last} rows", "s"), node("Slice", f"s one {last} columns", "y")]
    return model_of([*nodes, *tail], inputs=[value("x", ["N", "M"])], initializers=[*bounds, *inits])


@legal()
def symbols_squared_sixty_times(_: Path) -> onnx.ModelProto:
    """N to the power of 2^60: no text says that factor by factor."""
    nodes = [node("Shape", "x", "n0", end=1), *(node("Mul", f"n{i} n{i}", f"n{i + 1}") for i in range(60))]
    return _grown(nodes, "n60", [])


@legal()
def symbols_multiplied_ten_thousand_times(_: Path) -> onnx.ModelProto:
    nodes = [node("Shape", "x", "n0", end=1), *(node("Mul", f"n{i} big", f"n{i + 1}") for i in range(10_000))]
    return _grown(nodes, "n10000", [ints("big", 2**62)])


@legal()
def integers_multiplied_ten_thousand_times(_: Path) -> onnx.ModelProto:
    nodes = [node("Identity", "big", "n0"), *(node("Mul", f"n{i} big", f"n{i + 1}") for i in range(10_000))]
    return _grown(nodes, "n10000", [ints("big", 3**39)])


@legal()
def dims_tiled_over_and_over(_: Path) -> onnx.ModelProto:
    """Every Tile multiplies the dims by 2^60: their number has thousands of digits."""
    nodes = [node("Identity", "x", "t0"), *(node("Tile", f"t{i} n", f"t{i + 1}") for i in range(2_000))]
    nodes += [node("Shape", "t2000", "s"), node("ConstantOfShape", "s", "y")]
    return with_slices(model_of(nodes, initializers=[ints("n", 2**60, 2**60)]))


@legal()
def dims_padded_over_and_over(_: Path) -> onnx.ModelProto:
    nodes = [node("Identity", "x", "t0"), *(node("Pad", f"t{i} n", f"t{i + 1}") for i in range(2_000))]
    nodes += [node("Shape", "t2000", "s"), node("ConstantOfShape", "s", "y")]
    return with_slices(model_of(nodes, initializers=[ints("n", 0, 2**62, 0, 2**62)]))


@legal(runs=False)
def concat_doubled_forty_times(_: Path) -> onnx.ModelProto:
    """A vector of shape arithmetic that doubles forty times."""
    nodes = [node("Shape", "x", "n0"), *(node("Concat", f"n{i} n{i}", f"n{i + 1}", axis=0) for i in range(40))]
    return with_slices(model_of([*nodes, node("Size", "n40", "y")], outputs=[value("y", [], INT64)]))
