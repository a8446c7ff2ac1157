//! Broken and hostile files: an error that names the place, never a panic.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use layerprune::analysis::Units;
use layerprune::criteria::{CRITERIA, Scoring};
use layerprune::evidence::Evidence;
use layerprune::graph::tensor;
use layerprune::onnx::{Model, OnnxError};
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::tensor_proto::DataLocation;
use layerprune::proto::tensor_shape_proto::{Dimension, dimension};
use layerprune::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use layerprune::stats::SplitMix;
use layerprune_testing::{mobilenet_v2, resnet, vgg};
use prost::Message;

fn initializer(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(raw.into()),
        ..Default::default()
    }
}

fn integers(name: &str, data: &[i64]) -> TensorProto {
    TensorProto { name: Some(name.to_owned()), ..tensor::from_i64(&[data.len()], data) }
}

fn node(name: &str, op_type: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        name: Some(name.to_owned()),
        op_type: Some(op_type.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        attribute,
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    let kind = Some(AttributeType::Int as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, i: Some(value), ..Default::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let kind = Some(AttributeType::Ints as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, ints: values.to_vec(), ..Default::default() }
}

fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    let kind = Some(AttributeType::Graph as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, g: Some(graph.into()), ..Default::default() }
}

fn port(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension { denotation: None, value: Some(dimension::Value::DimValue(size)) };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let kind = type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape: Some(shape) });
    let kind = TypeProto { denotation: None, value: Some(kind) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..Default::default() }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: None, version: Some(15) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

/// `x` → Relu `a` → `y`.
fn small() -> GraphProto {
    GraphProto {
        input: vec![port("x", &[1, 2])],
        node: vec![node("a", "Relu", &["x"], &["y"], vec![])],
        output: vec![port("y", &[1, 2])],
        ..Default::default()
    }
}

/// The messages of an error and its causes.
fn chain(error: &OnnxError) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        messages.push(error.to_string());
        next = error.source();
    }
    messages
}

/// Everything that a file goes through before an engine sees it; whether it was a model.
fn go_through(bytes: &[u8]) -> bool {
    let Ok(model) = Model::from_bytes(bytes) else { return false };
    let written = model.to_bytes();
    assert!(Model::from_bytes(&written).unwrap().to_bytes() == written, "it reads back as something else");
    if let Ok(units) = Units::find(&model, &Default::default()) {
        for scoring in CRITERIA.iter().map(|&criterion| Scoring::from(criterion)) {
            if let Ok(scores) = scoring.score(&model.graph, &units, &Evidence::default()) {
                assert!(scores.rows.iter().all(|row| row.score.is_finite()));
            }
        }
        assert_eq!(units.rows(&model.graph).units.len(), units.units.len());
    }
    true
}

#[test]
fn a_model_cut_short_anywhere_is_an_error_or_a_smaller_model() {
    let bytes = resnet(0, [1, 4, 4], 1, &[1, 2], 1, 2).to_bytes();
    let whole = (0..bytes.len()).filter(|&length| go_through(&bytes[..length])).count();
    assert!(whole < 10, "{whole} beginnings were taken for models");
    assert!(go_through(&bytes));
}

#[test]
fn a_flipped_bit_gives_an_error_or_a_model() {
    for (seed, model) in [vgg(0, 4, &[1, 0, 1], 2), mobilenet_v2(0, 4, &[(8, 1)])].into_iter().enumerate() {
        let bytes = model.to_bytes();
        let mut random = SplitMix::new(seed as u64);
        let mut models = 0;
        for _ in 0..1500 {
            let mut flipped = bytes.clone();
            flipped[random.below(bytes.len())] ^= 1 << random.below(8);
            models += usize::from(go_through(&flipped));
        }
        // Most of a model is names and weights, in which any bit may be.
        assert!((100..1500).contains(&models), "{models} of 1500 were models");
    }
}

