"""Draw the phantoms, train the acquisition-quality classifier, measure it and write everything that ships.

    python train.py            the committed model, some six minutes on two cores
    python train.py --quick    a smoke run of some seconds, written to a temporary folder

Writes acquisition-quality.onnx, model.json, golden/ and metrics.json beside itself (or into --out).
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

# Before numpy: each drawing process has a core of its own, and small products on two threads wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import phantoms
from recipe import load_recipe

HERE = Path(__file__).parent
NAME = "acquisition-quality"
BATCH = 128
PEAK_RATE = 2e-3
# Largest difference between the trainer and ONNX Runtime, over the largest score, that is still rounding.
AGREEMENT = 1e-5
GOLDEN = ("fine", "truncated", "inverted")
CALIBRATION_BINS = 15


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="a smoke run: few phantoms, no claim of accuracy")
    arguments.add_argument("--seed", type=int, default=20260)
    arguments.add_argument("--workers", type=int, default=2, help="processes that draw; the result does not depend on it")
    arguments.add_argument("--out", type=Path, help="where to write (default: beside this script; temporary with --quick)")
    options = arguments.parse_args()
    out = options.out or (Path(tempfile.mkdtemp(prefix="acquisition-quality-")) if options.quick else HERE)
    (out / "golden").mkdir(parents=True, exist_ok=True)
    recipe = load_recipe()
    groups = (120, 40, 40, 20) if options.quick else (10000, 500, 1000, 200)
    epochs = 2 if options.quick else 5

    started = time.monotonic()
    splits = {}
    kinds = (phantoms.TRAINING, phantoms.TRAINING, phantoms.HELD_OUT, phantoms.UNSEEN_FAMILY)
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for number, (split, parameters, count) in enumerate(
            zip(("training", "validation", "held_out", "unseen_family"), kinds, groups)
        ):
            seeds = [(options.seed, number, index) for index in range(count)]
            work = partial(phantoms.draw_group, parameters=parameters, recipe=recipe)
            splits[split] = np.concatenate(list(pool.map(work, seeds, chunksize=20)))
            print(f"{split}: {len(splits[split])} images, {time.monotonic() - started:.0f} s", flush=True)
    drawn = time.monotonic() - started

    import network  # after drawing: the drawing processes have no use for JAX

    weights = fit(network, splits["training"], splits["validation"], options.seed, epochs)
    trained = time.monotonic() - started - drawn

    predict = partial(scores_of, network, weights)

    temperature = fit_temperature(predict(splits["validation"]))
    height, width = recipe["resample"]["height"], recipe["resample"]["width"]
    model_path = out / f"{NAME}.onnx"
    network.export(weights, model_path, height, width)
    difference = check_export(model_path, splits["held_out"][:1000], predict)
    golden = write_golden(out, model_path, splits["held_out"])
    manifest = model_manifest(recipe, temperature, golden, height, width)
    (out / "model.json").write_text(json.dumps(manifest, indent=2) + "\n")

    metrics = {
        "command": "python train.py" + (" --quick" if options.quick else ""),
        "seed": options.seed,
        "seconds": {"drawing": round(drawn, 1), "training": round(trained, 1)},
        "parameters": int(sum(np.size(part) for layer in weights for part in layer)),
        "onnx_bytes": model_path.stat().st_size,
        "largest_difference_onnx_runtime": difference,
        "temperature": temperature,
        "training_images": len(splits["training"]),
    } | {
        split: measure(predict(splits[split]), temperature) for split in ("validation", "held_out", "unseen_family")
    } | {"versions": versions()}
    held_out = metrics["held_out"]
    held_out["accuracy_by_family"] = accuracy_by_family(options.seed, recipe, predict, 20 if options.quick else 100)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps({key: metrics[key] for key in ("seconds", "onnx_bytes", "temperature", "held_out")}, indent=1))
    print(f"written to {out}" if options.quick else f"accuracy on held-out phantoms: {held_out['accuracy']:.4f}")


def labels_of(count: int) -> np.ndarray:
    """Groups hold one sample of each class, in order."""
    return np.tile(np.arange(len(phantoms.LABELS)), count // len(phantoms.LABELS))


def scores_of(network, weights, images: np.ndarray) -> np.ndarray:
    """Logits of images of shape (n, 1, height, width), 500 at a time: a layer's taps take nine times its memory."""
    parts = (images[i : i + 500].transpose(0, 2, 3, 1) for i in range(0, len(images), 500))
    return np.concatenate([np.asarray(network.all_scores(weights, part)) for part in parts])


