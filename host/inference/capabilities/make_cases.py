"""Makes `cases.bin`: tiny models of single ONNX operators with known outputs.

Run: pip install onnx==1.23.2 && python make_cases.py

The cases are the node tests of the onnx package, whose outputs its reference evaluator gave. For each operator the
smallest few are kept. Inputs of types that wasi:nn cannot name are written into the model, as exported models have
them, and so are integer inputs that say shapes or axes; outputs of such types are cast to int32. A case that cannot be
brought into this form is left out. Weights and parameters of operators that have them are written into the model too.

The file is a list of records, all numbers little-endian:
  text operator, text case, f64 absolute tolerance, f64 relative tolerance, blob model, tensors inputs, tensors outputs
  text   = u16 length, UTF-8          blob = u32 length, bytes
  tensors = u8 count, then for each: text name, u8 element type, u8 rank, u32 for each dimension, blob elements
Element types are numbered as in wasi:nn: f16, f32, f64, bf16, u8, i32, i64.
"""

import collections
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = {T.FLOAT16: 0, T.FLOAT: 1, T.DOUBLE: 2, T.BFLOAT16: 3, T.UINT8: 4, T.INT32: 5, T.INT64: 6}
FLOATS = {T.FLOAT16, T.FLOAT, T.DOUBLE, T.BFLOAT16}
# Operators whose inputs behind the first are weights or parameters in every exported model.
PARAMETERS = {
    "BatchNormalization", "Clip", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "DequantizeLinear", "GRU",
    "Gemm", "GroupNormalization", "InstanceNormalization", "LSTM", "LayerNormalization", "PRelu", "Pad",
    "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RMSNormalization", "RNN", "Resize",
}
CASES_EACH = 3
LARGEST_CASE = 24_000
HERE = pathlib.Path(__file__).parent


def text(value):
    raw = value.encode()
    return struct.pack("<H", len(raw)) + raw


def blob(raw):
    return struct.pack("<I", len(raw)) + raw


def tensors(named):
    out = struct.pack("<B", len(named))
    for name, kind, array in named:
        out += text(name) + struct.pack("<BB", KINDS[kind], array.ndim)
        out += struct.pack(f"<{array.ndim}I", *array.shape) + blob(np.ascontiguousarray(array).tobytes())
    return out


def value(proto):
    if not isinstance(proto, (np.ndarray, np.generic)):
        raise ValueError("not a tensor")
    return np.asarray(proto)


def convert(case):
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    if len(graph.node) != 1 or graph.node[0].domain not in ("", "ai.onnx"):
        raise ValueError("more than one operator")
    inputs, outputs = case.data_sets[0]
    if len(inputs) != len(graph.input) or len(outputs) != len(graph.output):
        raise ValueError("inputs are left out")
    kept, taken, weights = [], [], []
    for info, given in zip(list(graph.input), inputs):
        array, kind = value(given), info.type.tensor_type.elem_type
        is_parameter = graph.node[0].op_type in PARAMETERS and len(taken) > 0
        if kind in FLOATS and array.ndim <= 8 and not is_parameter:
            kept.append(info)
            taken.append((info.name, kind, array))
        else:
            weights.append((info, array, kind))
    # A model with nothing to give would be computed while it is loaded: then integers stay inputs where they can.
    if not kept:
        for info, array, kind in list(weights):
            if kind in KINDS and array.ndim <= 8:
                kept.append(info)
                taken.append((info.name, kind, array))
                weights.remove((info, array, kind))
                break
    if not kept:
        raise ValueError("nothing to give")
    for info, array, kind in weights:
        graph.initializer.append(numpy_helper.from_array(array, info.name))
        if graph.initializer[-1].data_type != kind:
            raise ValueError("a type that numpy does not have")
    del graph.input[:]
    graph.input.extend(kept)
    expected = []
    for info, given in zip(list(graph.output), outputs):
        array, kind = value(given), info.type.tensor_type.elem_type
        if kind not in KINDS:
            if array.dtype.kind not in "biu":
                raise ValueError("an output that cannot be cast")
            cast = info.name + "_as_i32"
            graph.node.append(helper.make_node("Cast", [info.name], [cast], to=T.INT32))
            shape = [it.dim_value for it in info.type.tensor_type.shape.dim]
            info.CopyFrom(helper.make_tensor_value_info(cast, T.INT32, shape))
            array, kind = array.astype(np.int32), T.INT32
        expected.append((info.name, kind, array))
    for (name, kind, array), info in zip(expected, graph.output):
        info.CopyFrom(helper.make_tensor_value_info(name, kind, list(array.shape)))
    for (name, kind, array), info in zip(taken, graph.input):
        if array.dtype != helper.tensor_dtype_to_np_dtype(kind):
            raise ValueError("another type than it says")
    for name, kind, array in expected:
        if array.dtype != helper.tensor_dtype_to_np_dtype(kind):
            raise ValueError("another type than it says")
    model.producer_name = ""
    model.ir_version = min(model.ir_version, 10)
    rtol, atol = max(case.rtol, 2e-3), max(case.atol or 0, 1e-4)
    operator = case.model.graph.node[0].op_type
    record = text(operator) + text(case.name.removeprefix("test_")) + struct.pack("<dd", atol, rtol)
    return operator, record + blob(model.SerializeToString()) + tensors(taken) + tensors(expected)


def main():
    found, left_out = collections.defaultdict(list), collections.Counter()
    for case in load_model_tests(kind="node"):
        if case.name.endswith("_expanded") or "_expanded_" in case.name or not case.data_sets:
            continue
        try:
            operator, record = convert(case)
        except (ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
            left_out[str(error)[:40]] += 1
            continue
        if len(record) <= LARGEST_CASE:
            found[operator].append((len(record), case.name, record))
    # Dropout and random operators have no one right answer.
    for operator in ("Dropout", "Bernoulli", "RandomNormal", "RandomUniform", "Multinomial"):
        found.pop(operator, None)
    out = b""
    count = 0
    for operator in sorted(found):
        # Not the smallest alone, which are often alike: the smallest, the middle and the largest that fits.
        cases = sorted(found[operator])
        chosen = sorted({0, len(cases) // 2, len(cases) - 1})[:CASES_EACH]
        for index in chosen:
            out += cases[index][2]
            count += 1
    (HERE / "cases.bin").write_bytes(out)
    print(f"{len(found)} operators, {count} cases, {len(out)} bytes; left out: {dict(left_out)}", file=sys.stderr)


if __name__ == "__main__":
    main()
