#!/usr/bin/env python3
"""Makes models, inputs, and the outputs that Python's onnxruntime gives, and judges what `martello infer` gave.

    infer_models.py make FOLDER       NAME.onnx, NAME/in/*.npy, NAME/expected/*.npy, and a JSON line a case
    infer_models.py judge < PAIRS.jsonl    PAIRS: [expected folder, found folder]; a line each: the greatest differences

A line of `make`: {"case", "model", "inputs": {name: file}, "expected": folder, "builtin": none or the word that the
refusal of the built-in backend must hold, "tolerance": of the built-in backend}. Weights and inputs come from a fixed
seed. bf16 tensors are files of two opaque bytes, as ml_dtypes saves them.
"""

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

RANDOM = np.random.default_rng(20261126)
NUMPY = {T.FLOAT: np.float32, T.DOUBLE: np.float64, T.FLOAT16: np.float16, T.UINT8: np.uint8, T.INT32: np.int32, T.INT64: np.int64}
# A half has 11 bits: sums made in another order differ by some units of its last place.
HALF = 4e-3


class Model:
    def __init__(self, inputs, outputs, opset=17):
        self.inputs, self.outputs, self.opset = inputs, outputs, opset
        self.nodes, self.weights = [], []

    def add(self, operator, inputs, output, **attributes):
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(operator, inputs.split(), outputs, **attributes))
        return self

    def weight(self, name, shape, dtype=np.float32, scale=0.3):
        self.weights.append(numpy_helper.from_array((RANDOM.standard_normal(shape) * scale).astype(dtype), name))
        return self

    def constant(self, name, value, dtype):
        self.weights.append(numpy_helper.from_array(np.array(value, dtype), name))
        return self

    def bytes(self, name):
        infos = [[helper.make_tensor_value_info(*info) for info in side] for side in (self.inputs, self.outputs)]
        graph = helper.make_graph(self.nodes, name, *infos, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="martello-tests")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def conv_net(element, batch):
    dtype = NUMPY[element]
    model = Model([("image", element, [batch, 3, 32, 32])], [("logits", element, [batch, 5]), ("scores", element, [batch, 5])])
    model.weight("w1", (8, 3, 3, 3), dtype).weight("b1", (8,), dtype).weight("w2", (8, 1, 3, 3), dtype)
    model.weight("w3", (16, 8, 1, 1), dtype).weight("w4", (16, 5), dtype).weight("b4", (5,), dtype)
    model.weight("scale", (8,), dtype).weight("shift", (8,), dtype).weight("mean", (8,), dtype)
    model.constant("variance", [0.5 + 0.1 * n for n in range(8)], dtype)
    model.add("Conv", "image w1 b1", "c1", pads=[1] * 4, strides=[2, 2])
    model.add("BatchNormalization", "c1 scale shift mean variance", "n1").add("Relu", "n1", "r1")
    model.add("Conv", "r1 w2", "c2", group=8, pads=[2] * 4, dilations=[2, 2]).add("Add", "c2 r1", "a2")
    model.add("MaxPool", "a2", "p2", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    model.add("Conv", "p2 w3", "c3").add("Sigmoid", "c3", "r3")
    model.add("GlobalAveragePool", "r3", "g").add("Flatten", "g", "f").add("Gemm", "f w4 b4", "logits").add("Softmax", "logits", "scores", axis=1)
    return model


def dense(element):
    dtype = NUMPY[element]
    model = Model([("x", element, [4, 8])], [("y", element, [4, 3])])
    model.weight("w1", (8, 16), dtype).weight("w2", (16, 3), dtype).weight("b", (3,), dtype)
    return model.add("MatMul", "x w1", "m1").add("Relu", "m1", "r1").add("MatMul", "r1 w2", "m2").add("Add", "m2 b", "y")


def unet():
    model = Model([("image", T.FLOAT, [1, 1, "h", "w"])], [("mask", T.FLOAT, [1, 1, "h", "w"])])
    model.weight("w1", (6, 1, 3, 3)).weight("w2", (12, 6, 3, 3)).weight("u", (12, 6, 2, 2)).weight("w3", (1, 12, 3, 3))
    model.add("Conv", "image w1", "c1", pads=[1] * 4).add("LeakyRelu", "c1", "r1", alpha=0.1)
    model.add("AveragePool", "r1", "d", kernel_shape=[2, 2], strides=[2, 2]).add("Conv", "d w2", "c2", pads=[1] * 4)
    model.add("ConvTranspose", "c2 u", "up", strides=[2, 2], kernel_shape=[2, 2], pads=[0] * 4, dilations=[1, 1])
    model.add("Concat", "r1 up", "joined", axis=1)
    return model.add("Conv", "joined w3", "c3", pads=[1] * 4).add("Sigmoid", "c3", "mask")


def attention():
    model = Model([("tokens", T.FLOAT, [2, 6, 16])], [("out", T.FLOAT, [2, 6, 16])])
    model.weight("q", (16, 16)).weight("k", (16, 16)).weight("v", (16, 16)).weight("g", (16,)).weight("o", (16,))
    model.constant("root", 4.0, np.float32)
    for name in "qkv":
        model.add("MatMul", f"tokens {name}", f"{name}1")
    model.add("Transpose", "k1", "k2", perm=[0, 2, 1]).add("MatMul", "q1 k2", "s").add("Div", "s root", "s1")
    model.add("Softmax", "s1", "p", axis=-1).add("MatMul", "p v1", "m").add("Add", "m tokens", "r")
    return model.add("LayerNormalization", "r g o", "out", axis=-1)


def several():
    """Two inputs and three outputs, each of another element type."""
    model = Model(
        [("image", T.UINT8, ["n", 4]), ("index", T.INT64, [3])],
        [("unit", T.FLOAT, ["n", 4]), ("picked", T.UINT8, ["n", 3]), ("next", T.INT64, [3])],
    )
    model.constant("most", 255.0, np.float32).constant("one", 1, np.int64)
    model.add("Cast", "image", "f", to=T.FLOAT).add("Div", "f most", "unit")
    return model.add("Gather", "image index", "picked", axis=1).add("Add", "index one", "next")


def integers(element):
    dtype = NUMPY[element]
    model = Model([("x", element, [2, 5])], [("y", element, [5, 2])])
    model.constant("three", [[3]], dtype).constant("seven", [[7]], dtype)
    return model.add("Mul", "x three", "m").add("Add", "m seven", "a").add("Transpose", "a", "y", perm=[1, 0])


def bytes_of_an_image():
    model = Model([("x", T.UINT8, [1, 3, 4, 4])], [("y", T.UINT8, [1, 4, 4, 3])])
    return model.add("Transpose", "x", "y", perm=[0, 2, 3, 1])


def brains():
    """bf16 in and out, and an f32 beside it."""
    model = Model([("x", T.BFLOAT16, [2, 3])], [("y", T.BFLOAT16, [3, 2]), ("f", T.FLOAT, [2, 3])])
    model.constant("shape", [3, 2], np.int64)
    return model.add("Reshape", "x shape", "y").add("Cast", "x", "f", to=T.FLOAT)


def nonzero():
    """The shape of the output is known only when it is there."""
    model = Model([("x", T.INT32, [2, 3])], [("y", T.INT64, [2, "count"])])
    return model.add("NonZero", "x", "y")


def scalar():
    model = Model([("x", T.FLOAT, [])], [("y", T.FLOAT, [])])
    return model.constant("two", 2.0, np.float32).add("Mul", "x two", "y")


def grid():
    model = Model([("x", T.FLOAT, [1, 1, 4, 4]), ("grid", T.FLOAT, [1, 3, 3, 2])], [("y", T.FLOAT, [1, 1, 3, 3])])
    return model.add("GridSample", "x grid", "y", align_corners=1)


def pool_of_powers():
    model = Model([("x", T.FLOAT, [1, 1, 4, 4])], [("y", T.FLOAT, [1, 1, 2, 2])])
    return model.add("LpPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2])


def out_of_range():
    """Loads everywhere; fails while it runs where the index lies beyond the table."""
    model = Model([("index", T.INT64, [1])], [("y", T.FLOAT, [1, 2])])
    return model.weight("table", (3, 2)).add("Gather", "table index", "y", axis=0)


def normal(dtype, *shape):
    return RANDOM.standard_normal(shape).astype(dtype)


def cases():
    """Name, model, inputs, refusal of the built-in backend, its tolerance."""
    image = normal(np.float32, 3, 3, 32, 32)
    yield "conv-f32", conv_net(T.FLOAT, 1), {"image": image[:1]}, None, 1e-4
    yield "conv-f16", conv_net(T.FLOAT16, 1), {"image": image[:1].astype(np.float16)}, "Gemm", 0
    yield "conv-batch-1", conv_net(T.FLOAT, "batch"), {"image": image[:1]}, None, 1e-4
    yield "conv-batch-3", conv_net(T.FLOAT, "batch"), {"image": image}, None, 1e-4
    yield "dense-f64", dense(T.DOUBLE), {"x": normal(np.float64, 4, 8)}, None, 1e-4
    yield "dense-f16", dense(T.FLOAT16), {"x": normal(np.float16, 4, 8)}, None, HALF
    yield "unet", unet(), {"image": normal(np.float32, 1, 1, 24, 40)}, None, 1e-4
    yield "attention", attention(), {"tokens": normal(np.float32, 2, 6, 16)}, None, 1e-4
    pixels = RANDOM.integers(0, 256, (2, 4), np.uint8)
    yield "several", several(), {"image": pixels, "index": np.array([3, 0, 1], np.int64)}, None, 1e-4
    yield "nonzero", nonzero(), {"x": np.array([[0, 3, 0], [4, 0, 5]], np.int32)}, None, 0
    for element, word in ((T.INT32, "i32"), (T.INT64, "i64")):
        numbers = RANDOM.integers(-1000, 1000, (2, 5), NUMPY[element])
        yield f"integers-{word}", integers(element), {"x": numbers}, None, 0
    yield "bytes-u8", bytes_of_an_image(), {"x": RANDOM.integers(0, 256, (1, 3, 4, 4), np.uint8)}, None, 0
    yield "brains-bf16", brains(), {"x": normal(np.float32, 2, 3).astype(ml_dtypes.bfloat16)}, "bf16", 0
    yield "scalar", scalar(), {"x": np.array(1.25, np.float32)}, None, 1e-4
    yield "grid", grid(), {"x": normal(np.float32, 1, 1, 4, 4), "grid": normal(np.float32, 1, 3, 3, 2) / 3}, None, 1e-4
    yield "pool-of-powers", pool_of_powers(), {"x": normal(np.float32, 1, 1, 4, 4)}, "LpPool", 0
    yield "out-of-range", out_of_range(), {"index": np.array([1], np.int64)}, None, 1e-4


def reference(model: bytes, inputs: dict) -> dict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    value = onnxruntime.OrtValue
    given = {
        name: value.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), T.BFLOAT16)
        if array.dtype == ml_dtypes.bfloat16 else value.ortvalue_from_numpy(array)
        for name, array in inputs.items()
    }
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run_with_ort_values(names, given)))


