"""LiteRT files as they are written: networks joined one behind the other, what their user must know put inside.

The parts are what the converter gives: a graph with one input and one output, and, where there are states, another one
that sets them to zero before the first inference. `ai_edge_litert` reads and packs the FlatBuffers; the schema is
TensorFlow's `lite/schema/schema.fbs`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from kws.spotting.litert import ABOUT

ALIGNMENT = (
    16  # bytes, of constants: the schema's force_align, which the packer does not know; microcontrollers need it
)


def join(parts: Sequence[bytes], about: Mapping[str, Any]) -> bytes:
    """One LiteRT file in which each part's output is the next one's input, with `about` in its metadata.

    Names of tensors are left out: they are a tenth of a small network, and tell of the program that made it. States,
    which need names, are numbered.
    """
    models = [flatbuffer_utils.read_model_from_bytearray(part) for part in parts]
    for number, model in enumerate(models):
        _name_states(model, f"{number}.")
    joined = models[0]
    for model in models[1:]:
        _append(joined, model)
    flatbuffer_utils.strip_strings(joined)
    joined.buffers.append(schema.BufferT(data=np.frombuffer(json.dumps(about).encode(), np.uint8)))
    joined.metadata = [schema.MetadataT(name=ABOUT, buffer=len(joined.buffers) - 1)]
    return _packed(joined)


def without_names(content: bytes) -> bytes:
    """The same file without names of tensors and descriptions, its states numbered."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    _name_states(model, "")
    flatbuffer_utils.strip_strings(model)
    return _packed(model)


def _name_states(model: schema.ModelT, prefix: str) -> None:
    options = [operator.builtinOptions for graph in model.subgraphs for operator in graph.operators]
    handles = [option for option in options if isinstance(option, schema.VarHandleOptionsT)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(handle.sharedName for handle in handles))}
    for handle in handles:
        handle.sharedName = f"{prefix}{numbers[handle.sharedName]}"


def _append(joined: schema.ModelT, model: schema.ModelT) -> None:
    graph, [added, *others] = joined.subgraphs[0], model.subgraphs
    first_buffer, first_code, first_other = len(joined.buffers), len(joined.operatorCodes), len(joined.subgraphs)
    place = {-1: -1, added.inputs[0]: graph.outputs[0]}  # -1: an optional input that is not there
    for part in model.subgraphs:
        for tensor in part.tensors:
            tensor.buffer += first_buffer
        for operator in part.operators:
            operator.opcodeIndex += first_code
            if isinstance(operator.builtinOptions, schema.CallOnceOptionsT):
                operator.builtinOptions.initSubgraphIndex += first_other - 1
    for number, tensor in enumerate(added.tensors):
        if number not in place:
            place[number] = len(graph.tensors)
            graph.tensors.append(tensor)
    for operator in added.operators:
        operator.inputs = [place[number] for number in operator.inputs]
        operator.outputs = [place[number] for number in operator.outputs]
    joined.buffers += model.buffers
    joined.operatorCodes += model.operatorCodes
    joined.subgraphs += others
    graph.operators += added.operators
    graph.outputs = [place[added.outputs[0]]]


def with_output(content: bytes, name: str) -> bytes:
    """The same file with one of its outputs alone, by its name in the signature."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    [signature] = model.signatureDefs
    model.subgraphs[0].outputs = [output.tensorIndex for output in signature.outputs if output.name == name.encode()]
    model.signatureDefs = None
    return _packed(model)


def _packed(model: schema.ModelT) -> bytes:
    builder = _Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # FlatBuffers has no types
    """Packs equal vectors once, such as the zero points of 8 bits, and aligns the content of buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._packed: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 (FlatBuffers' name)
        content = x.tobytes()
        key = (x.dtype.str, content)
        if key not in self._packed:
            self.StartVector(x.itemsize, len(x), ALIGNMENT)
            self.head -= len(content)
            self.Bytes[self.head : self.head + len(content)] = content
            self._packed[key] = self.EndVector()
        return self._packed[key]


def peak_memory(content: bytes) -> int:
    """The most bytes of activations that are alive at a time, when the operators run in the file's order, and states.

    A state is what a stream keeps from one inference to the next. What a runtime needs is this, its own bookkeeping,
    and the file: a lower bound that does not depend on the machine.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    graph = model.subgraphs[0]  # others set the states to zero, once
    constants = {number for number, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    last_use = {number: step for step, operator in enumerate(graph.operators) for number in operator.inputs}
    last_use |= dict.fromkeys(graph.outputs, len(graph.operators))
    alive, peak = set(graph.inputs), 0
    for step, operator in enumerate(graph.operators):
        alive |= set(operator.outputs)
        peak = max(peak, sum(_bytes_of(graph.tensors[number]) for number in alive - constants))
        alive = {number for number in alive if last_use.get(number, -1) > step}
    assigned = (operator for operator in graph.operators if _name(model, operator) == "ASSIGN_VARIABLE")
    states = {int(handle): _bytes_of(graph.tensors[value]) for handle, value in (one.inputs for one in assigned)}
    return peak + sum(states.values())


def operators(content: bytes) -> Counter[str]:
    """How often each operator stands in a file, by LiteRT's names; those of others are `CUSTOM` and `FLEX…`."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    return Counter(_name(model, operator) for operator in model.subgraphs[0].operators)


def all_operators(content: bytes) -> set[str]:
    """The operators of a file, those that set its states to zero among them."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    return {flatbuffer_utils.opcode_to_name(model, number) for number in range(len(model.operatorCodes))}


def _name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    return flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)


def _bytes_of(tensor: schema.TensorT) -> int:
    if tensor.type == schema.TensorType.RESOURCE:  # the name of a state
        return 0
    kind = np.dtype(flatbuffer_utils.type_to_name(tensor.type).lower())
    return int(np.prod(tensor.shape, dtype=np.int64)) * kind.itemsize
