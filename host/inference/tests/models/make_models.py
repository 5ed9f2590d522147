"""Makes the models of the tests. Run: pip install onnx==1.23.2 && python make_models.py

Weights come from a fixed seed. Each model stands for one thing that the host must get right.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = pathlib.Path(__file__).parent
RANDOM = np.random.default_rng(20261123)


def info(name, element, shape):
    return helper.make_tensor_value_info(name, element, shape)


def save(name, nodes, inputs, outputs, weights=(), opset=13, domains=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(it, 1) for it in domains]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="martello-tests")
    model.ir_version = 8
    if not domains:
        onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / f"{name}.onnx")


def weight(name, shape, dtype, scale=0.3):
    return numpy_helper.from_array((RANDOM.standard_normal(shape) * scale).astype(dtype), name)


def affine():
    two = numpy_helper.from_array(np.array([2], np.float32), "two")
    one = numpy_helper.from_array(np.array([1], np.float32), "one")
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "one"], ["y"]),
    ]
    save("affine", nodes, [info("x", T.FLOAT, [2, 3])], [info("y", T.FLOAT, [2, 3])], [two, one])


def convnet(name, element, dtype, batch):
    weights = [
        weight("w1", (8, 3, 3, 3), dtype),
        weight("b1", (8,), dtype),
        weight("w2", (16, 8, 3, 3), dtype),
        weight("b2", (16,), dtype),
        weight("w3", (16, 5), dtype),
        weight("b3", (5,), dtype),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        # tract has no f64 sigmoid.
        helper.make_node("Relu" if dtype == np.float64 else "Sigmoid", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p2"]),
        helper.make_node("Flatten", ["p2"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w3"], ["product"]),
        helper.make_node("Add", ["product", "b3"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    outputs = [info("logits", element, [batch, 5]), info("scores", element, [batch, 5])]
    save(name, nodes, [info("image", element, [batch, 3, 16, 16])], outputs, weights)


def same(name, element, shape=(2, 3)):
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = list(shape)
    flat = numpy_helper.from_array(np.array([int(np.prod(shape))], np.int64), "shape")
    save(name, [node], [info("x", element, shape)], [info("y", element, [int(np.prod(shape))])], [flat])


def plus_one(name, element, dtype):
    one = numpy_helper.from_array(np.array([1], dtype), "one")
    node = helper.make_node("Add", ["x", "one"], ["y"])
    save(name, [node], [info("x", element, [4])], [info("y", element, [4])], [one], opset=14)


def slow():
    """A chain of products: no weights, and seconds of work that can be stopped between two operators."""
    nodes = [helper.make_node("MatMul", ["x" if it == 0 else f"m{it - 1}", "x"], [f"m{it}"]) for it in range(400)]
    nodes.append(helper.make_node("Identity", ["m399"], ["y"]))
    save("slow", nodes, [info("x", T.FLOAT, [512, 512])], [info("y", T.FLOAT, [512, 512])])


def unsupported():
    node = helper.make_node("Nonesuch", ["x"], ["y"], domain="example.invalid")
    save("unsupported", [node], [info("x", T.FLOAT, [2])], [info("y", T.FLOAT, [2])], domains=["example.invalid"])


def two_inputs():
    node = helper.make_node("Sub", ["left", "right"], ["difference"])
    inputs = [info("left", T.FLOAT, ["n"]), info("right", T.FLOAT, ["n"])]
    save("two_inputs", [node], inputs, [info("difference", T.FLOAT, ["n"])])


def large():
    """A large tensor in, one number out."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    for side in (2048, 4096):
        shape = [1, 1, side, side]
        save(f"mean_{side}", [node], [info("x", T.FLOAT, shape)], [info("y", T.FLOAT, [1, 1])])


def grows():
    """A small tensor in, a large one out."""
    node = helper.make_node("Expand", ["x", "shape"], ["y"])
    shape = numpy_helper.from_array(np.array([1 << 22], np.int64), "shape")
    save("grows", [node], [info("x", T.FLOAT, [1])], [info("y", T.FLOAT, [1 << 22])], [shape])


