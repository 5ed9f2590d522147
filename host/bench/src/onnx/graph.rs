//! A builder for small ONNX graphs with random weights.

use super::wire::Message;

/// Version of the intermediate representation, and of the operators: what tract and ONNX Runtime both read well.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 13;
const FLOAT: i64 = 1;
const INTS: i64 = 7;
const INT: i64 = 2;

/// A tensor that flows through the graph: its name and its channels.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    name: String,
    pub(crate) channels: usize,
}

/// The shape of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Convolution {
    pub(crate) channels: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
    /// Weights are drawn with this factor on the scale that keeps the variance (He et al. 2015).
    pub(crate) gain: f32,
}

impl Convolution {
    pub(crate) const fn new(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { channels, kernel, stride, groups: 1, gain: 1.0 }
    }
}

/// The graph that is being built.
pub(crate) struct Graph {
    nodes: Vec<Message>,
    initialisers: Vec<Message>,
    /// Dimensions of the input.
    input: Vec<usize>,
    names: usize,
    random: Random,
}

impl Graph {
    /// A graph with one input named `input`.
    pub(crate) fn new(shape: &[usize]) -> (Self, Tensor) {
        let graph = Self {
            nodes: Vec::new(),
            initialisers: Vec::new(),
            input: shape.to_vec(),
            names: 0,
            random: Random(0x9E37_79B9_7F4A_7C15),
        };
        let channels = shape.get(1).copied().unwrap_or(1);
        (graph, Tensor { name: "input".to_owned(), channels })
    }

    /// A convolution with a bias and padding that keeps the size.
    pub(crate) fn convolution(&mut self, from: &Tensor, shape: Convolution) -> Tensor {
        let Convolution { channels, kernel, stride, groups, gain } = shape;
        let inputs = from.channels / groups;
        let fan_in = inputs * kernel * kernel;
        let scale = gain * (2.0 / narrow(fan_in)).sqrt();
        let weights = self.weights(&[channels, inputs, kernel, kernel], scale);
        let bias = self.weights(&[channels], 0.01);
        let pad = kernel / 2;
        let attributes = [
            integers("kernel_shape", &[kernel, kernel]),
            integers("strides", &[stride, stride]),
            integers("pads", &[pad, pad, pad, pad]),
            integer("group", groups),
        ];
        let name = self.node("Conv", &[&from.name, &weights, &bias], &attributes);
        Tensor { name, channels }
    }

    pub(crate) fn relu(&mut self, from: &Tensor) -> Tensor {
        Tensor { name: self.node("Relu", &[&from.name], &[]), ..from.clone() }
    }

    /// The activation of the MobileNets: cut to 0 and 6.
    pub(crate) fn relu6(&mut self, from: &Tensor) -> Tensor {
        let (low, high) = (self.constant(&[], &[0.0]), self.constant(&[], &[6.0]));
        Tensor { name: self.node("Clip", &[&from.name, &low, &high], &[]), ..from.clone() }
    }

    /// Batch normalisation at inference, with statistics near those of a trained network.
    pub(crate) fn batch_norm(&mut self, from: &Tensor) -> Tensor {
        let (mean, variance) = (vec![0.0; from.channels], vec![1.0; from.channels]);
        let scale =
            self.constant(&[from.channels], &variance.iter().map(|one: &f32| one * 0.9).collect::<Vec<_>>());
        let shift = self.constant(&[from.channels], &mean);
        let mean = self.constant(&[from.channels], &mean);
        let variance = self.constant(&[from.channels], &variance);
        let name = self.node("BatchNormalization", &[&from.name, &scale, &shift, &mean, &variance], &[]);
        Tensor { name, ..from.clone() }
    }

    pub(crate) fn add(&mut self, left: &Tensor, right: &Tensor) -> Tensor {
        Tensor { name: self.node("Add", &[&left.name, &right.name], &[]), ..left.clone() }
    }

    /// Joins along the channels.
    pub(crate) fn concatenate(&mut self, parts: &[&Tensor]) -> Tensor {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let name = self.node("Concat", &names, &[integer("axis", 1)]);
        Tensor { name, channels: parts.iter().map(|part| part.channels).sum() }
    }

