//! Models of the bench: the shapes of published networks, with random weights.
//!
//! Speed depends on shapes alone, so nothing is trained and nothing is fetched. Batch normalisation is folded into the
//! convolution before it, as exporters do, where the network allows it.

mod graph;
mod wire;

use graph::{Convolution, Graph, Tensor};

/// Classes of ImageNet.
const CLASSES: usize = 1000;

/// A model to measure with.
#[derive(Debug, Clone)]
pub(crate) struct BenchModel {
    /// Its name, which is also the name in the bundle.
    pub(crate) name: &'static str,
    /// Dimensions of its input `input`; the output is named `output`.
    pub(crate) shape: [u32; 4],
    /// Columns of its output, which has one row.
    pub(crate) outputs: u32,
    /// The ONNX file.
    pub(crate) bytes: Vec<u8>,
}

/// MobileNetV2 (Sandler et al. 2018, table 2).
pub(crate) fn mobilenet_v2() -> BenchModel {
    let (mut g, input) = Graph::new(&[1, 3, 224, 224]);
    let first = g.convolution(&input, Convolution::new(32, 3, 2));
    let mut x = g.relu6(&first);
    // Expansion, channels, repeats, stride.
    for (expansion, channels, repeats, stride) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for repeat in 0..repeats {
            x = inverted_residual(&mut g, &x, expansion, channels, if repeat == 0 { stride } else { 1 });
        }
    }
    let last = g.convolution(&x, Convolution::new(1280, 1, 1));
    let last = g.relu6(&last);
    classifier("mobilenet-v2", g, &last)
}

fn inverted_residual(
    g: &mut Graph,
    from: &Tensor,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> Tensor {
    let hidden = from.channels * expansion;
    let mut x = from.clone();
    if expansion > 1 {
        let wide = g.convolution(&x, Convolution::new(hidden, 1, 1));
        x = g.relu6(&wide);
    }
    let deep = g.convolution(&x, Convolution { groups: hidden, ..Convolution::new(hidden, 3, stride) });
    let deep = g.relu6(&deep);
    let narrow = g.convolution(&deep, Convolution { gain: 0.5, ..Convolution::new(channels, 1, 1) });
    if stride == 1 && from.channels == channels { g.add(from, &narrow) } else { narrow }
}

/// ResNet-50 (He et al. 2015), with the stride in the 3×3 convolution.
pub(crate) fn resnet_50() -> BenchModel {
    let (mut g, input) = Graph::new(&[1, 3, 224, 224]);
    let mut x = stem(&mut g, &input);
    for (channels, repeats, stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for repeat in 0..repeats {
            x = bottleneck(&mut g, &x, channels, if repeat == 0 { stride } else { 1 }, repeat == 0);
        }
    }
    classifier("resnet-50", g, &x)
}

fn stem(g: &mut Graph, input: &Tensor) -> Tensor {
    let first = g.convolution(input, Convolution::new(64, 7, 2));
    let first = g.relu(&first);
    g.max_pool(&first)
}

fn bottleneck(g: &mut Graph, from: &Tensor, channels: usize, stride: usize, project: bool) -> Tensor {
    let x = g.convolution(from, Convolution::new(channels, 1, 1));
    let x = g.relu(&x);
    let x = g.convolution(&x, Convolution::new(channels, 3, stride));
    let x = g.relu(&x);
    // A small gain keeps sixteen sums of random branches from growing beyond what a trained network shows.
    let x = g.convolution(&x, Convolution { gain: 0.3, ..Convolution::new(channels * 4, 1, 1) });
    let shortcut = if project {
        g.convolution(from, Convolution { gain: 0.7, ..Convolution::new(channels * 4, 1, stride) })
    } else {
        from.clone()
    };
    let sum = g.add(&x, &shortcut);
    g.relu(&sum)
}

/// DenseNet-121 (Huang et al. 2017, table 1), growth 32. Its batch normalisation stands before the activation and
/// cannot be folded away.
pub(crate) fn densenet_121() -> BenchModel {
    let (mut g, input) = Graph::new(&[1, 3, 224, 224]);
    let mut x = stem(&mut g, &input);
    let blocks = [6, 12, 24, 16];
    for (block, layers) in blocks.into_iter().enumerate() {
        for _ in 0..layers {
            let narrow = normalised_convolution(&mut g, &x, Convolution::new(128, 1, 1));
            let grown = normalised_convolution(&mut g, &narrow, Convolution::new(32, 3, 1));
            x = g.concatenate(&[&x, &grown]);
        }
        if block + 1 < blocks.len() {
            let halved = Convolution::new(x.channels / 2, 1, 1);
            let narrow = normalised_convolution(&mut g, &x, halved);
            x = g.average_pool(&narrow);
        }
    }
    let last = g.batch_norm(&x);
    let last = g.relu(&last);
    classifier("densenet-121", g, &last)
}

fn normalised_convolution(g: &mut Graph, from: &Tensor, shape: Convolution) -> Tensor {
    let x = g.batch_norm(from);
    let x = g.relu(&x);
    g.convolution(&x, shape)
}

fn classifier(name: &'static str, mut g: Graph, last: &Tensor) -> BenchModel {
    let output = g.classifier(last, CLASSES);
    BenchModel { name, shape: [1, 3, 224, 224], outputs: 1000, bytes: g.finish(&output) }
}

/// The mean of a 2048×2048 image: next to no work for 16 MiB of input.
pub(crate) fn mean_of_large_image() -> BenchModel {
    let (mut g, input) = Graph::new(&[1, 1, 2048, 2048]);
    let output = g.mean(&input);
    BenchModel { name: "mean-2048", shape: [1, 1, 2048, 2048], outputs: 1, bytes: g.finish(&output) }
}

impl BenchModel {
    /// An input with values in −1 to 1 that are not all alike.
    pub(crate) fn input(&self) -> Vec<f32> {
        let count = self.shape.iter().product::<u32>();
        (0..count).map(|index| narrow(index.wrapping_mul(2_654_435_761) >> 16) / 32_768.0 - 1.0).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 65,535")]
const fn narrow(value: u32) -> f32 {
    value as f32
}
