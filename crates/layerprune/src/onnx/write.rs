use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message;

use super::convert::to_proto;
use super::read::folder_of;
use super::{Model, OnnxError, external};
use crate::files;
use crate::proto::ModelProto;

/// What a protobuf message can hold, less room for the rest of the model.
const LARGEST_MESSAGE: usize = (1 << 31) - (1 << 20);
/// Smaller tensors stay in the model when it has to be split.
const SMALLEST_SPILLED: usize = 1024;

/// A model without its external bytes, and those by file name.
type Layout = (ModelProto, BTreeMap<String, Vec<u8>>);

impl Model {
    /// Writes the model to `path`, external tensors beside it. A model too large for one protobuf message (2 GB) gets
    /// its tensors moved into `<file name>.data`.
    ///
    /// An external file keeps its name unless another file of that name and other content stands there; then it
    /// becomes `<file name>.data` too. Where the model that now stands at `path` reads that file, a number is put into
    /// the name: at any moment what stands at `path` is a whole model, the one before or this one.
    ///
    /// # Errors
    /// [`OnnxError::Write`] or [`OnnxError::TooLarge`]; the model that stood at `path` before is then untouched.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), OnnxError> {
        self.write_with_limit(path.as_ref(), LARGEST_MESSAGE)
    }

    pub(super) fn write_with_limit(&self, path: &Path, largest_message: usize) -> Result<(), OnnxError> {
        let fault = |path: &Path, source| OnnxError::Write { path: path.to_owned(), source };
        let Some(file_name) = path.file_name().map(|name| name.to_string_lossy()) else {
            return Err(fault(path, std::io::Error::new(std::io::ErrorKind::InvalidInput, "it names no file")));
        };
        let folder = folder_of(path);
        let (model, data) = self.lay_out(path, folder, &file_name, largest_message);
        let bytes = model.encoded_len();
        if bytes > largest_message {
            return Err(OnnxError::TooLarge { path: path.to_owned(), bytes, limit: largest_message });
        }
        // The data first: a model must never stand there without it. No file that the model before reads is written
        // over, so that one stays whole until the last step puts the new one in its place.
        for (name, bytes) in &data {
            let data_path = folder.join(name);
            if !stands_there(&data_path, bytes) {
                fs::create_dir_all(folder_of(&data_path)).map_err(|source| fault(&data_path, source))?;
                files::replace(&data_path, bytes).map_err(|source| fault(&data_path, source))?;
            }
        }
        files::replace(path, &model.encode_to_vec()).map_err(|source| fault(path, source))
    }

    /// The model as it is to stand at `path`, and its data files by name.
    fn lay_out(&self, path: &Path, folder: &Path, file_name: &str, largest_message: usize) -> Layout {
        let mut before = None;
        let mut number = 0;
        loop {
            let own = if number == 0 { format!("{file_name}.data") } else { format!("{file_name}.{number}.data") };
            let (model, data) = self.with_own_file(&own, folder, file_name, largest_message);
            let overwrites = data.get(&own).is_some_and(|bytes| taken(folder, &own, bytes));
            // A name that only an earlier model of this path used is free again: no more than two are ever in use.
            if !(overwrites && before.get_or_insert_with(|| external::locations_of(path)).contains(&own)) {
                return (model, data);
            }
            number += 1;
        }
    }

    /// The model and its data files, with file `own` for all that cannot stay where it is.
    fn with_own_file(&self, own: &str, folder: &Path, file_name: &str, largest_message: usize) -> Layout {
        let mut whole = to_proto(self);
        external::relocate(&mut whole, own, |location| external::plain(location).is_none_or(|name| name == file_name));
        let mut model = whole.clone();
        let mut data = external::unload(&mut model, &self.external);
        if model.encoded_len() > largest_message {
            external::spill(&mut whole, own, SMALLEST_SPILLED);
            model = whole.clone();
            let others = self.external.iter().filter(|(name, _)| *name != own);
            data = external::unload(&mut model, &others.map(|(name, file)| (name.clone(), file.clone())).collect());
        }
        if data.iter().any(|(name, bytes)| name != own && taken(folder, name, bytes)) {
            external::relocate(&mut whole, own, |_| true);
            data = external::unload(&mut whole, &BTreeMap::new());
            model = whole;
        }
        (model, data)
    }
}

/// Whether something other than these bytes stands under `name`.
fn taken(folder: &Path, name: &str, bytes: &[u8]) -> bool {
    let path = folder.join(name);
    path.exists() && !stands_there(&path, bytes)
}