/// One node of each operator that computes with sizes, each with an output of its own.
fn zoo() -> GraphProto {
    let mut graph = GraphProto { input: vec![port("x", &[1, 4, 6, 6])], ..Default::default() };
    let window = || vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])];
    let mut wide = window();
    wide.extend([ints("dilations", &[1, 1]), int("group", 2)]);
    let mut transposed = wide.clone();
    transposed.extend([ints("output_padding", &[1, 1])]);
    let mut ceiling = window();
    ceiling.push(int("ceil_mode", 1));
    graph.initializer = vec![
        initializer("w", &[4, 2, 3, 3], &[0.5; 72]),
        initializer("square", &[6, 6], &[0.5; 36]),
        initializer("scales", &[4], &[1.0, 1.0, 2.0, 2.0]),
        integers("shape", &[1, 0, -1]),
        integers("wide", &[1, 4, 6, 6]),
        integers("sizes", &[1, 4, 3, 3]),
        integers("pads", &[0, 0, 1, 1, 0, 0, 1, 1]),
        integers("from", &[1, 0]),
        integers("to", &[-1, 5]),
        integers("axes", &[1, 2]),
        integers("steps", &[1, 2]),
        integers("parts", &[1, 3]),
        integers("repeats", &[1, 2, 1, 1]),
        integers("axis", &[0]),
        integers("place", &[3]),
    ];
    let cases: Vec<(&str, Vec<&str>, Vec<AttributeProto>)> = vec![
        ("Conv", vec!["x", "w"], wide),
        ("ConvTranspose", vec!["x", "w"], transposed),
        ("MaxPool", vec!["x"], ceiling),
        ("AveragePool", vec!["x"], window()),
        ("LpPool", vec!["x"], window()),
        ("MatMul", vec!["x", "square"], vec![]),
        ("Gemm", vec!["square", "square"], vec![int("transA", 1), int("transB", 0)]),
        ("Reshape", vec!["x", "shape"], vec![int("allowzero", 0)]),
        ("Expand", vec!["x", "wide"], vec![]),
        ("Flatten", vec!["x"], vec![int("axis", 2)]),
        ("Transpose", vec!["x"], vec![ints("perm", &[0, 2, 3, 1])]),
        ("Concat", vec!["x", "x"], vec![int("axis", 1)]),
        ("Split", vec!["x", "parts"], vec![int("axis", 1)]),
        ("Slice", vec!["x", "from", "to", "axes", "steps"], vec![]),
        ("Pad", vec!["x", "pads"], vec![]),
        ("Resize", vec!["x", "", "scales"], vec![]),
        ("Resize", vec!["x", "", "", "sizes"], vec![]),
        ("Squeeze", vec!["x", "axis"], vec![]),
        ("Unsqueeze", vec!["x", "axis"], vec![]),
        ("ReduceMean", vec!["x"], vec![ints("axes", &[2, 3]), int("keepdims", 0)]),
        ("ArgMax", vec!["x"], vec![int("axis", 1), int("keepdims", 1)]),
        ("Tile", vec!["x", "repeats"], vec![]),
        ("Gather", vec!["x", "place"], vec![int("axis", 1)]),
        ("ConstantOfShape", vec!["wide"], vec![]),
        ("DepthToSpace", vec!["x"], vec![int("blocksize", 2)]),
        ("SpaceToDepth", vec!["x"], vec![int("blocksize", 2)]),
        ("Shape", vec!["x"], vec![int("start", 0), int("end", 2)]),
        ("Softmax", vec!["x"], vec![int("axis", 1)]),
        ("LRN", vec!["x"], vec![int("size", 3)]),
        ("Add", vec!["x", "square"], vec![]),
    ];
    for (number, (op_type, inputs, attributes)) in cases.into_iter().enumerate() {
        let (output, other) = (format!("y{number}"), format!("o{number}"));
        let outputs = if op_type == "Split" { vec![&output[..], &other] } else { vec![&output[..]] };
        graph.node.push(node(&format!("n{number}"), op_type, &inputs, &outputs, attributes));
        // What follows reads the size that came out.
        let (shape, again) = (format!("s{number}"), format!("z{number}"));
        graph.node.push(node(&shape, "Shape", &[&output], &[&shape], vec![]));
        graph.node.push(node(&again, "Reshape", &[&output, &shape], &[&again], vec![]));
        graph.output.push(ValueInfoProto { name: Some(again), ..Default::default() });
    }
    graph
}