def fit(network, images: np.ndarray, validation: np.ndarray, seed: int, epochs: int):
    """AdamW with a short warm-up and a cosine to zero."""
    import jax
    import jax.numpy as jnp

    weights = network.initial_weights(seed, *images.shape[2:])
    first = second = jax.tree.map(jnp.zeros_like, weights)
    images, labels = images.transpose(0, 2, 3, 1), labels_of(len(images)).astype(np.int32)
    rng = np.random.default_rng((seed, 2))
    steps_per_epoch = len(images) // BATCH
    total, count, started = epochs * steps_per_epoch, 0, time.monotonic()
    for epoch in range(epochs):
        order, losses = rng.permutation(len(images)), []
        for at in range(steps_per_epoch):
            chosen = order[at * BATCH : (at + 1) * BATCH]
            batch = images[chosen]
            mirrored = rng.random(BATCH) < 0.5  # left and right carry no defect, so a mirrored sample is a new one
            batch[mirrored] = batch[mirrored, :, ::-1]
            count += 1
            rate = PEAK_RATE * min(count / 200, 0.5 * (1 + np.cos(np.pi * count / total)))
            weights, first, second, value = network.step(
                weights, first, second, batch, labels[chosen], np.float32(rate), np.float32(count)
            )
            losses.append(value)
        right = scores_of(network, weights, validation).argmax(1) == labels_of(len(validation))
        print(
            f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}, validation accuracy {right.mean():.4f}, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )
    return jax.tree.map(np.asarray, weights)


def probabilities(scores: np.ndarray, temperature: float) -> np.ndarray:
    scaled = scores.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)


def fit_temperature(scores: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood on the validation split, to three decimals."""
    truth, rows = labels_of(len(scores)), np.arange(len(scores))
    candidates = np.geomspace(0.25, 8.0, 400)
    losses = [-np.log(probabilities(scores, t)[rows, truth] + 1e-300).mean() for t in candidates]
    return round(float(candidates[int(np.argmin(losses))]), 3)


def measure(scores: np.ndarray, temperature: float) -> dict:
    """Accuracy, confusion (rows: truth, columns: answer), recall and calibration error."""
    truth, answer = labels_of(len(scores)), scores.argmax(1)
    confusion = np.zeros((len(phantoms.LABELS),) * 2, int)
    np.add.at(confusion, (truth, answer), 1)
    calibrated = probabilities(scores, temperature)
    sure = calibrated.max(1) >= 0.5
    return {
        "images": len(scores),
        "accuracy": round(float((truth == answer).mean()), 4),
        "recall": dict(zip(phantoms.LABELS, (confusion.diagonal() / confusion.sum(1)).round(4).tolist())),
        "precision": dict(zip(phantoms.LABELS, (confusion.diagonal() / np.maximum(confusion.sum(0), 1)).round(4).tolist())),
        "confusion": confusion.tolist(),
        "expected_calibration_error": round(calibration_error(calibrated, truth), 4),
        "expected_calibration_error_uncalibrated": round(calibration_error(probabilities(scores, 1.0), truth), 4),
        "below_threshold_share": round(float((~sure).mean()), 4),
    }


def calibration_error(calibrated: np.ndarray, truth: np.ndarray) -> float:
    """Expected calibration error of the top answer over 15 equal bins of confidence."""
    confidence, right = calibrated.max(1), calibrated.argmax(1) == truth
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def accuracy_by_family(seed: int, recipe: dict, predict, count: int) -> dict:
    result = {}
    for number, family in enumerate(phantoms.SEEN_FAMILIES):
        parameters = phantoms.replace(phantoms.HELD_OUT, families=(family,))
        images = np.concatenate([phantoms.draw_group((seed, 10 + number, i), parameters, recipe) for i in range(count)])
        result[family] = round(float((predict(images).argmax(1) == labels_of(len(images))).mean()), 4)
    return result


def run_onnx(model_path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["scores"], {"input": image[None]})[0] for image in images])


def check_export(model_path: Path, images: np.ndarray, predict) -> float:
    trained = predict(images)
    difference = float(np.abs(run_onnx(model_path, images) - trained).max())
    if difference > AGREEMENT * max(1.0, float(np.abs(trained).max())):
        sys.exit(f"the exported model differs from the trainer by {difference}")
    return difference


def write_golden(out: Path, model_path: Path, held_out: np.ndarray) -> list[dict]:
    """One case a class, the first held-out phantom each: raw little-endian f32, scores from ONNX Runtime."""
    cases = []
    for label in GOLDEN:
        image = held_out[phantoms.LABELS.index(label)]
        image.astype("<f4").tofile(out / f"golden/{label}.input.f32")
        run_onnx(model_path, image[None]).astype("<f4").tofile(out / f"golden/{label}.scores.f32")
        cases.append(
            {
                "inputs": [{"name": "input", "file": f"golden/{label}.input.f32"}],
                "outputs": [{"name": "scores", "file": f"golden/{label}.scores.f32"}],
                "absolute_tolerance": 1e-4,
                "relative_tolerance": 1e-3,
            }
        )
    return cases


def model_manifest(recipe: dict, temperature: float, golden: list[dict], height: int, width: int) -> dict:
    return {
        "name": NAME,
        "format": "onnx",
        "inputs": [{"name": "input", "dtype": "f32", "shape": [1, 1, height, width]}],
        "outputs": [{"name": "scores", "dtype": "f32", "shape": [1, len(phantoms.LABELS)]}],
        "recipe": recipe,
        "labels": list(phantoms.LABELS),
        "calibration": {"temperature": temperature},
        "threshold": 0.5,
        "licence": "Apache-2.0",
        "golden": golden,
    }


def versions() -> dict:
    import jax
    import onnx
    import onnxruntime

    modules = {"numpy": np, "jax": jax, "onnx": onnx, "onnxruntime": onnxruntime}
    return {"python": platform.python_version()} | {name: module.__version__ for name, module in modules.items()}


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
