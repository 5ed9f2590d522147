"""The network: six small convolutions and two dense layers, its training step and its ONNX export.

Activations are NHWC here, so that a layer is one product; the exported graph is NCHW, so the export
permutes the kernels and the rows of the first dense layer. `train.py` checks that both give the same scores.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# (output channels, stride, kernel): strides take 64 x 64 to 4 x 4, where position still tells up from down.
CONVOLUTIONS = ((12, 2, 3), (20, 1, 3), (28, 2, 3), (28, 1, 3), (32, 2, 3), (24, 2, 3))
HIDDEN = 16
CLASSES = 5
OPSET = 13


def initial_weights(seed: int, height: int, width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """He-normal kernels and zero biases: the convolutions, then the two dense layers."""
    rng = np.random.default_rng((seed, 1))
    weights, channels = [], 1
    for outputs, stride, kernel in CONVOLUTIONS:
        deviation = np.sqrt(2 / (kernel * kernel * channels))
        weights.append((rng.normal(0, deviation, (kernel, kernel, channels, outputs)), np.zeros(outputs)))
        channels, height, width = outputs, -(-height // stride), -(-width // stride)
    inputs = height * width * channels
    for outputs in (HIDDEN, CLASSES):
        weights.append((rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs)), np.zeros(outputs)))
        inputs = outputs
    return [(w.astype(np.float32), b.astype(np.float32)) for w, b in weights]


def scores(weights, images):
    """Raw logits, shape (n, 5), of images of shape (n, height, width, 1)."""
    x = images
    for (w, b), (_, stride, kernel) in zip(weights, CONVOLUTIONS):
        x = jax.nn.relu(convolved(x, w, stride, kernel) + b)
    x = x.reshape(x.shape[0], -1)
    (w, b), (w_last, b_last) = weights[-2:]
    return jax.nn.relu(x @ w + b) @ w_last + b_last


def convolved(x, w, stride: int, kernel: int):
    """One product for a layer: for channels as few as these a third faster than XLA's own convolution on a CPU."""
    pad = kernel // 2
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [
        x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return jnp.concatenate(taps, -1) @ w.reshape(-1, w.shape[-1])


def loss(weights, images, labels):
    log_probabilities = jax.nn.log_softmax(scores(weights, images))
    return -jnp.take_along_axis(log_probabilities, labels[:, None], 1).mean()


@jax.jit
def step(weights, first, second, images, labels, rate, count):
    """One step of AdamW; `first` and `second` are the running moments, `count` starts at 1."""
    value, gradients = jax.value_and_grad(loss)(weights, images, labels)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)

    def moved(w, m, v):
        return w - rate * (m / (1 - 0.9**count) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8) + 1e-3 * w)

    return jax.tree.map(moved, weights, first, second), first, second, value


all_scores = jax.jit(scores)


def export(weights, path: Path, height: int, width: int) -> None:
    """Write the graph with static shapes: Conv, Relu, Flatten and Gemm only."""
    nodes, constants, name = [], [], "input"

    def constant(label: str, value) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), label))
        return label

    rows, columns = height, width
    for i, ((w, b), (_, stride, kernel)) in enumerate(zip(weights, CONVOLUTIONS)):
        w = constant(f"conv{i}.weight", np.transpose(np.asarray(w), (3, 2, 0, 1)))
        b = constant(f"conv{i}.bias", np.asarray(b))
        nodes.append(
            helper.make_node(
                "Conv", [name, w, b], [f"conv{i}"], f"conv{i}",
                kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4,
            )
        )
        name = f"relu{i}"
        nodes.append(helper.make_node("Relu", [f"conv{i}"], [name], name))
        rows, columns = -(-rows // stride), -(-columns // stride)

    nodes.append(helper.make_node("Flatten", [name], ["flat"], "flat", axis=1))
    (w, b), (w_last, b_last) = ((np.asarray(w), np.asarray(b)) for w, b in weights[-2:])
    # Rows of the dense layer are in (row, column, channel) order; the graph flattens (channel, row, column).
    w = w.reshape(rows, columns, CONVOLUTIONS[-1][0], HIDDEN).transpose(2, 0, 1, 3).reshape(-1, HIDDEN)
    nodes.append(helper.make_node("Gemm", ["flat", constant("dense0.weight", w), constant("dense0.bias", b)], ["dense0"], "dense0"))
    nodes.append(helper.make_node("Relu", ["dense0"], ["relu_dense0"], "relu_dense0"))
    last = ["relu_dense0", constant("dense1.weight", w_last), constant("dense1.bias", b_last)]
    nodes.append(helper.make_node("Gemm", last, ["scores"], "dense1"))

    graph = helper.make_graph(
        nodes,
        "acquisition-quality",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, height, width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        constants,
    )
    model = helper.make_model(graph, producer_name="martello", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