/// Calls `change` on every integer of the graph that is a size, an axis or a number of something, one after another.
fn each_number(graph: &GraphProto, mut change: impl FnMut(GraphProto, &str, &mut dyn FnMut(&mut GraphProto, i64))) {
    for (number, made) in graph.node.iter().enumerate() {
        for (place, attribute) in made.attribute.iter().enumerate() {
            let what = format!("{} of {}", attribute.name(), made.op_type());
            if attribute.i.is_some() {
                change(graph.clone(), &what, &mut |graph, x| graph.node[number].attribute[place].i = Some(x));
            }
            for at in 0..attribute.ints.len() {
                change(graph.clone(), &what, &mut |graph, x| graph.node[number].attribute[place].ints[at] = x);
            }
        }
    }
    for (number, stored) in graph.initializer.iter().enumerate().filter(|(_, stored)| stored.data_type() == 7) {
        let values = tensor::to_i64(stored).unwrap();
        for at in 0..values.len() {
            change(graph.clone(), stored.name(), &mut |graph, x| {
                let mut values = values.clone();
                values[at] = x;
                graph.initializer[number] = integers(stored.name(), &values);
            });
        }
    }
    for at in 0..4 {
        change(graph.clone(), "the input", &mut |graph, x| {
            let mut dims = [1, 4, 6, 6];
            dims[at] = x;
            graph.input[0] = port("x", &dims);
        });
    }
}

#[test]
fn extreme_numbers_in_attributes_shapes_and_inputs_never_panic() {
    let graph = zoo();
    let units =
        |graph: GraphProto| Model::from_proto(model(graph)).map(|model| Units::find(&model, &Default::default()));
    let barriers = units(graph.clone()).unwrap().unwrap().shapes.barriers().clone();
    assert!(barriers.is_empty(), "{barriers:?}");
    let mut panicked = BTreeSet::new();
    each_number(&graph, |mut graph, what, set| {
        for extreme in [i64::MAX, i64::MIN, i64::MAX / 2, 1 << 40, -1, 0, u32::MAX.into()] {
            set(&mut graph, extreme);
            let graph = graph.clone();
            if std::panic::catch_unwind(|| units(graph).is_ok()).is_err() {
                panicked.insert(format!("{what} = {extreme}"));
            }
        }
    });
    assert_eq!(panicked, BTreeSet::new());
}

/// The chain of messages when `graph` is read from memory.
fn fault(graph: GraphProto) -> Vec<String> {
    chain(&Model::from_bytes(&model(graph).encode_to_vec()).unwrap_err())
}

fn with_nodes(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto { node: nodes, ..small() }
}

fn with_tensor(tensor: TensorProto) -> GraphProto {
    GraphProto { initializer: vec![tensor], ..small() }
}

const INCONSISTENT: &str = "the graph is inconsistent";

#[test]
fn a_graph_that_contradicts_itself_is_refused_by_name() {
    let relu = |name: &str, from: &str, to: &str| node(name, "Relu", &[from], &[to], vec![]);
    let cases: [(GraphProto, &str); 13] = [
        (
            with_nodes(vec![node("a", "Add", &["x", "z"], &["y"], vec![]), relu("b", "y", "z")]),
            "the graph has a cycle through node `a` (value `z`)",
        ),
        (with_nodes(vec![relu("a", "y", "y")]), "the graph has a cycle through node `a` (value `y`)"),
        (
            with_nodes(vec![relu("b", "z", "y"), relu("a", "x", "z")]),
            "node `b` reads `z` before node `a` produces it: the nodes are not in topological order",
        ),
        (with_nodes(vec![relu("a", "nothing", "y")]), "node `a` reads `nothing`, which nothing produces"),
        (with_nodes(vec![relu("", "nothing", "y")]), "node `y` reads `nothing`, which nothing produces"),
        (with_nodes(vec![]), "graph output reads `y`, which nothing produces"),
        (
            with_nodes(vec![relu("a", "x", "y"), relu("b", "x", "y")]),
            "`y` is produced twice: by node `a` and by node `b`",
        ),
        (
            with_nodes(vec![node("a", "Split", &["x"], &["y", "y"], vec![])]),
            "`y` is produced twice: by node `a` and by node `a`",
        ),
        (
            with_nodes(vec![relu("a", "x", "x"), relu("b", "x", "y")]),
            "`x` is produced twice: by a graph input or initializer and by node `a`",
        ),
        (
            GraphProto { input: vec![port("x", &[1, 2]), port("x", &[1, 2])], ..small() },
            "`x` is produced twice: by a graph input and by another graph input",
        ),
        (
            GraphProto { initializer: vec![initializer("w", &[1], &[0.0]), initializer("w", &[1], &[0.0])], ..small() },
            "`w` is produced twice: by an initializer and by another initializer",
        ),
        (
            GraphProto {
                initializer: vec![initializer("w", &[1], &[0.0])],
                sparse_initializer: vec![SparseTensorProto {
                    values: Some(initializer("w", &[1], &[0.0])),
                    ..Default::default()
                }],
                ..small()
            },
            "`w` is produced twice: by an initializer and by another initializer",
        ),
        (
            with_nodes(vec![node(
                "if",
                "If",
                &["x"],
                &["y"],
                vec![subgraph("then_branch", with_nodes(vec![relu("inner", "nothing", "y")]))],
            )]),
            "node `if` reads `nothing`, which nothing produces",
        ),
    ];
    for (graph, expected) in cases {
        assert_eq!(fault(graph), [INCONSISTENT, expected]);
    }
}

