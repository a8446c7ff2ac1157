//! Random nets of all operator families that the engine of the tests runs, for laws that must hold on any graph.

use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::proto::TensorProto;
use layerprune::proto::tensor_proto::DataType;
use layerprune::stats::SplitMix;

use crate::{Builder, int, ints, string};

/// A value on the way: its name, channels, and the size of its maps.
#[derive(Clone)]
struct Maps {
    name: String,
    channels: usize,
    size: usize,
}

struct Net {
    net: Builder,
    random: SplitMix,
    nodes: usize,
}

/// A net of three to nine random steps, and the shape of its input.
pub fn any_net(seed: u64) -> (Model, Vec<usize>) {
    let mut random = SplitMix::new(seed);
    let size = 8;
    let mut builder = Builder::new(seed);
    let input = builder.input("input", &[3, size, size]);
    let mut net = Net { net: builder, random: SplitMix::new(random.next_u64()), nodes: 0 };
    let mut x = net.conv(&Maps { name: input, channels: 3, size }, 8, 3, 1);
    for _ in 0..3 + random.below(7) {
        x = net.step(x);
    }
    let logits = net.head(&x);
    net.net.output(&logits);
    (net.net.build(), vec![2, 3, size, size])
}

/// A net of random steps on signals instead of maps, and the shape of its input.
pub fn any_line(seed: u64) -> (Model, Vec<usize>) {
    let mut random = SplitMix::new(seed);
    let size = 16;
    let mut builder = Builder::new(seed);
    let input = builder.input("input", &[3, size]);
    let mut net = Net { net: builder, random: SplitMix::new(random.next_u64()), nodes: 0 };
    let mut x = net.line_conv(&Maps { name: input, channels: 3, size }, 8, 3, 1);
    for _ in 0..3 + random.below(5) {
        x = net.line_step(x);
    }
    let pooled = net.node("GlobalAveragePool", &[&x.name], vec![]);
    let flat = net.node("Flatten", &[&pooled], vec![]);
    let logits = net.net.gemm("/head", &flat, x.channels, 5);
    net.net.output(&logits);
    (net.net.build(), vec![2, 3, size])
}

