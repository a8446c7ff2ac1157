//! Builds ONNX models node by node, with weights from a seed.

use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::tensor_proto::DataType;
use layerprune::proto::tensor_shape_proto::{Dimension, dimension};
use layerprune::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use layerprune::stats::SplitMix;

/// A model under construction. Values are named by strings; every method that adds a node returns its output's name.
pub struct Builder {
    graph: GraphProto,
    random: SplitMix,
    opset: i64,
}

impl Builder {
    /// An empty graph of opset 13; `seed` decides all weights.
    pub fn new(seed: u64) -> Self {
        let graph = GraphProto { name: Some("test".to_owned()), ..Default::default() };
        Self { graph, random: SplitMix::new(seed), opset: 13 }
    }

    /// Another operator set.
    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// A float input N,C,H,W (or any other shape) whose first axis is the symbol `N`.
    pub fn input(&mut self, name: &str, sizes: &[usize]) -> String {
        let mut shape = vec![dimension::Value::DimParam("N".to_owned())];
        shape.extend(sizes.iter().map(|&size| dimension::Value::DimValue(size as i64)));
        self.graph.input.push(float_info(name, Some(shape)));
        name.to_owned()
    }

    /// Declares the initializer `name` a graph input as well, so that a caller may replace it.
    pub fn default_input(&mut self, name: &str, sizes: &[usize]) {
        let shape = sizes.iter().map(|&size| dimension::Value::DimValue(size as i64)).collect();
        self.graph.input.push(float_info(name, Some(shape)));
    }

    /// Declares the shape of `value` inside the graph; the first axis is the symbol `N`.
    pub fn declare(&mut self, value: &str, sizes: &[usize]) {
        let mut shape = vec![dimension::Value::DimParam("N".to_owned())];
        shape.extend(sizes.iter().map(|&size| dimension::Value::DimValue(size as i64)));
        self.graph.value_info.push(float_info(value, Some(shape)));
    }

    /// Declares `value` a graph output.
    pub fn output(&mut self, value: &str) {
        self.graph.output.push(float_info(value, None));
    }

    /// An initializer of normal random numbers of this standard deviation.
    pub fn random(&mut self, name: &str, dims: &[usize], deviation: f64) -> String {
        let data: Vec<f32> = (0..dims.iter().product()).map(|_| (self.random.normal() * deviation) as f32).collect();
        self.tensor(name, tensor::from_f32(dims, &data))
    }

    /// An initializer.
    pub fn tensor(&mut self, name: &str, mut tensor: TensorProto) -> String {
        tensor.name = Some(name.to_owned());
        self.graph.initializer.push(tensor);
        name.to_owned()
    }

    /// A node called `name` with one output.
    pub fn node(&mut self, op_type: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{name}_output_0");
        self.graph.node.push(NodeProto {
            name: Some(name.to_owned()),
            op_type: Some(op_type.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            attribute: attributes,
            ..Default::default()
        });
        output
    }

    /// A square convolution without bias under module path `module`, padded to keep the size at stride 1.
    pub fn conv(
        &mut self,
        module: &str,
        x: &str,
        [channels, filters]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> String {
        let fan_in = channels / groups * kernel * kernel;
        let dims = [filters, channels / groups, kernel, kernel];
        let weight = self.random(&format!("{}.weight", dotted(module)), &dims, (2.0 / fan_in as f64).sqrt());
        let pad = (kernel / 2) as i64;
        self.node(
            "Conv",
            &format!("{module}/Conv"),
            &[x, &weight],
            vec![
                ints("kernel_shape", &[kernel as i64; 2]),
                ints("pads", &[pad; 4]),
                ints("strides", &[stride as i64; 2]),
                int("group", groups as i64),
            ],
        )
    }

    /// A batch norm with scale near 1, shift and mean near 0 and variance near 1.
    pub fn batch_norm(&mut self, module: &str, x: &str, channels: usize) -> String {
        let path = dotted(module);
        let mut around = |name: &str, center: f64, spread: f64| {
            let data: Vec<f32> =
                (0..channels).map(|_| (center + spread * (2.0 * self.random.uniform() - 1.0)) as f32).collect();
            self.tensor(&format!("{path}.{name}"), tensor::from_f32(&[channels], &data))
        };
        let parts = [
            around("weight", 1.0, 0.3),
            around("bias", 0.0, 0.2),
            around("running_mean", 0.0, 0.2),
            around("running_var", 1.0, 0.3),
        ];
        let [scale, shift, mean, variance] = &parts;
        self.node(
            "BatchNormalization",
            &format!("{module}/BatchNormalization"),
            &[x, scale, shift, mean, variance],
            vec![],
        )
    }

    /// A fully connected layer.
    pub fn gemm(&mut self, module: &str, x: &str, inputs: usize, outputs: usize) -> String {
        let path = dotted(module);
        let weight = self.random(&format!("{path}.weight"), &[outputs, inputs], (1.0 / inputs as f64).sqrt());
        let bias = self.random(&format!("{path}.bias"), &[outputs], 0.1);
        self.node("Gemm", &format!("{module}/Gemm"), &[x, &weight, &bias], vec![int("transB", 1)])
    }

    /// The finished model.
    ///
    /// # Panics
    /// When the graph is not valid: a fault of the test.
    pub fn build(self) -> Model {
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) };
        Model::from_proto(ModelProto {
            ir_version: Some(8),
            producer_name: Some("layerprune".to_owned()),
            opset_import: vec![opset],
            graph: Some(self.graph),
            ..Default::default()
        })
        .expect("the test builds a valid graph")
    }
}

/// `/layer1/layer1.0/conv1` as `layer1.0.conv1`.
fn dotted(module: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in module.split('/').filter(|part| !part.is_empty()) {
        if parts.last().is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.'))) {
            parts.pop();
        }
        parts.push(part);
    }
    parts.join(".")
}

fn float_info(name: &str, shape: Option<Vec<dimension::Value>>) -> ValueInfoProto {
    let dims = |shape: Vec<dimension::Value>| TensorShapeProto {
        dim: shape.into_iter().map(|value| Dimension { denotation: None, value: Some(value) }).collect(),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            denotation: None,
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(DataType::Float as i32),
                shape: shape.map(dims),
            })),
        }),
        ..Default::default()
    }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..Default::default()
    }
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// A text attribute.
pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}