/// Whether the file at `path` holds just these bytes.
fn stands_there(path: &Path, bytes: &[u8]) -> bool {
    let same_length = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
    same_length && fs::read(path).is_ok_and(|found| found == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tensor;
    use crate::proto::tensor_proto::DataType;
    use crate::proto::{GraphProto, TensorProto, ValueInfoProto};

    /// Initializers `0`, `1`, … all of them outputs.
    fn model(tensors: Vec<TensorProto>) -> Model {
        let mut graph = GraphProto::default();
        for (number, tensor) in tensors.into_iter().enumerate() {
            let name = Some(number.to_string());
            graph.output.push(ValueInfoProto { name: name.clone(), ..Default::default() });
            graph.initializer.push(TensorProto { name, ..tensor });
        }
        Model::from_proto(ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() }).unwrap()
    }

    fn typed(data_type: DataType, count: i64, fill: impl FnOnce(&mut TensorProto)) -> TensorProto {
        let mut tensor = TensorProto { dims: vec![count], data_type: Some(data_type as i32), ..Default::default() };
        fill(&mut tensor);
        tensor
    }

    fn stored(model: &Model, number: usize) -> &TensorProto {
        model.graph.initializer(model.graph.initializers()[number]).unwrap()
    }

    #[test]
    fn a_model_beyond_the_limit_moves_its_large_tensors_into_one_file_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let large: Vec<f32> = (0..300).map(|x| x as f32).collect();
        let small = tensor::from_f32(&[2], &[1.0, 2.0]);
        let model = model(vec![tensor::from_f32(&[300], &large), small, tensor::from_f32(&[300], &large)]);
        model.write_with_limit(&path, 2000).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2000);
        // Aligned to 64 bytes: 300 floats are 1200.
        assert_eq!(fs::metadata(folder.path().join("model.onnx.data")).unwrap().len(), 1216 + 1200);
        let read = Model::read(&path).unwrap();
        assert!(!tensor::is_external(stored(&read, 1)));
        assert!(tensor::is_external(stored(&read, 2)));
        assert_eq!(read.to_bytes(), model.to_bytes());
        // Written again it is the same again, byte for byte, in the same files.
        let before = fs::read(&path).unwrap();
        read.write_with_limit(&path, 2000).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn numbers_in_typed_fields_go_into_the_file_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let model = model(vec![
            typed(DataType::Float, 300, |t| t.float_data = vec![1.5; 300]),
            typed(DataType::Double, 300, |t| t.double_data = vec![-0.1; 300]),
            typed(DataType::Int64, 300, |t| t.int64_data = vec![i64::MIN; 300]),
            typed(DataType::Int32, 300, |t| t.int32_data = vec![-7; 300]),
            typed(DataType::Uint32, 300, |t| t.uint64_data = vec![u64::from(u32::MAX); 300]),
            typed(DataType::Float16, 600, |t| t.int32_data = vec![0x3c00; 600]),
            typed(DataType::Int4, 2400, |t| t.int32_data = vec![0x7f; 1200]),
        ]);
        model.write_with_limit(&path, 1000).unwrap();
        let read = Model::read(&path).unwrap();
        assert!((0..7).all(|number| tensor::is_external(stored(&read, number))));
        assert_eq!(*tensor::to_f32(stored(&read, 0)).unwrap(), [1.5; 300]);
        assert_eq!(stored(&read, 1).raw_data.as_ref().unwrap()[..8], (-0.1_f64).to_le_bytes());
        assert_eq!(tensor::to_i64(stored(&read, 2)).unwrap(), [i64::MIN; 300]);
        assert_eq!(tensor::to_i64(stored(&read, 3)).unwrap(), [-7; 300]);
        assert_eq!(stored(&read, 4).raw_data.as_ref().unwrap()[..], [0xff; 1200]);
        assert_eq!(*tensor::to_f32(stored(&read, 5)).unwrap(), [1.0; 600]);
        assert_eq!(stored(&read, 6).raw_data.as_ref().unwrap()[..], [0x7f; 1200]);
    }

    #[test]
    fn a_model_that_no_splitting_makes_small_enough_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let texts = typed(DataType::String, 1, |t| t.string_data = vec![vec![b'x'; 3000]]);
        let error = model(vec![texts]).write_with_limit(&path, 2000).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write `{}`: the model without its large tensors takes 3023 bytes, one file holds 2000",
                path.display()
            )
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_location_that_leads_out_of_the_folder_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let mut model = model(vec![tensor::from_f32(&[1], &[1.0])]);
        let value = model.graph.initializers()[0];
        for location in ["../out.bin", "/out.bin", ""] {
            let mut tensor = tensor::from_f32(&[1], &[2.0]);
            tensor.data_location = Some(crate::proto::tensor_proto::DataLocation::External as i32);
            let entry = |key: &str, value: &str| crate::proto::StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            tensor.external_data = vec![entry("location", location)];
            model.graph.set_initializer(value, tensor);
            model.write(inner.join("model.onnx")).unwrap();
            assert_eq!(Model::read(inner.join("model.onnx")).unwrap().to_bytes(), model.to_bytes());
            assert!(inner.join("model.onnx.data").is_file());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{location}");
        }
    }
}
