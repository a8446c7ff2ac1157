//! Reading and writing back changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::tensor_proto::DataLocation;
use layerprune::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    ValueInfoProto,
};
use layerprune_testing::resnet;
use prost::Message;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// What stands in the file after reading `path` and writing it to another folder.
fn written_back(path: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.onnx");
    Model::read(path).unwrap().write(&copy).unwrap();
    fs::read(&copy).unwrap()
}

#[test]
fn every_field_of_the_schema_survives() {
    let path = fixture("models/every_field.onnx");
    let (before, after) = (fs::read(&path).unwrap(), written_back(&path));
    assert_eq!(ModelProto::decode(&before[..]).unwrap(), ModelProto::decode(&after[..]).unwrap());
    // Both write fields by number, so that not even a field unknown to this schema can have been lost.
    assert!(before == after, "the bytes differ");
}

#[test]
fn every_field_of_the_schema_survives_in_memory() {
    let bytes = fs::read(fixture("models/every_field.onnx")).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    assert!(model.to_bytes() == bytes, "the bytes differ");
    assert_eq!(Model::from_bytes(&bytes).unwrap().digest(), model.digest());
}

#[test]
fn models_of_other_exporters_survive() {
    let mut paths = vec![fixture("golden/train_net.onnx")];
    match std::env::var_os("LAYERPRUNE_SHARED") {
        Some(folder) => {
            let entries = fs::read_dir(Path::new(&folder).join("models")).unwrap();
            paths.extend(
                entries.map(|entry| entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")),
            );
        }
        None => println!("LAYERPRUNE_SHARED is not set: only the models of this repository were read"),
    }
    for path in paths {
        let (before, after) = (fs::read(&path).unwrap(), written_back(&path));
        let same = ModelProto::decode(&before[..]).unwrap() == ModelProto::decode(&after[..]).unwrap();
        assert!(same, "{} changed", path.display());
    }
}

#[test]
fn an_ir_version_newer_than_the_schema_is_refused() {
    let model = ModelProto { ir_version: Some(15), graph: Some(GraphProto::default()), ..Default::default() };
    assert_eq!(
        Model::from_bytes(&model.encode_to_vec()).unwrap_err().to_string(),
        "ONNX IR version 15 is newer than 14, the newest this program can carry without loss"
    );
    let model = ModelProto { ir_version: Some(14), ..model };
    assert!(Model::from_bytes(&model.encode_to_vec()).is_ok());
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A tensor of `count` floats at `offset` of file `location`, the length given or not.
fn external(name: &str, count: usize, location: &str, offset: usize, length: bool) -> TensorProto {
    let mut external_data = vec![entry("location", location), entry("offset", &offset.to_string())];
    external_data.extend(length.then(|| entry("length", &(4 * count).to_string())));
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![count as i64],
        data_type: Some(1),
        data_location: Some(DataLocation::External as i32),
        external_data,
        ..Default::default()
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn node(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..Default::default()
    }
}

fn port(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..Default::default() }
}

fn with_graph(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: None, version: Some(13) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

/// A folder with a model whose tensors lie in two files, one of them in a folder below: initializers, an attribute and
/// an initializer of a subgraph. The first file holds a header and a gap that belong to no tensor.
fn external_model(folder: &Path) -> PathBuf {
    let mut data = b"header, no tensor's".to_vec();
    data.resize(32, b'.');
    data.extend(floats(&[1.0, 2.0, 3.0]));
    data.resize(64, b'-');
    data.extend(floats(&[4.0, 5.0]));
    fs::write(folder.join("weights.bin"), data).unwrap();
    fs::create_dir(folder.join("below")).unwrap();
    fs::write(folder.join("below/more.bin"), floats(&[6.0, 7.0])).unwrap();

    let mut first = external("first", 3, "weights.bin", 32, true);
    first.external_data.push(entry("checksum", "0123456789abcdef0123456789abcdef01234567"));
    let body = GraphProto {
        initializer: vec![external("inner", 1, "./below//more.bin", 4, false)],
        node: vec![node("Add", &["inner", "first"], "sum", vec![])],
        output: vec![port("sum")],
        ..Default::default()
    };
    let value = AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(external("", 1, "below/more.bin", 0, true).into()),
        ..Default::default()
    };
    let branch = |name: &str| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(body.clone().into()),
        ..Default::default()
    };
    let graph = GraphProto {
        input: vec![port("x")],
        initializer: vec![first, external("second", 2, "weights.bin", 64, true)],
        node: vec![
            node("Constant", &[], "c", vec![value]),
            node("If", &["x"], "y", vec![branch("then_branch"), branch("else_branch")]),
            node("Sum", &["c", "y", "second"], "z", vec![]),
        ],
        output: vec![port("z")],
        ..Default::default()
    };
    let path = folder.join("model.onnx");
    fs::write(&path, with_graph(graph).encode_to_vec()).unwrap();
    path
}