    pub(crate) fn max_pool(&mut self, from: &Tensor) -> Tensor {
        let window =
            [integers("kernel_shape", &[3, 3]), integers("strides", &[2, 2]), integers("pads", &[1; 4])];
        Tensor { name: self.node("MaxPool", &[&from.name], &window), ..from.clone() }
    }

    pub(crate) fn average_pool(&mut self, from: &Tensor) -> Tensor {
        let window = [integers("kernel_shape", &[2, 2]), integers("strides", &[2, 2])];
        Tensor { name: self.node("AveragePool", &[&from.name], &window), ..from.clone() }
    }

    /// The mean over each channel, and a dense layer behind it.
    pub(crate) fn classifier(&mut self, from: &Tensor, classes: usize) -> Tensor {
        let pooled = self.node("GlobalAveragePool", &[&from.name], &[]);
        let flat = self.node("Flatten", &[&pooled], &[]);
        let weights = self.weights(&[classes, from.channels], (1.0 / narrow(from.channels)).sqrt());
        let bias = self.weights(&[classes], 0.01);
        let name = self.node("Gemm", &[&flat, &weights, &bias], &[integer("transB", 1)]);
        Tensor { name, channels: classes }
    }

    /// The mean over rows and columns.
    pub(crate) fn mean(&mut self, from: &Tensor) -> Tensor {
        let attributes = [integers("axes", &[2, 3]), integer("keepdims", 0)];
        Tensor { name: self.node("ReduceMean", &[&from.name], &attributes), ..from.clone() }
    }

    /// The model file. The output is named `output` and has the shape 1×channels.
    pub(crate) fn finish(mut self, output: &Tensor) -> Vec<u8> {
        let last =
            Message::default().bytes(1, output.name.as_bytes()).bytes(2, b"output").bytes(4, b"Identity");
        self.nodes.push(last);
        let mut graph = Message::default();
        for node in &self.nodes {
            graph = graph.message(1, node);
        }
        graph = graph.bytes(2, b"bench");
        for initialiser in &self.initialisers {
            graph = graph.message(5, initialiser);
        }
        graph = graph
            .message(11, &value("input", &self.input))
            .message(12, &value("output", &[1, output.channels]));
        let opset = Message::default().bytes(1, b"").number(2, OPSET);
        Message::default().number(1, IR_VERSION).message(8, &opset).message(7, &graph).into_bytes()
    }

    fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[Message]) -> String {
        let output = self.name();
        let mut node = Message::default();
        for input in inputs {
            node = node.bytes(1, input.as_bytes());
        }
        node = node.bytes(2, output.as_bytes()).bytes(3, output.as_bytes()).bytes(4, operator.as_bytes());
        for attribute in attributes {
            node = node.message(5, attribute);
        }
        self.nodes.push(node);
        output
    }

    fn weights(&mut self, shape: &[usize], scale: f32) -> String {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.random.normal() * scale).collect();
        self.constant(shape, &values)
    }

    fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        let name = self.name();
        let mut tensor = Message::default();
        for &dimension in shape {
            tensor = tensor.number(1, wide(dimension));
        }
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initialisers.push(tensor.number(2, FLOAT).bytes(8, name.as_bytes()).bytes(9, &raw));
        name
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }
}

fn integer(name: &str, value: usize) -> Message {
    Message::default().bytes(1, name.as_bytes()).number(3, wide(value)).number(20, INT)
}

fn integers(name: &str, values: &[usize]) -> Message {
    let attribute = Message::default().bytes(1, name.as_bytes());
    values.iter().fold(attribute, |attribute, &value| attribute.number(8, wide(value))).number(20, INTS)
}

/// Name, type and shape of an input or output.
fn value(name: &str, shape: &[usize]) -> Message {
    let dimensions = shape.iter().fold(Message::default(), |dimensions, &size| {
        dimensions.message(1, &Message::default().number(1, wide(size)))
    });
    let tensor = Message::default().number(1, FLOAT).message(2, &dimensions);
    Message::default().bytes(1, name.as_bytes()).message(2, &Message::default().message(1, &tensor))
}

fn wide(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "layer sizes are small")]
const fn narrow(value: usize) -> f32 {
    value as f32
}

/// The same weights at each run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    /// About normal: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.uniform()).sum();
        (sum - 2.0) * 3.0_f32.sqrt()
    }

    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        narrow(usize::try_from(self.0 >> 40).unwrap_or_default()) / 16_777_216.0
    }
}