def external():
    """A model whose weights lie in another file, which a model that is signed alone must not reach."""
    tensor = T(name="w", data_type=T.FLOAT, dims=[2], data_location=T.EXTERNAL)
    tensor.external_data.add(key="location", value="affine.onnx")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "external", [info("x", T.FLOAT, [2])], [info("y", T.FLOAT, [2])], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    (HERE / "external.onnx").write_bytes(model.SerializeToString())


def picks():
    """Takes elements by their numbers: an index out of range stands in a backend's words."""
    table = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "table")
    node = helper.make_node("Gather", ["table", "x"], ["y"], axis=0)
    save("picks", [node], [info("x", T.INT64, [1])], [info("y", T.FLOAT, [1])], [table])


def floats(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


def pads():
    """A convolution over a tensor of terabytes, made by its padding alone."""
    node = helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1 << 20] * 4)
    total = helper.make_node("ReduceSum", ["c"], ["y"], keepdims=0)
    save("pads", [node, total], [info("x", T.FLOAT, [1, 1, 8, 8])], [info("y", T.FLOAT, [])], [weight("w", (1, 1, 3, 3), np.float32)])


def constant():
    """2 GiB of zeros that a backend may make while it loads the model."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    save("constant", nodes, [info("x", T.FLOAT, [2, 3])], [info("y", T.FLOAT, [2, 3])], [floats("shape", [1 << 29], np.int64)])


def expands():
    """How large a tensor gets stands in another one."""
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["e"]),
        helper.make_node("ReduceSum", ["e"], ["y"], keepdims=0),
    ]
    save("expands", nodes, [info("x", T.FLOAT, [1]), info("shape", T.INT64, [1])], [info("y", T.FLOAT, [])])


def finds():
    """As many results as there are elements that are not zero."""
    node = helper.make_node("NonZero", ["x"], ["y"])
    save("finds", [node], [info("x", T.FLOAT, [2, 3])], [info("y", T.INT64, [2, "found"])])


def joins():
    """What was found, flat and joined with itself."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Reshape", ["found", "flat"], ["line"]),
        helper.make_node("Concat", ["line", "line", "flat"], ["twice"], axis=0),
    ]
    save("joins", nodes, [info("x", T.FLOAT, ["h", "w"])], [info("twice", T.INT64, ["all"])], [floats("flat", [-1], np.int64)])


def uniques():
    """Each element once: a backend may keep them in a tree."""
    node = helper.make_node("Unique", ["x"], ["y"])
    save("uniques", [node], [info("x", T.FLOAT, ["n"])], [info("y", T.FLOAT, ["found"])])


def uniques_found():
    """The same of what was found, whose number nobody knows."""
    nodes = [helper.make_node("NonZero", ["x"], ["found"]), helper.make_node("Unique", ["found"], ["y"])]
    save("uniques_found", nodes, [info("x", T.FLOAT, ["n"])], [info("y", T.INT64, ["different"])])


def shapeless():
    """An output of which the file says no more than its type."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("Relu", ["t"], ["y"])]
    save("shapeless", nodes, [info("x", T.FLOAT, [2, "n"])], [info("y", T.FLOAT, ["n", 2])])
    model = onnx.load(HERE / "shapeless.onnx")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, HERE / "shapeless.onnx")


def ranges():
    """As many numbers as a number says."""
    nodes = [
        helper.make_node("Squeeze", ["x"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["numbers"]),
        helper.make_node("ReduceSum", ["numbers"], ["y"], keepdims=0),
    ]
    save("ranges", nodes, [info("x", T.FLOAT, [1])], [info("y", T.FLOAT, [])], [floats("zero", 0), floats("one", 1)])


def multiplies():
    """A million times as many zeros as there are elements that are not zero."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Shape", ["found"], ["shape"]),
        helper.make_node("Mul", ["shape", "factor"], ["large"]),
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["y"], keepdims=0),
    ]
    save("multiplies", nodes, [info("x", T.FLOAT, [2, 3])], [info("y", T.FLOAT, [])], [floats("factor", [1, 1 << 20], np.int64)])