/// The files of `folder` and those below it, by name.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            names.extend(files(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            names.insert(name);
        }
    }
    names
}

fn initializer(model: &Model, name: &str) -> Vec<f32> {
    let value = model.graph.value_named(name).unwrap();
    tensor::to_f32(model.graph.initializer(value).unwrap()).unwrap().into_owned()
}

fn set(model: &mut Model, name: &str, values: &[f32]) {
    let value = model.graph.value_named(name).unwrap();
    let old = model.graph.initializer(value).unwrap().clone();
    model.graph.set_initializer(value, tensor::with_f32(&old, &[values.len()], values).unwrap());
}

#[test]
fn external_data_is_read_wherever_a_tensor_can_stand() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::read(external_model(folder.path())).unwrap();
    assert_eq!(initializer(&model, "first"), [1.0, 2.0, 3.0]);
    assert_eq!(initializer(&model, "second"), [4.0, 5.0]);
    let attribute = |op: &str, name: &str| {
        let (_, node) = model.graph.nodes().find(|(_, node)| node.op_type() == op).unwrap();
        node.attribute(name).unwrap().clone()
    };
    assert_eq!(*tensor::to_f32(&attribute("Constant", "value").t.unwrap()).unwrap(), [6.0]);
    let body = attribute("If", "else_branch").g.unwrap();
    assert_eq!(*tensor::to_f32(&body.initializer[0]).unwrap(), [7.0]);
}

#[test]
fn external_data_is_written_byte_for_byte_into_another_folder() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Model::read(external_model(from.path())).unwrap().write(to.path().join("model.onnx")).unwrap();
    assert_eq!(files(to.path()), files(from.path()));
    for name in files(from.path()) {
        assert_eq!(fs::read(to.path().join(&name)).unwrap(), fs::read(from.path().join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn a_model_in_memory_holds_its_external_data() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::read(external_model(folder.path())).unwrap();
    let inlined = Model::from_bytes(&model.to_bytes()).unwrap();
    assert_eq!(initializer(&inlined, "second"), [4.0, 5.0]);
    assert_eq!(inlined.digest(), model.digest());
}

#[test]
fn a_data_file_that_lost_a_tensor_is_packed_anew() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut model = Model::read(external_model(from.path())).unwrap();
    let sum = model.graph.nodes().last().unwrap().0;
    let [y, second] = ["y", "second"].map(|name| model.graph.value_named(name).unwrap());
    model.graph.set_input(sum, 2, y);
    model.graph.remove_initializers(&BTreeSet::from([second]));
    let path = to.path().join("model.onnx");
    model.write(&path).unwrap();
    assert_eq!(fs::read(to.path().join("weights.bin")).unwrap(), floats(&[1.0, 2.0, 3.0]));
    let proto = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap();
    let stored = &proto.graph.unwrap().initializer;
    // The checksum was of the file as it was.
    assert_eq!(
        stored[0].external_data,
        [entry("location", "weights.bin"), entry("offset", "0"), entry("length", "12")]
    );
    assert_eq!(initializer(&Model::read(&path).unwrap(), "first"), [1.0, 2.0, 3.0]);
}

#[test]
fn new_weights_of_the_old_size_keep_the_layout_and_drop_the_checksum() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut model = Model::read(external_model(from.path())).unwrap();
    set(&mut model, "first", &[-1.0, -2.0, -3.0]);
    model.write(to.path().join("model.onnx")).unwrap();
    let mut expected = fs::read(from.path().join("weights.bin")).unwrap();
    expected[32..44].copy_from_slice(&floats(&[-1.0, -2.0, -3.0]));
    assert_eq!(fs::read(to.path().join("weights.bin")).unwrap(), expected);
    let written = ModelProto::decode(&fs::read(to.path().join("model.onnx")).unwrap()[..]).unwrap();
    let entries = &written.graph.unwrap().initializer[0].external_data;
    assert!(entries.iter().all(|entry| entry.key() != "checksum"), "{entries:?}");
}

