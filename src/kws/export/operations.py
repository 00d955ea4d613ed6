"""What a LiteRT file costs on any device: bytes, and multiplications, which its operators and their shapes tell.

A time depends on the processor; this count does not. A division counts as a multiplication. Not counted are sums,
comparisons, exponentials and logarithms, and the scaling of 8 bits between operators: each runtime does it its own way.
"""

import math
from collections.abc import Callable, Sequence

from ai_edge_litert.tools import flatbuffer_utils

from kws.core.errors import UserError
from kws.export.flatbuffer import operators, peak_memory

Shapes = Sequence[Sequence[int]]

# Multiplications by the shapes of an operator's inputs and of its output.
_PRODUCTS: dict[str, Callable[[Shapes, Sequence[int]], int]] = {
    "CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][1:]),  # weights: out, height, width, in
    "DEPTHWISE_CONV_2D": lambda inputs, output: math.prod(output) * inputs[1][1] * inputs[1][2],
    "FULLY_CONNECTED": lambda inputs, output: math.prod(output) * inputs[1][-1],  # weights: out, in
    "BATCH_MATMUL": lambda inputs, output: math.prod(output) * math.prod(inputs[0]) // math.prod(output[:-1]),
    "RFFT2D": lambda _, output: _fft(output),
}
_EACH_OUTPUT = {"MUL": 1, "DIV": 1, "SQUARE": 1, "MEAN": 1, "AVERAGE_POOL_2D": 1, "SOFTMAX": 1, "LOGISTIC": 1}
_EACH_OUTPUT |= {"TANH": 1, "LEAKY_RELU": 1, "HARD_SWISH": 2, "RESIZE_BILINEAR": 4}
_NONE = {
    *("ABS", "ADD", "EXP", "LOG", "NEG", "RELU", "RELU6", "SUB", "SUM"),
    *("MAX_POOL_2D", "MAXIMUM", "MINIMUM", "REDUCE_MAX"),
    *("BATCH_TO_SPACE_ND", "CONCATENATION", "EXPAND_DIMS", "GATHER", "IMAG", "PACK", "PAD", "PADV2", "REAL", "RESHAPE"),
    *("SLICE", "SPACE_TO_BATCH_ND", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"),
    *("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"),
    *("DEQUANTIZE", "QUANTIZE"),
}


def cost(content: bytes, answers_a_second: float) -> dict[str, int]:
    """What a LiteRT file costs: `bytes`, `peak_memory_bytes`, `multiplications` of one inference, and `…_a_second`.

    Between two answers a device has to do one inference: its multiplications are the longest single step. They are left
    out where the file has `uncounted` operators.
    """
    counted = {"bytes": len(content), "peak_memory_bytes": peak_memory(content)}
    if not uncounted(content):
        count = multiplications(content)
        counted |= {"multiplications": count, "multiplications_a_second": round(count * answers_a_second)}
    return counted


def uncounted(content: bytes) -> list[str]:
    """The operators of a LiteRT file whose multiplications are not known here, by name."""
    return sorted(set(operators(content)) - {*_PRODUCTS, *_EACH_OUTPUT, *_NONE})


def multiplications(content: bytes) -> int:
    """Multiplications of one inference of a LiteRT file.

    Raises:
        UserError: the file has an operator whose multiplications this module does not know.
    """
    if unknown := uncounted(content):
        raise UserError(f"how many multiplications {', '.join(unknown)} takes stands in no list of {__name__}")
    model = flatbuffer_utils.read_model_from_bytearray(content)
    graph = model.subgraphs[0]  # others set the states to zero, once

    def shape(number: int) -> list[int]:
        return [] if graph.tensors[number].shape is None else [int(length) for length in graph.tensors[number].shape]

    total = 0
    for operator in graph.operators:
        name = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        if name in _PRODUCTS:
            inputs = [shape(number) for number in operator.inputs]
            total += _PRODUCTS[name](inputs, shape(operator.outputs[0]))
        elif name in _EACH_OUTPUT:
            total += _EACH_OUTPUT[name] * math.prod(shape(operator.outputs[0]))
    return total


def _fft(output: Sequence[int]) -> int:
    """Of real FFTs of n points, of which n / 2 + 1 come out: n log2 n each, half of a complex one by radix 2.

    A complex one has n/2 log2 n butterflies with a complex product of four multiplications each (Cooley and Tukey,
    1965). LiteRT takes powers of two.
    """
    *rows, bins = output
    points = 2 * (bins - 1)
    return math.prod(rows) * points * (points.bit_length() - 1)