def stretches():
    """A wide image made a tall one, which an implementation by axes makes wide and tall in between."""
    nodes = [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")]
    sizes = floats("sizes", [1, 1, 100_000, 1], np.int64)
    save("stretches", nodes, [info("x", T.FLOAT, [1, 1, 4, "w"])], [info("y", T.FLOAT, [1, 1, 100_000, 1])], [sizes])


def enlarges():
    """An image as large as the caller likes, 4096 times as large."""
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["y"], keepdims=0),
    ]
    save("enlarges", nodes, [info("x", T.FLOAT, [1, 1, "h", "w"])], [info("y", T.FLOAT, [])], [floats("scales", [1, 1, 64, 64])])


def endless():
    """A loop without an end."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["v", "one"], ["w"])],
        "body",
        [info("i", T.INT64, []), info("go", T.BOOL, []), info("v", T.FLOAT, [2, 3])],
        [info("goes", T.BOOL, []), info("w", T.FLOAT, [2, 3])],
        [floats("one", 1)],
    )
    node = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
    yes = numpy_helper.from_array(np.array(True), "true")
    save("endless", [node], [info("x", T.FLOAT, [2, 3])], [info("y", T.FLOAT, [2, 3])], [yes])


def strings():
    """A text that doubles with each turn of a loop: memory that no arena counts."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("StringConcat", ["v", "v"], ["w"])],
        "body",
        [info("i", T.INT64, []), info("go", T.BOOL, []), info("v", T.STRING, [1])],
        [info("goes", T.BOOL, []), info("w", T.STRING, [1])],
    )
    nodes = [
        helper.make_node("Loop", ["", "true", "text"], ["long"], body=body),
        helper.make_node("Shape", ["long"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["length"], to=T.FLOAT),
        helper.make_node("Add", ["x", "length"], ["y"]),
    ]
    yes = numpy_helper.from_array(np.array(True), "true")
    text = helper.make_tensor("text", T.STRING, [1], [b"text"])
    save("strings", nodes, [info("x", T.FLOAT, [2, 3])], [info("y", T.FLOAT, [2, 3])], [yes, text], opset=20)


def steers():
    """Names that a terminal obeys."""
    node = helper.make_node("Identity", ["x\x1b[2J"], ["y\x1b]0;title\x07\nforged: f32 [1] in /etc/passwd"])
    save(
        "steers",
        [node],
        [info("x\x1b[2J", T.FLOAT, [2, 3])],
        [info("y\x1b]0;title\x07\nforged: f32 [1] in /etc/passwd", T.FLOAT, [2, 3])],
    )


if __name__ == "__main__":
    affine()
    convnet("convnet_f32", T.FLOAT, np.float32, 1)
    convnet("convnet_f64", T.DOUBLE, np.float64, 1)
    convnet("convnet_f16", T.FLOAT16, np.float16, 1)
    convnet("convnet_batch", T.FLOAT, np.float32, "batch")
    same("same_bf16", T.BFLOAT16)
    same("same_bool", T.BOOL)
    same("same_u8", T.UINT8)
    plus_one("plus_one_i32", T.INT32, np.int32)
    plus_one("plus_one_i64", T.INT64, np.int64)
    plus_one("plus_one_u8", T.UINT8, np.uint8)
    slow()
    unsupported()
    two_inputs()
    large()
    grows()
    external()
    picks()
    expands()
    finds()
    joins()
    uniques()
    uniques_found()
    shapeless()
    ranges()
    multiplies()
    stretches()
    enlarges()
    endless()
    strings()
    steers()
    constant()
    pads()