#[test]
fn a_tensor_of_another_size_moves_its_neighbours() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut model = Model::read(external_model(from.path())).unwrap();
    set(&mut model, "first", &[9.0; 40]);
    model.write(to.path().join("model.onnx")).unwrap();
    let read = Model::read(to.path().join("model.onnx")).unwrap();
    assert_eq!(initializer(&read, "first"), [9.0; 40]);
    assert_eq!(initializer(&read, "second"), [4.0, 5.0]);
    assert_eq!(read.to_bytes(), model.to_bytes());
}

#[test]
fn tensors_that_shared_their_bytes_part_when_one_changes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tied.bin"), floats(&[1.0, 2.0])).unwrap();
    let graph = GraphProto {
        initializer: vec![external("a", 2, "tied.bin", 0, true), external("b", 2, "tied.bin", 0, true)],
        node: vec![node("Add", &["a", "b"], "y", vec![])],
        output: vec![port("y")],
        ..Default::default()
    };
    let path = folder.path().join("model.onnx");
    fs::write(&path, with_graph(graph).encode_to_vec()).unwrap();
    let mut model = Model::read(&path).unwrap();
    set(&mut model, "b", &[3.0, 4.0]);
    let other = tempfile::tempdir().unwrap();
    model.write(other.path().join("model.onnx")).unwrap();
    let read = Model::read(other.path().join("model.onnx")).unwrap();
    assert_eq!((initializer(&read, "a"), initializer(&read, "b")), (vec![1.0, 2.0], vec![3.0, 4.0]));
}

#[test]
fn a_missing_length_means_as_much_as_the_tensor_needs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), floats(&[1.0, 2.0, 3.0])).unwrap();
    let graph = GraphProto {
        initializer: vec![external("a", 1, "w.bin", 4, false)],
        output: vec![port("a")],
        ..Default::default()
    };
    let path = folder.path().join("model.onnx");
    fs::write(&path, with_graph(graph).encode_to_vec()).unwrap();
    assert_eq!(initializer(&Model::read(&path).unwrap(), "a"), [2.0]);
}

#[test]
fn writing_beside_the_source_leaves_its_data_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::read(external_model(folder.path())).unwrap();
    let before = fs::read(folder.path().join("weights.bin")).unwrap();
    let names = files(folder.path());

    // The same bytes are shared.
    model.write(folder.path().join("same.onnx")).unwrap();
    let mut expected = names.clone();
    expected.insert("same.onnx".to_owned());
    assert_eq!(files(folder.path()), expected);

    // Others get a file of their own.
    set(&mut model, "first", &[-1.0, -2.0, -3.0]);
    model.write(folder.path().join("other.onnx")).unwrap();
    expected.extend(["other.onnx".to_owned(), "other.onnx.data".to_owned()]);
    assert_eq!(files(folder.path()), expected);
    assert_eq!(fs::read(folder.path().join("weights.bin")).unwrap(), before);
    assert_eq!(initializer(&Model::read(folder.path().join("same.onnx")).unwrap(), "first"), [1.0, 2.0, 3.0]);
    let other = Model::read(folder.path().join("other.onnx")).unwrap();
    assert_eq!(initializer(&other, "first"), [-1.0, -2.0, -3.0]);
    assert_eq!(other.to_bytes(), model.to_bytes());
}