def array_of(value, inputs: dict) -> np.ndarray:
    if value.element_type() == T.BFLOAT16:  # numpy has none: the only such output is the input in another shape
        return next(iter(inputs.values())).reshape(value.shape())
    return value.numpy()


def make(folder: Path) -> None:
    for name, model, inputs, builtin, tolerance in cases():
        place = folder / name
        for side in ("in", "expected"):
            (place / side).mkdir(parents=True)
        data = model.bytes(name)
        (folder / f"{name}.onnx").write_bytes(data)
        for input_name, array in inputs.items():
            np.save(place / "in" / f"{input_name}.npy", np.ascontiguousarray(array) if array.ndim else array)
        for output, value in reference(data, inputs).items():
            np.save(place / "expected" / f"{output}.npy", array_of(value, inputs))
        files = {input_name: str(place / "in" / f"{input_name}.npy") for input_name in inputs}
        print(json.dumps({"case": name, "model": str(folder / f"{name}.onnx"), "inputs": files,
                          "expected": str(place / "expected"), "builtin": builtin, "tolerance": tolerance}))
    np.save(folder / "beyond.npy", np.array([9], np.int64))


def judge(expected: Path, found: Path) -> dict:
    differences = {}
    files = sorted(expected.glob("*.npy"))
    assert [file.name for file in files] == sorted(file.name for file in found.glob("*.npy")), "other outputs"
    for file in files:
        theirs, ours = np.load(file), np.load(found / file.name)
        assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype), f"{file.name}: {ours.dtype} {ours.shape}"
        if theirs.dtype.kind == "f":
            far = np.abs(theirs.astype(np.float64) - ours.astype(np.float64)).max()
            differences[file.stem] = float(far) if np.isfinite(far) else "not finite"
        else:
            differences[file.stem] = 0.0 if theirs.tobytes() == ours.tobytes() else "other values"
    return differences


def main() -> int:
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["judge"]:
            for pair in map(json.loads, sys.stdin):
                print(json.dumps(judge(*map(Path, pair))))
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
