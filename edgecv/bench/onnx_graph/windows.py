"""Shapes behind ONNX operators with windows, and multiply-accumulates of those that multiply.

Source of all rules: the operators' texts in the ONNX specification (Operators.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecv.bench.graph import Shape, Untold, convolution, product
from edgecv.bench.onnx_graph.call import Call

WEIGHTS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Operator -> which input holds the weights of a convolution."""
FACTORS = {
    "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "FusedMatMul": 1,
    "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "Gemm": 1, "QGemm": 3,
}  # fmt: skip
"""Operator -> which input is the second factor of a product of matrices."""
_GEMMS = ("Gemm", "QGemm")


def macs(call: Call, out: Shape) -> int:
    """Count the multiply-accumulates of an operator in WEIGHTS or FACTORS, or of MatMulNBits.

    Raises:
        Untold: a shape is not told, or the count is beyond reason.
    """
    op, first = call.node.op, call.shape(0)
    if op == "ConvTranspose":
        return convolution(call.shape(WEIGHTS[op]), [first[0], *first[2:]])
    if op in WEIGHTS:
        return convolution(call.shape(WEIGHTS[op]), [out[0], *out[2:]])
    if op in _GEMMS:
        return product(out, first[0 if call.get("transA") else 1])
    turned = op == "FusedMatMul" and call.get("transA") and len(first) > 1
    return product(out, first[-2 if turned else -1])


def conv(call: Call) -> Shape:
    """Return the shape behind a convolution: (N, C, ...)."""
    data, weights = call.shape(0), call.shape(WEIGHTS[call.node.op])
    kernel = weights[2:]
    if len(data) != len(weights) or weights[1] * int(call.get("group", 1)) != data[1]:
        raise Untold(f"weights {list(weights)} do not fit {list(data)}")
    return (data[0], weights[0], *_windows(call, data[2:], kernel))


def conv_transpose(call: Call) -> Shape:
    """Return the shape behind a transposed convolution: (N, C, ...)."""
    data, weights = call.shape(0), call.shape(1)
    kernel, rank = weights[2:], len(data) - 2
    if len(data) != len(weights) or weights[0] != data[1]:
        raise Untold(f"weights {list(weights)} do not fit {list(data)}")
    channels = weights[1] * int(call.get("group", 1))
    given = call.integers("output_shape")
    if given is not None:
        return (data[0], channels, *given[-rank:])
    strides, dilations = _list(call, "strides", rank), _list(call, "dilations", rank)
    if _same(call):
        return (data[0], channels, *(a * s for a, s in zip(data[2:], strides, strict=True)))
    pads, more = _pads(call, rank), call.integers("output_padding") or [0] * rank
    sizes = [
        s * (a - 1) + extra + d * (k - 1) + 1 - pads[i] - pads[i + rank]
        for i, (a, k, s, d, extra) in enumerate(
            zip(data[2:], kernel, strides, dilations, more, strict=True)
        )
    ]
    return (data[0], channels, *sizes)


def pool(call: Call) -> Shape:
    """Return the shape behind pooling: (N, C, ...)."""
    data, kernel = call.shape(0), call.integers("kernel_shape")
    if kernel is None or len(kernel) != len(data) - 2:
        raise Untold("no kernel_shape that fits")
    return (*data[:2], *_windows(call, data[2:], kernel))


def global_pool(call: Call) -> Shape:
    """Return the shape behind pooling of everything: (N, C, 1, ...)."""
    data = call.shape(0)
    return (*data[:2], *(1 for _ in data[2:]))


def matmul(call: Call) -> Shape:
    """Return the shape of a product, as numpy.matmul."""
    a, b = call.shape(0), call.shape(FACTORS[call.node.op])
    if call.node.op == "FusedMatMul":
        if call.get("transBatchA") or call.get("transBatchB"):
            raise Untold("batches are transposed")
        a, b = (_turned(x, bool(call.get(n))) for x, n in ((a, "transA"), (b, "transB")))
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise Untold(f"{list(a)} times {list(b)}")
    out = (*broadcast(left[:-2], right[:-2]), left[-2], right[-1])
    if len(a) == 1:
        out = (*out[:-2], out[-1])
    return out[:-1] if len(b) == 1 else out


def matmul_packed(call: Call) -> Shape:
    """Return the shape of a product with MatMulNBits' packed weights."""
    data = call.shape(0)
    if data[-1] != int(call.get("K", -1)):
        raise Untold(f"K does not fit {list(data)}")
    return (*data[:-1], int(call.get("N")))


def gemm(call: Call) -> Shape:
    """Return the shape of a product of two matrices."""
    a = _turned(call.shape(0), bool(call.get("transA")))
    b = _turned(call.shape(FACTORS[call.node.op]), bool(call.get("transB")))
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise Untold(f"{list(a)} times {list(b)}")
    return (a[0], b[1])


def broadcast(*shapes: Sequence[int]) -> Shape:
    """Join shapes as numpy does.

    Raises:
        Untold: they do not fit.
    """
    rank = max(map(len, shapes))
    padded = [(*(1,) * (rank - len(shape)), *shape) for shape in shapes]
    found = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise Untold(f"shapes {', '.join(str(list(shape)) for shape in shapes)} do not fit")
        found.append(wide.pop() if wide else 1)
    return tuple(found)


def _turned(shape: Shape, turned: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if turned else shape


def _windows(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Count the places of a window along each axis."""
    rank = len(sizes)
    strides, dilations = _list(call, "strides", rank), _list(call, "dilations", rank)
    if min([*strides, *dilations, *kernel], default=1) < 1:
        raise Untold("a window, stride or dilation below 1")
    if _same(call):
        return [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
    pads = [0] * 2 * rank if call.get("auto_pad") == "VALID" else _pads(call, rank)
    found = []
    for i, (size, k, stride, dilation) in enumerate(
        zip(sizes, kernel, strides, dilations, strict=True)
    ):
        room = size + pads[i] + pads[i + rank] - dilation * (k - 1) - 1
        count = (-(-room // stride) if call.get("ceil_mode") else room // stride) + 1
        # The last window begins on the image or on the padding before it, not behind.
        if call.get("ceil_mode") and (count - 1) * stride >= size + pads[i]:
            count -= 1
        found.append(count)
    return found


def _same(call: Call) -> bool:
    return call.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER")


def _list(call: Call, name: str, rank: int) -> list[int]:
    return call.integers(name) or [1] * rank


def _pads(call: Call, rank: int) -> list[int]:
    return call.integers("pads") or [0] * 2 * rank