#[test]
fn a_data_file_named_like_the_model_does_not_overwrite_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::read(external_model(folder.path())).unwrap();
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("weights.bin");
    model.write(&path).unwrap();
    assert_eq!(Model::read(&path).unwrap().to_bytes(), model.to_bytes());
    assert!(other.path().join("weights.bin.data").is_file());
}

/// What a crash between the two files would leave must be a whole model: the old one with the old data.
#[test]
fn overwriting_a_model_never_touches_the_data_that_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut model = Model::read(external_model(folder.path())).unwrap();
    let mut own_files = Vec::new();
    for round in 0..4 {
        let before = fs::read(&path).unwrap();
        let data: Vec<(String, Vec<u8>)> = files(folder.path())
            .into_iter()
            .map(|name| (name.clone(), fs::read(folder.path().join(&name)).unwrap()))
            .collect();
        set(&mut model, "first", &[round as f32; 3]);
        model.write(&path).unwrap();
        let after = Model::read(&path).unwrap();
        assert_eq!(after.to_bytes(), model.to_bytes());

        // The old model over the new data is still the old model.
        let crashed = tempfile::tempdir().unwrap();
        fs::create_dir(crashed.path().join("below")).unwrap();
        for name in files(folder.path()) {
            fs::copy(folder.path().join(&name), crashed.path().join(&name)).unwrap();
        }
        fs::write(crashed.path().join("model.onnx"), &before).unwrap();
        let whole = tempfile::tempdir().unwrap();
        fs::create_dir(whole.path().join("below")).unwrap();
        for (name, bytes) in data {
            fs::write(whole.path().join(name), bytes).unwrap();
        }
        let read = |folder: &Path| Model::read(folder.join("model.onnx")).unwrap().to_bytes();
        assert_eq!(read(crashed.path()), read(whole.path()), "round {round}");
        own_files.push(files(folder.path()).into_iter().filter(|name| name.ends_with(".data")).collect::<Vec<_>>());
    }
    let (one, two) = ("model.onnx.data".to_owned(), "model.onnx.1.data".to_owned());
    assert_eq!(
        own_files,
        [vec![one.clone()], vec![two.clone(), one.clone()], vec![two.clone(), one.clone()], vec![two, one]]
    );
}

#[test]
fn a_write_that_fails_leaves_the_model_and_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = external_model(folder.path());
    let mut model = Model::read(&path).unwrap();
    let before = model.to_bytes();
    set(&mut model, "first", &[0.0; 3]);
    // A folder stands where the new data would go.
    fs::create_dir(folder.path().join("model.onnx.data")).unwrap();
    let error = model.write(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write `{}`", folder.path().join("model.onnx.data").display()));
    assert_eq!(Model::read(&path).unwrap().to_bytes(), before);
}

#[test]
fn a_model_written_anew_has_the_permissions_of_any_file() {
    let folder = tempfile::tempdir().unwrap();
    resnet(0, [3, 8, 8], 1, &[4], 1, 2).write(folder.path().join("model.onnx")).unwrap();
    fs::write(folder.path().join("plain"), "").unwrap();
    let permissions = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions();
    assert_eq!(permissions("model.onnx"), permissions("plain"));
}

#[test]
fn a_path_that_names_no_file_is_refused() {
    let error = resnet(0, [3, 8, 8], 1, &[4], 1, 2).write("..").unwrap_err();
    assert_eq!(error.to_string(), "cannot write `..`");
}
