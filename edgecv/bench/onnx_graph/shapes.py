"""Shapes behind ONNX operators, from the shapes of their inputs.

Source of all rules: the operators' texts in the ONNX specification (Operators.md), and for those of
the domain com.microsoft ONNX Runtime's ContribOperators.md. What an operator makes of pixels alone,
such as how many boxes are left, is not told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgecv.bench.graph import LARGEST, Shape, Untold
from edgecv.bench.onnx_graph.call import Call, axis_of
from edgecv.bench.onnx_graph.nodes import MOST_AXES
from edgecv.bench.onnx_graph.windows import (
    broadcast,
    conv,
    conv_transpose,
    gemm,
    global_pool,
    matmul,
    matmul_packed,
    pool,
)

Rule = Callable[[Call], "Shape | list[Shape]"]

VIEWS = {"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
UNARY = {
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "BitwiseNot",
    "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "DequantizeLinear", "Elu", "Erf",
    "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "PRelu",
    "QLinearLeakyRelu", "QLinearSigmoid", "QuantizeLinear", "QuickGelu", "Reciprocal", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Swish", "Tan", "Tanh", "ThresholdedRelu",
}  # fmt: skip
_PAIRED = {
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "Sub",
    "Sum", "Where", "Xor",
}  # fmt: skip
ELEMENTWISE = UNARY | _PAIRED | {"QLinearAdd", "QLinearMul"}
_LIKE_THE_FIRST = {
    "CumSum", "EyeLike", "GroupNormalization", "Hardmax", "Identity",
    "InstanceNormalization", "LRN", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization",
    "RMSNormalization", "ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "Softmax",
    "Trilu",
}  # fmt: skip
_REDUCTIONS = {
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip
DEPENDENT = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}
"""Operators without products whose results are as many as the pixels say."""


def _concat(call: Call) -> Shape:
    given = range(0, len(call.node.inputs))
    if call.node.op == "QLinearConcat":  # scale, zero point, then three for each
        given = range(2, len(call.node.inputs), 3)
    shapes = [call.shape(i) for i in given]
    axis = call.axis(1, len(shapes[0]))
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(rests) > 1:
        raise Untold(f"shapes {', '.join(str(list(shape)) for shape in shapes)} do not fit")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _split(call: Call) -> list[Shape]:
    data = call.shape(0)
    axis, count = call.axis(0, len(data)), len(call.node.outputs)
    sizes = call.integers("split", 1)
    if sizes is None:
        part = -(-data[axis] // count)
        sizes = [part] * (count - 1) + [data[axis] - part * (count - 1)]
    if len(sizes) != count or sum(sizes) != data[axis]:
        raise Untold(f"parts {sizes} of {data[axis]}")
    return [(*data[:axis], size, *data[axis + 1 :]) for size in sizes]


def slices(call: Call, rank: int) -> dict[int, slice]:
    """Return axis -> which part a Slice takes."""
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None:
        raise Untold("no starts and ends")
    axes = call.axes(rank, 3) or list(range(len(starts)))
    steps = call.integers("steps", 4) or [1] * len(starts)
    found = {axis: slice(*part) for axis, *part in zip(axes, starts, ends, steps, strict=True)}
    for axis, part in found.items():
        if part.step < 0 and part.stop < -LARGEST:  # the smallest integers mean: to the front
            found[axis] = slice(part.start, None, part.step)
    return found


def _slice(call: Call) -> Shape:
    sizes = list(call.shape(0))
    for axis, part in slices(call, len(sizes)).items():
        sizes[axis] = len(range(*part.indices(sizes[axis])))
    return tuple(sizes)


def _gather(call: Call) -> Shape:
    data = call.shape(0)
    axis = call.axis(0, len(data))
    return (*data[:axis], *call.shape(1), *data[axis + 1 :])


def _gather_nd(call: Call) -> Shape:
    data, indices = call.shape(0), call.shape(1)
    return (*indices[:-1], *data[int(call.get("batch_dims", 0)) + indices[-1] :])


def _transpose(call: Call) -> Shape:
    data = call.shape(0)
    order = call.integers("perm") or list(range(len(data)))[::-1]
    if sorted(order) != list(range(len(data))):
        raise Untold(f"order {order} of {len(data)} axes")
    return tuple(data[i] for i in order)


def _reshape(call: Call) -> Shape:
    data, wanted = call.shape(0), call.integers("shape", 1)
    if wanted is None:
        raise Untold("no shape is given")
    if len(wanted) > MOST_AXES:  # their product would have thousands of digits
        raise Untold(f"a shape of {len(wanted)} axes")
    sizes = [
        data[i] if size == 0 and not call.get("allowzero") else size
        for i, size in enumerate(wanted)
    ]
    total, rest = math.prod(data), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and rest:
        sizes[sizes.index(-1)] = total // rest
    if math.prod(sizes) != total or min(sizes, default=0) < 0:
        raise Untold(f"{list(data)} as {wanted}")
    return tuple(sizes)


def _flatten(call: Call) -> Shape:
    data = call.shape(0)
    axis = int(call.get("axis", 1))
    axis += len(data) if axis < 0 else 0
    return (math.prod(data[:axis]), math.prod(data[axis:]))


def _squeeze(call: Call) -> Shape:
    data = call.shape(0)
    axes = call.axes(len(data), 1)
    if axes is None:
        axes = [i for i, size in enumerate(data) if size == 1]
    return tuple(size for i, size in enumerate(data) if i not in axes)


def _unsqueeze(call: Call) -> Shape:
    data = list(call.shape(0))
    named = call.integers("axes", 1) or []
    for axis in sorted(axis_of(axis, len(data) + len(named)) for axis in named):
        data.insert(axis, 1)
    return tuple(data)


def _tile(call: Call) -> Shape:
    repeats = call.integers("repeats", 1) or []
    return tuple(size * n for size, n in zip(call.shape(0), repeats, strict=True))


def _pad(call: Call) -> Shape:
    sizes = list(call.shape(0))
    pads = call.integers("pads", 1) or call.integers("paddings") or []
    axes = call.axes(len(sizes), 3) or list(range(len(sizes)))
    for axis, before, behind in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        sizes[axis] += before + behind
    return tuple(sizes)


def _depth_to_space(call: Call) -> Shape:
    n, c, h, w = call.shape(0)
    block = int(call.get("blocksize"))
    if call.node.op == "DepthToSpace":
        return n, c // block**2, h * block, w * block
    return n, c * block**2, h // block, w // block


def _resize(call: Call) -> Shape:
    sizes = list(call.shape(0))
    if call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Untold("keep_aspect_ratio_policy")
    new = call.node.op == "Resize" and call.opset >= 11
    axes = call.axes(len(sizes)) or list(range(len(sizes)))
    if new and call.has(3):
        for axis, size in zip(axes, call.integers("", 3) or [], strict=True):
            sizes[axis] = size
        return tuple(sizes)
    at = 2 if new else 1
    scales = call.value(at).reshape(-1) if call.has(at) else np.array(call.get("scales"))
    for axis, scale in zip(axes, scales, strict=True):
        # Single precision, as the engines do.
        sizes[axis] = int(np.floor(np.float32(sizes[axis]) * np.float32(scale)))
    return tuple(sizes)


def _reduce(call: Call) -> Shape:
    data = call.shape(0)
    axes = call.axes(len(data), 1)
    if not axes and call.get("noop_with_empty_axes"):
        return data
    return _without(data, axes or list(range(len(data))), bool(call.get("keepdims", 1)))


def _arg(call: Call) -> Shape:
    data = call.shape(0)
    return _without(data, [call.axis(0, len(data))], bool(call.get("keepdims", 1)))


def _without(data: Shape, axes: Sequence[int], keep: bool) -> Shape:
    return tuple(1 if i in axes else size for i, size in enumerate(data) if keep or i not in axes)


def _top_k(call: Call) -> list[Shape]:
    data = list(call.shape(0))
    count = call.value(1).item() if call.has(1) else int(call.get("k"))
    data[call.axis(-1, len(data))] = int(count)
    return [tuple(data)] * 2


def _shape_of(call: Call) -> Shape:
    rank = len(call.shape(0))
    return (len(range(*slice(call.get("start", 0), call.get("end")).indices(rank))),)


def _range(call: Call) -> Shape:
    start, limit, delta = (float(call.value(i).item()) for i in range(3))
    return (max(0, math.ceil((limit - start) / delta)),)


def _one_hot(call: Call) -> Shape:
    indices, depth = list(call.shape(0)), int(call.value(1).item())
    indices.insert(call.axis(-1, len(indices) + 1), depth)
    return tuple(indices)


def _grid_sample(call: Call) -> Shape:
    return (*call.shape(0)[:2], *call.shape(1)[1:-1])


def _roi_align(call: Call) -> Shape:
    sides = (int(call.get(f"output_{side}", 1)) for side in ("height", "width"))
    return (call.shape(1)[0], call.shape(0)[1], *sides)


def _filled(call: Call) -> Shape:
    return tuple(int(size) for size in call.value(0).reshape(-1))


def _expand(call: Call) -> Shape:
    return broadcast(call.shape(0), tuple(int(size) for size in call.value(1).reshape(-1)))


def _paired(call: Call) -> Shape:
    return broadcast(*(call.shape(i) for i in range(len(call.node.inputs))))


def _first(call: Call) -> Shape:
    return call.shape(0)


def _normalized(call: Call) -> list[Shape]:
    data = call.shape(0)
    axis = call.axis(-1, len(data))
    rest = (*data[:axis], *(1 for _ in data[axis:]))
    return [data, rest, rest][: len(call.node.outputs)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY | _LIKE_THE_FIRST, _first),
    **dict.fromkeys(_PAIRED, _paired),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "QLinearConv"), conv),
    **dict.fromkeys(("AveragePool", "LpPool", "QLinearAveragePool"), pool),
    **dict.fromkeys(
        ("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "QLinearGlobalAveragePool"),
        global_pool,
    ),
    **dict.fromkeys(
        ("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "DynamicQuantizeMatMul",
         "MatMulIntegerToFloat"),
        matmul,
    ),
    **dict.fromkeys(("Gemm", "QGemm"), gemm),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), lambda c: broadcast(c.shape(0), c.shape(3))),
    **dict.fromkeys(("Concat", "QLinearConcat"), _concat),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _depth_to_space),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "ConstantOfShape": _filled,
    "ConvTranspose": conv_transpose,
    "Dropout": lambda call: [call.shape(0)] * len(call.node.outputs),
    "DynamicQuantizeLinear": lambda call: [call.shape(0), (), ()],
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": lambda call: call.shape(1),
    "GatherND": _gather_nd,
    "GridSample": _grid_sample,
    "LayerNormalization": _normalized,
    "MatMulNBits": matmul_packed,
    "MaxPool": lambda call: [pool(call)] * len(call.node.outputs),
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "RoiAlign": _roi_align,
    "Shape": _shape_of,
    "Size": lambda call: (),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "TopK": _top_k,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}  # fmt: skip
"""Operator -> the shape of what it makes; a list where it may make several tensors."""