#[test]
fn what_has_no_name_is_refused_by_number() {
    let unnamed = || initializer("", &[1], &[0.0]);
    let cases = [
        (with_tensor(unnamed()), "not an ONNX model: initializer 0 has no name"),
        (
            GraphProto { input: vec![port("x", &[1]), port("", &[1])], ..small() },
            "not an ONNX model: graph input 1 has no name",
        ),
        (GraphProto { output: vec![port("", &[1])], ..small() }, "not an ONNX model: graph output 0 has no name"),
        (
            GraphProto {
                sparse_initializer: vec![SparseTensorProto { values: Some(unnamed()), ..Default::default() }],
                ..small()
            },
            "not an ONNX model: sparse initializer 0 has no name",
        ),
    ];
    for (graph, expected) in cases {
        assert_eq!(fault(graph), [expected]);
    }
}

#[test]
fn a_value_that_is_two_outputs_is_no_contradiction() {
    let graph = GraphProto { output: vec![port("y", &[1, 2]), port("y", &[1, 2])], ..small() };
    assert_eq!(Model::from_proto(model(graph)).unwrap().graph.outputs().len(), 2);
}

#[test]
fn a_tensor_that_contradicts_itself_is_refused_by_name() {
    let data = [0.0; 4];
    let cases = [
        (initializer("w", &[2, -2], &data), "tensor `w`: dimension 1 is -2, below zero"),
        (initializer("w", &[3], &data), "tensor `w`: [3] of FLOAT needs 12 bytes, 16 are stored"),
        (initializer("w", &[], &data), "tensor `w`: [] of FLOAT needs 4 bytes, 16 are stored"),
        (
            initializer("w", &[1 << 40], &data),
            "tensor `w`: [1099511627776] of FLOAT needs 4398046511104 bytes, 16 are stored",
        ),
        (
            initializer("w", &[i64::MAX, 2], &data),
            "tensor `w`: [9223372036854775807, 2] holds more elements than memory can address",
        ),
        (
            initializer("w", &[i64::MAX], &data),
            "tensor `w`: [9223372036854775807] holds more elements than memory can address",
        ),
        (
            initializer("w", &[0, i64::MAX, i64::MAX], &[]),
            "tensor `w`: [0, 9223372036854775807, 9223372036854775807] holds more elements than memory can address",
        ),
        (
            TensorProto { raw_data: None, float_data: vec![0.0; 3], ..initializer("w", &[4], &[]) },
            "tensor `w`: [4] of FLOAT needs 4 elements, 3 are stored",
        ),
        (
            TensorProto { raw_data: None, data_type: Some(0), ..initializer("w", &[1], &[]) },
            "tensor `w`: [1] of UNDEFINED needs 1 elements, 0 are stored",
        ),
        (
            TensorProto { raw_data: None, data_type: Some(99), ..initializer("w", &[1], &[]) },
            "tensor `w`: [1] of type 99 needs 1 elements, 0 are stored",
        ),
    ];
    for (tensor, expected) in cases {
        assert_eq!(fault(with_tensor(tensor.clone())), ["initializer 0 is inconsistent", expected]);
        let value = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(AttributeType::Tensor as i32),
            t: Some(tensor.into()),
            ..Default::default()
        };
        let graph = with_nodes(vec![node("c", "Constant", &[], &["y"], vec![value])]);
        assert_eq!(fault(graph), ["attribute `value` of node `c` is inconsistent", expected]);
    }
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let message = |bytes: &[u8]| chain(&Model::from_bytes(bytes).unwrap_err()).join(" / ");
    assert_eq!(message(b""), "not an ONNX model: it is empty");
    assert_eq!(message(&ModelProto { ir_version: Some(8), ..Default::default() }.encode_to_vec()), NO_GRAPH);
    // Graph, field 7, of 2^63 bytes.
    let endless = [&[0x3a][..], &[0xff; 8], &[0x7f, 0, 0]].concat();
    assert!(message(&endless).starts_with("not an ONNX model: failed to decode Protobuf message: "));
    assert!(message(b"no model at all").starts_with("not an ONNX model: failed to decode Protobuf message: "));
}