impl Net {
    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<layerprune::proto::AttributeProto>) -> String {
        self.nodes += 1;
        let name = format!("/n{}/{op}", self.nodes);
        self.net.node(op, &name, inputs, attributes)
    }

    fn numbers(&mut self, dims: &[usize], deviation: f64) -> String {
        self.nodes += 1;
        let name = format!("n{}.weight", self.nodes);
        self.net.random(&name, dims, deviation)
    }

    fn integers(&mut self, numbers: &[i64]) -> String {
        self.nodes += 1;
        let name = format!("n{}.integers", self.nodes);
        self.net.tensor(&name, tensor::from_i64(&[numbers.len()], numbers))
    }

    fn same(&mut self, op: &str, x: &Maps, attributes: Vec<layerprune::proto::AttributeProto>) -> Maps {
        Maps { name: self.node(op, &[&x.name], attributes), ..x.clone() }
    }

    fn conv(&mut self, x: &Maps, filters: usize, kernel: usize, groups: usize) -> Maps {
        self.nodes += 1;
        let module = format!("/n{}", self.nodes);
        let name = self.net.conv(&module, &x.name, [x.channels, filters], kernel, 1, groups);
        Maps { name, channels: filters, size: x.size }
    }

    fn norm(&mut self, x: &Maps) -> Maps {
        self.nodes += 1;
        let module = format!("/n{}", self.nodes);
        Maps { name: self.net.batch_norm(&module, &x.name, x.channels), ..x.clone() }
    }

    fn join(&mut self, parts: &[&Maps]) -> Maps {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let channels = parts.iter().map(|part| part.channels).sum();
        Maps { name: self.node("Concat", &names, vec![int("axis", 1)]), channels, size: parts[0].size }
    }

    fn step(&mut self, x: Maps) -> Maps {
        match self.below(27) {
            0 | 1 => {
                let filters = 4 * (1 + self.below(3));
                let kernel = [1, 3][self.below(2)];
                self.conv(&x, filters, kernel, 1)
            }
            2 => self.norm(&x),
            3 => {
                let op = ["Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Abs", "Softplus"][self.below(7)];
                self.same(op, &x, vec![])
            }
            4 => {
                let inner = self.conv(&x, 6, 3, 1);
                let inner = self.norm(&inner);
                let inner = self.same("Relu", &inner, vec![]);
                let branch = self.conv(&inner, x.channels, 3, 1);
                Maps { name: self.node("Add", &[&x.name, &branch.name], vec![]), ..x }
            }
            5 => {
                let other = self.conv(&x, 4, 1, 1);
                self.join(&[&x, &other])
            }
            6 => self.join(&[&x, &x]),
            7 if x.channels.is_multiple_of(2) => self.parted(&x),
            8 => self.gated(&x),
            9 if x.channels.is_multiple_of(2) => self.shuffled(&x),
            10 if x.channels.is_multiple_of(4) => {
                let mode = ["DCR", "CRD"][self.below(2)];
                let deep = self.conv(&x, 4 * (1 + x.channels / 4), 1, 1);
                let name = self.node("DepthToSpace", &[&deep.name], vec![int("blocksize", 2), string("mode", mode)]);
                let wide = Maps { name, channels: deep.channels / 4, size: 2 * x.size };
                let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
                Maps { size: x.size, ..self.same("AveragePool", &wide, window) }
            }
            11 if x.channels > 3 => {
                let [start, end] = [1 + self.below(2), x.channels - self.below(2)];
                let bounds = [self.integers(&[start as i64]), self.integers(&[end as i64]), self.integers(&[1])];
                let name = self.node("Slice", &[&x.name, &bounds[0], &bounds[1], &bounds[2]], vec![]);
                Maps { name, channels: end - start, size: x.size }
            }
            12 => {
                let [before, behind] = [self.below(3), 1 + self.below(2)];
                let pads = self.integers(&[0, before as i64, 0, 0, 0, behind as i64, 0, 0]);
                let name = self.node("Pad", &[&x.name, &pads], vec![]);
                Maps { name, channels: x.channels + before + behind, size: x.size }
            }
            13 => self.transposed_conv(&x),
            14 => {
                let [scale, shift] = [self.numbers(&[x.channels], 1.0), self.numbers(&[x.channels], 0.3)];
                Maps { name: self.node("InstanceNormalization", &[&x.name, &scale, &shift], vec![]), ..x }
            }
            15 => {
                let factor = self.numbers(&[1, x.channels, 1, 1], 1.0);
                let name = self.node("Mul", &[&factor, &x.name], vec![]);
                let term = self.numbers(&[x.channels, 1, 1], 1.0);
                Maps { name: self.node("Sub", &[&name, &term], vec![]), ..x }
            }
            16 => self.same("LRN", &x, vec![int("size", 3)]),
            17 => self.in_the_last_axis(&x),
            18 => {
                let window = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])];
                let op = ["MaxPool", "AveragePool"][self.below(2)];
                self.same(op, &x, window)
            }
            19 => {
                let mut order: Vec<i64> = (0..x.channels as i64).rev().collect();
                order.swap(0, x.channels / 2);
                let indices = self.integers(&order);
                Maps { name: self.node("Gather", &[&x.name, &indices], vec![int("axis", 1)]), ..x }
            }
            20 if x.channels.is_multiple_of(2) => {
                let groups = [2, x.channels][self.below(2)];
                let filters = if groups == 2 { 6 } else { x.channels * (1 + self.below(2)) };
                self.conv(&x, filters, 3, groups)
            }
            21 => {
                let slope = self.numbers(&[x.channels, 1, 1], 0.3);
                Maps { name: self.node("PRelu", &[&x.name, &slope], vec![]), ..x }
            }
            22 => self.attended(&x),
            23 => self.dequantized(&x),
            24 => {
                let roi = self.numbers(&[0], 1.0);
                let name = format!("n{}.scales", self.nodes);
                let scales = self.net.tensor(&name, tensor::from_f32(&[4], &[1.0, 1.0, 2.0, 2.0]));
                let attributes =
                    vec![string("mode", "nearest"), string("coordinate_transformation_mode", "asymmetric")];
                let attributes = [attributes, vec![string("nearest_mode", "floor")]].concat();
                let name = self.node("Resize", &[&x.name, &roi, &scales], attributes);
                let wide = Maps { name, channels: x.channels, size: 2 * x.size };
                let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
                Maps { size: x.size, ..self.same("MaxPool", &wide, window) }
            }
            25 => {
                let least = self.numbers(&[], 0.5);
                Maps { name: self.node("Clip", &[&x.name, &least], vec![]), ..x }
            }
            26 => {
                let axes = self.integers(&[2]);
                let wide = self.node("Unsqueeze", &[&x.name, &axes], vec![]);
                let wide = self.node("Relu", &[&wide], vec![]);
                Maps { name: self.node("Squeeze", &[&wide, &axes], vec![]), ..x }
            }
            _ => self.same("Relu", &x, vec![]),
        }
    }

    fn line_step(&mut self, x: Maps) -> Maps {
        match self.below(9) {
            0 => self.line_conv(&x, 6, 3, 1),
            1 => self.norm(&x),
            2 => {
                let inner = self.line_conv(&x, 5, 5, 1);
                let inner = self.same("Relu", &inner, vec![]);
                let branch = self.line_conv(&inner, x.channels, 1, 1);
                Maps { name: self.node("Add", &[&branch.name, &x.name], vec![]), ..x }
            }
            3 => {
                let other = self.line_conv(&x, 4, 1, 1);
                self.join(&[&other, &x])
            }
            4 => {
                let wide = self.line_conv(&x, x.channels, 3, x.channels);
                self.line_conv(&wide, 6, 1, 1)
            }
            5 if x.channels.is_multiple_of(2) => self.line_conv(&x, 4, 3, 2),
            6 => {
                let window = vec![ints("kernel_shape", &[3]), ints("pads", &[1, 1])];
                let op = ["MaxPool", "AveragePool"][self.below(2)];
                self.same(op, &x, window)
            }
            7 => {
                let last = self.node("Transpose", &[&x.name], vec![ints("perm", &[0, 2, 1])]);
                let weight = self.numbers(&[x.channels, 7], 0.5);
                let product = self.node("MatMul", &[&last, &weight], vec![]);
                let name = self.node("Transpose", &[&product], vec![ints("perm", &[0, 2, 1])]);
                Maps { name, channels: 7, size: x.size }
            }
            _ => self.same("Relu", &x, vec![]),
        }
    }

    /// A convolution along the only spatial axis.
    fn line_conv(&mut self, x: &Maps, filters: usize, kernel: usize, groups: usize) -> Maps {
        let weight = self.numbers(&[filters, x.channels / groups, kernel], (2.0 / (x.channels * kernel) as f64).sqrt());
        let pad = (kernel / 2) as i64;
        let attributes = vec![int("group", groups as i64), ints("pads", &[pad, pad])];
        Maps { name: self.node("Conv", &[&x.name, &weight], attributes), channels: filters, size: x.size }
    }

    /// Every pixel attends to all others, by what 1x1 projections make of the channels.
    fn attended(&mut self, x: &Maps) -> Maps {
        let pixels = (x.size * x.size) as i64;
        let rows = self.integers(&[0, x.channels as i64, pixels]);
        let flat = self.node("Reshape", &[&x.name, &rows], vec![]);
        let flat = self.node("Transpose", &[&flat], vec![ints("perm", &[0, 2, 1])]);
        let mut projected = |to: usize| {
            let weight = self.numbers(&[x.channels, to], 0.3);
            self.node("MatMul", &[&flat, &weight], vec![])
        };
        let [query, key, value] = [projected(4), projected(4), projected(6)];
        let key = self.node("Transpose", &[&key], vec![ints("perm", &[0, 2, 1])]);
        let scores = self.node("MatMul", &[&query, &key], vec![]);
        let shares = self.node("Softmax", &[&scores], vec![int("axis", -1)]);
        let mixed = self.node("MatMul", &[&shares, &value], vec![]);
        let mixed = self.node("Transpose", &[&mixed], vec![ints("perm", &[0, 2, 1])]);
        let maps = self.integers(&[0, 6, x.size as i64, x.size as i64]);
        let name = self.node("Reshape", &[&mixed, &maps], vec![]);
        Maps { name, channels: 6, size: x.size }
    }

    /// A convolution whose weight is stored as integers, with a scale for each filter.
    fn dequantized(&mut self, x: &Maps) -> Maps {
        let filters = 6;
        let count = filters * x.channels;
        let stored: Vec<i32> = (0..count).map(|_| self.below(255) as i32 - 127).collect();
        self.nodes += 1;
        let number = self.nodes;
        let tensor = TensorProto {
            dims: vec![filters as i64, x.channels as i64, 1, 1],
            data_type: Some(DataType::Int8 as i32),
            int32_data: stored,
            ..Default::default()
        };
        let weight = self.net.tensor(&format!("n{number}.int8"), tensor);
        let scales: Vec<f32> = (0..filters).map(|filter| 0.002 * (1 + filter) as f32).collect();
        let scales = self.net.tensor(&format!("n{number}.scales"), tensor::from_f32(&[filters], &scales));
        let zeros = TensorProto {
            dims: vec![filters as i64],
            data_type: Some(DataType::Int8 as i32),
            int32_data: vec![0; filters],
            ..Default::default()
        };
        let zeros = self.net.tensor(&format!("n{number}.zeros"), zeros);
        let weight = self.node("DequantizeLinear", &[&weight, &scales, &zeros], vec![int("axis", 0)]);
        Maps { name: self.node("Conv", &[&x.name, &weight], vec![]), channels: filters, size: x.size }
    }

    /// Two halves, one of which is worked on.
    fn parted(&mut self, x: &Maps) -> Maps {
        let half = x.channels / 2;
        let [ends, axis] = [self.integers(&[half as i64]), self.integers(&[1])];
        let zero = self.integers(&[0]);
        let whole = self.integers(&[i64::MAX]);
        let first = self.node("Slice", &[&x.name, &zero, &ends, &axis], vec![]);
        let second = self.node("Slice", &[&x.name, &ends, &whole, &axis], vec![]);
        let first = Maps { name: first, channels: half, size: x.size };
        let second = Maps { name: second, channels: half, size: x.size };
        let worked = self.conv(&second, half, 3, 1);
        self.join(&[&worked, &first])
    }

    /// Squeeze-and-excitation.
    fn gated(&mut self, x: &Maps) -> Maps {
        let pooled = if self.below(2) == 0 {
            self.node("GlobalAveragePool", &[&x.name], vec![])
        } else {
            self.node("ReduceMean", &[&x.name], vec![ints("axes", &[2, 3]), int("keepdims", 1)])
        };
        let pooled = Maps { name: pooled, channels: x.channels, size: 1 };
        let squeezed = self.conv(&pooled, 4, 1, 1);
        let squeezed = self.same("Relu", &squeezed, vec![]);
        let gate = self.conv(&squeezed, x.channels, 1, 1);
        let gate = self.same("Sigmoid", &gate, vec![]);
        Maps { name: self.node("Mul", &[&x.name, &gate.name], vec![]), ..x.clone() }
    }

    /// Two groups of channels in each other's place; sizes are constants, or computed from the shape.
    fn shuffled(&mut self, x: &Maps) -> Maps {
        let (half, size) = (x.channels / 2, x.size as i64);
        let (apart, whole) = if self.below(2) == 0 {
            (self.integers(&[-1, 2, half as i64, size, size]), self.integers(&[-1, x.channels as i64, size, size]))
        } else {
            let shape = self.node("Shape", &[&x.name], vec![]);
            let zero = self.integers(&[0]);
            let batch = self.node("Gather", &[&shape, &zero], vec![int("axis", 0)]);
            let inner = self.integers(&[2, half as i64, size, size]);
            let apart = self.node("Concat", &[&batch, &inner], vec![int("axis", 0)]);
            (apart, shape)
        };
        let split = self.node("Reshape", &[&x.name, &apart], vec![]);
        let turned = self.node("Transpose", &[&split], vec![ints("perm", &[0, 2, 1, 3, 4])]);
        Maps { name: self.node("Reshape", &[&turned, &whole], vec![]), ..x.clone() }
    }

    fn transposed_conv(&mut self, x: &Maps) -> Maps {
        let groups = [1, x.channels][self.below(2)];
        let weight = self.numbers(&[x.channels, if groups == 1 { 5 } else { 1 }, 1, 1], 0.5);
        let attributes = vec![ints("kernel_shape", &[1, 1]), int("group", groups as i64)];
        let name = self.node("ConvTranspose", &[&x.name, &weight], attributes);
        Maps { name, channels: if groups == 1 { 5 } else { x.channels }, size: x.size }
    }

    /// A matrix product over the channels as the last axis.
    fn in_the_last_axis(&mut self, x: &Maps) -> Maps {
        let last = self.node("Transpose", &[&x.name], vec![ints("perm", &[0, 2, 3, 1])]);
        let weight = self.numbers(&[x.channels, 7], 0.5);
        let product = self.node("MatMul", &[&last, &weight], vec![]);
        let bias = self.numbers(&[7], 0.5);
        let shifted = self.node("Add", &[&bias, &product], vec![]);
        let name = self.node("Transpose", &[&shifted], vec![ints("perm", &[0, 3, 1, 2])]);
        Maps { name, channels: 7, size: x.size }
    }

    fn head(&mut self, x: &Maps) -> String {
        let (flat, inputs) = match self.below(3) {
            0 => {
                let pooled = self.node("GlobalAveragePool", &[&x.name], vec![]);
                (self.node("Flatten", &[&pooled], vec![]), x.channels)
            }
            1 => (self.node("Flatten", &[&x.name], vec![]), x.channels * x.size * x.size),
            _ => {
                let pooled = self.node("GlobalMaxPool", &[&x.name], vec![]);
                let shape = self.integers(&[0, -1]);
                (self.node("Reshape", &[&pooled, &shape], vec![]), x.channels)
            }
        };
        self.nodes += 1;
        let module = format!("/n{}", self.nodes);
        self.net.gemm(&module, &flat, inputs, 5)
    }
}
