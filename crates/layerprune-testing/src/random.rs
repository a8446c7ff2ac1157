//! Random nets of all operator families, for laws that must hold on any graph.

use layerprune::graph::tensor;
use layerprune::onnx::Model;
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
        match self.below(22) {
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
            _ => self.same("Relu", &x, vec![]),
        }
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