const NO_GRAPH: &str = "not an ONNX model: it holds no graph";

#[test]
fn subgraphs_nested_too_deep_are_refused() {
    // As bytes: structs nested so deep could not even be dropped.
    let field = |number: u8, message: Vec<u8>| {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(message.len(), &mut bytes).unwrap();
        [bytes, message].concat()
    };
    let read = |depth: usize| {
        let graph = (0..depth).fold(small().encode_to_vec(), |inner, _| {
            let attribute = [subgraph("then_branch", GraphProto::default()).encode_to_vec(), field(6, inner)].concat();
            let outer = node("if", "If", &["x"], &["y"], vec![]).encode_to_vec();
            let outer = field(1, [outer, field(5, attribute)].concat());
            [with_nodes(vec![]).encode_to_vec(), outer].concat()
        });
        let model = ModelProto { ir_version: Some(8), ..Default::default() }.encode_to_vec();
        Model::from_bytes(&[model, field(7, graph)].concat())
    };
    assert!(read(30).is_ok());
    let message = read(5000).unwrap_err().to_string();
    assert!(message.starts_with("not an ONNX model: failed to decode Protobuf message: "), "{message}");
    assert!(message.contains("recursion limit reached"), "{message}");
}

#[test]
fn the_top_message_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| folder.path().join(name).display().to_string();
    let read = |name: &str| Model::read(folder.path().join(name)).unwrap_err();
    fs::write(folder.path().join("empty.onnx"), b"").unwrap();
    assert_eq!(
        chain(&read("empty.onnx")),
        [format!("cannot use the model `{}`", named("empty.onnx")), "not an ONNX model: it is empty".to_owned()]
    );
    fs::write(folder.path().join("none.onnx"), model(with_nodes(vec![])).encode_to_vec()).unwrap();
    assert_eq!(
        chain(&read("none.onnx")),
        [
            format!("cannot use the model `{}`", named("none.onnx")),
            INCONSISTENT.to_owned(),
            "graph output reads `y`, which nothing produces".to_owned()
        ]
    );
    assert_eq!(read("missing.onnx").to_string(), format!("cannot read `{}`", named("missing.onnx")));
    assert!(
        matches!(read("missing.onnx"), OnnxError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
    let error = Model::read(folder.path()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{}`", folder.path().display()));
    assert_eq!(chain(&error).len(), 2);
}

/// The last message when a model with one external tensor of four floats is read; its data file `w.bin` holds them.
fn external_fault(folder: &Path, name: &str, entries: &[(&str, &str)]) -> String {
    fs::write(folder.join("w.bin"), [0; 16]).unwrap();
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    let tensor = TensorProto {
        raw_data: None,
        data_location: Some(DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..initializer(name, &[4], &[])
    };
    let path = folder.join("model.onnx");
    fs::write(&path, model(with_tensor(tensor)).encode_to_vec()).unwrap();
    match Model::read(&path) {
        Ok(_) => "read".to_owned(),
        Err(error) => {
            let messages = chain(&error);
            assert_eq!(messages[0], format!("cannot use the model `{}`", path.display()));
            messages[1..].join(" / ")
        }
    }
}

#[test]
fn external_data_is_refused_wherever_it_is_not_what_the_tensor_says() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inner");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret"), [0; 16]).unwrap();
    let absolute = outer.path().join("secret").display().to_string();
    let wrong = |entries: &[(&str, &str)]| external_fault(&folder, "w", entries);
    assert_eq!(wrong(&[("location", "w.bin")]), "read");
    assert_eq!(wrong(&[("location", "w.bin"), ("offset", "0"), ("length", "16")]), "read");
    let cases: [(&[(&str, &str)], String); 14] = [
        (&[], "external data `` has no location".to_owned()),
        (&[("location", "")], "external data `` has no location".to_owned()),
        (&[("location", ".")], "external data `.` lies outside the model's folder".to_owned()),
        (&[("location", "../secret")], "external data `../secret` lies outside the model's folder".to_owned()),
        (
            &[("location", "a/../../secret")],
            "external data `a/../../secret` lies outside the model's folder".to_owned(),
        ),
        (&[("location", &absolute)], format!("external data `{absolute}` lies outside the model's folder")),
        (
            &[("location", "none.bin")],
            "external data `none.bin` cannot be read: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &[("location", "w.bin"), ("offset", "8")],
            "external data `w.bin` holds 16 bytes; 16 at offset 8 are asked for".to_owned(),
        ),
        (
            &[("location", "w.bin"), ("length", "17")],
            "external data `w.bin` holds 16 bytes; 17 at offset 0 are asked for".to_owned(),
        ),
        (
            &[("location", "w.bin"), ("offset", "18446744073709551615")],
            "external data `w.bin` holds 16 bytes; 16 at offset 18446744073709551615 are asked for".to_owned(),
        ),
        (
            &[("location", "w.bin"), ("length", "18446744073709551616")],
            "external data `w.bin` has length `18446744073709551616`, which is no size".to_owned(),
        ),
        (
            &[("location", "w.bin"), ("offset", "-1")],
            "external data `w.bin` has offset `-1`, which is no size".to_owned(),
        ),
        (
            &[("location", "w.bin"), ("offset", "zero")],
            "external data `w.bin` has offset `zero`, which is no size".to_owned(),
        ),
        (&[("location", "w.bin"), ("length", "")], "external data `w.bin` has length ``, which is no size".to_owned()),
    ];
    for (entries, expected) in cases {
        assert_eq!(wrong(entries), format!("tensor `w`: {expected}"));
    }
    assert_eq!(
        wrong(&[("location", "w.bin"), ("length", "12")]),
        "initializer 0 is inconsistent / tensor `w`: [4] of FLOAT needs 16 bytes, 12 are stored"
    );
    // A tensor without a name is told by its place.
    assert_eq!(external_fault(&folder, "", &[]), "initializer 0: external data `` has no location");
}

#[cfg(unix)]
#[test]
fn external_data_behind_a_link_out_of_the_folder_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inner");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret"), [0; 16]).unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("link.bin")).unwrap();
    std::os::unix::fs::symlink(outer.path(), folder.join("up")).unwrap();
    for location in ["link.bin", "up/secret"] {
        assert_eq!(
            external_fault(&folder, "w", &[("location", location)]),
            format!("tensor `w`: external data `{location}` lies outside the model's folder, behind a link")
        );
    }
    fs::create_dir(folder.join("w")).unwrap();
    assert_eq!(external_fault(&folder, "w", &[("location", "w")]), "tensor `w`: external data `w` is no file");
    // Inside the folder a link is as good as the file.
    std::os::unix::fs::symlink("w.bin", folder.join("other.bin")).unwrap();
    assert_eq!(external_fault(&folder, "w", &[("location", "other.bin")]), "read");
}

#[test]
fn external_data_of_a_model_in_memory_is_refused() {
    let tensor =
        TensorProto { data_location: Some(DataLocation::External as i32), ..initializer("w", &[4], &[0.0; 4]) };
    assert_eq!(
        fault(with_tensor(tensor)),
        ["tensor `w`: external data `` cannot be found for a model that is not read from a file"]
    );
}

/// Many tensors that each claim the whole data file would multiply it in memory, were its bytes not shared.
#[test]
fn tensors_that_claim_the_same_bytes_share_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), vec![0; 1 << 20]).unwrap();
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
    let tensor = |number: usize| TensorProto {
        raw_data: None,
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", "w.bin")],
        ..initializer(&format!("w{number}"), &[1 << 18], &[])
    };
    let graph = GraphProto { initializer: (0..1000).map(tensor).collect(), ..small() };
    let path = folder.path().join("model.onnx");
    fs::write(&path, model(graph).encode_to_vec()).unwrap();
    let model = Model::read(&path).unwrap();
    let addresses: BTreeSet<*const u8> = model
        .graph
        .initializers()
        .iter()
        .map(|&value| model.graph.initializer(value).unwrap().raw_data.as_ref().unwrap().as_ptr())
        .collect();
    assert_eq!(addresses.len(), 1);
}
