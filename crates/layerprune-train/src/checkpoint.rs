use std::fs;
use std::path::{Path, PathBuf};

use layerprune::files;
use layerprune::onnx::{Model, ModelDigest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::distill::Memory;
use crate::settings::Settings;
use crate::trainer::{Progress, Trainer};

const MAGIC: &[u8; 16] = b"layerprune-train";
const VERSION: u32 = 2;

/// Why a checkpoint could not be saved, loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be read.
    #[error("cannot read checkpoint `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could not be written; what stood there before is untouched.
    #[error("cannot write checkpoint `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a checkpoint.
    #[error("`{}` is not a checkpoint: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file ends early or goes on too long.
    #[error("checkpoint `{}` is incomplete: {found} bytes, {expected} are needed", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: usize,
        /// Bytes that its header promises.
        expected: usize,
    },
    /// The bytes changed since they were written.
    #[error("checkpoint `{}` is damaged: its check sum does not agree", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A format of another program version.
    #[error(
        "checkpoint `{}` has format version {found}, this program reads {VERSION}: go on with the program that wrote it, or \
         begin anew",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Made from another model.
    #[error("it was made for another model (digest {found}, this one has {expected})")]
    OtherModel {
        /// The checkpoint's.
        found: ModelDigest,
        /// This model's.
        expected: ModelDigest,
    },
    /// Made with other settings.
    #[error("it was made with other settings: `{setting}` is {found} there and {expected} here")]
    OtherSettings {
        /// The first setting that differs.
        setting: String,
        /// The checkpoint's.
        found: String,
        /// This run's.
        expected: String,
    },
    /// Made with other data.
    #[error("it was made with data of {found} batches an epoch, this has {expected}")]
    OtherData {
        /// The checkpoint's batches of an epoch.
        found: usize,
        /// This run's.
        expected: usize,
    },
    /// Further than its run is long.
    #[error("it says that {epoch} epochs and {step} steps of the next were done, of {epochs} epochs of {steps} steps")]
    OtherProgress {
        /// Its epochs that were done.
        epoch: usize,
        /// Its steps behind these.
        step: usize,
        /// The run's epochs.
        epochs: usize,
        /// Steps of each.
        steps: usize,
    },
    /// Made with another teacher.
    #[error("the model learnt from another teacher there")]
    OtherTeacher,
    /// Holds other weights than the model, though its digest agrees.
    #[error("its weights are not those of the model")]
    OtherWeights,
}

/// A training run between two steps: weights, statistics, what the optimiser keeps, averages, and how far it came.
///
/// The file is 16 bytes of name, a format version, the length of a JSON header, the header, the numbers as little-endian
/// `f32` and a check sum. The header lists the tensors that the numbers are, in sections: `weights`, one for each moment of the
/// optimiser, `averages`, what regularisers keep, and what the teacher said so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    header: Header,
    data: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Header {
    model: ModelDigest,
    settings: Settings,
    batches_per_epoch: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    teacher: Option<ModelDigest>,
    progress: Progress,
    note: String,
    sections: Vec<Listed>,
}

/// A section in the header: name and sizes of each tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Listed {
    name: String,
    tensors: Vec<(String, Vec<usize>)>,
}

/// Tensors that are kept for one purpose.
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) tensors: Vec<Kept<'a>>,
}

/// A tensor that is kept.
pub(crate) struct Kept<'a> {
    pub(crate) name: &'a str,
    pub(crate) dims: &'a [usize],
    pub(crate) data: &'a [f32],
}

impl Listed {
    fn of(section: &Section<'_>) -> Self {
        let tensors = section.tensors.iter().map(|kept| (kept.name.to_owned(), kept.dims.to_vec()));
        Self { name: section.name.to_owned(), tensors: tensors.collect() }
    }

    /// What a teacher said, where this is that.
    fn memory(&self, data: &[f32]) -> Option<Memory> {
        match (&self.name[..], &self.tensors[..]) {
            (Memory::SECTION, [(name, dims)]) if name == Memory::TENSOR => {
                Memory::from_rows(dims[..].try_into().ok()?, data)
            }
            _ => None,
        }
    }
}

impl Header {
    /// How many numbers stand behind the header; `None` where they are too many.
    fn numbers(&self) -> Option<usize> {
        let mut tensors = self.sections.iter().flat_map(|section| &section.tensors);
        tensors.try_fold(0_usize, |sum, (_, dims)| {
            sum.checked_add(dims.iter().try_fold(1_usize, |len, &size| len.checked_mul(size))?)
        })
    }
}

impl Checkpoint {
    /// Epochs that were done.
    #[must_use]
    pub fn epochs_done(&self) -> usize {
        self.header.progress.epoch
    }

    /// Steps that were done in the epoch behind these.
    #[must_use]
    pub fn steps_done(&self) -> usize {
        self.header.progress.step
    }

    /// The settings of the run.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.header.settings
    }

    /// With a text that the caller finds again, in place of the one that it had; it is empty at first.
    #[must_use]
    pub fn with_note(mut self, note: String) -> Self {
        self.header.note = note;
        self
    }

    /// The caller's text.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.header.note
    }

    pub(crate) fn take(trainer: &Trainer<'_>) -> Self {
        let mut sections = trainer.sections();
        sections.extend(trainer.teacher.iter().filter_map(|teacher| teacher.memory.as_ref()?.section()));
        let header = Header {
            model: trainer.digest.clone(),
            settings: trainer.settings.clone(),
            batches_per_epoch: trainer.batches_per_epoch,
            teacher: trainer.teacher.as_ref().map(|teacher| teacher.digest.clone()),
            progress: trainer.progress,
            note: String::new(),
            sections: sections.iter().map(Listed::of).collect(),
        };
        let mut data = Vec::with_capacity(header.numbers().unwrap_or_default());
        for kept in sections.iter().flat_map(|section| &section.tensors) {
            data.extend_from_slice(kept.data);
        }
        Self { header, data }
    }

    /// Refuses a checkpoint of another run than one that trains `model`, with what `teacher` says where there is one, by
    /// `settings` on data of `batches_per_epoch`. Going on from a checkpoint does the same; this is for callers that hold one
    /// of a run that is over.
    ///
    /// # Errors
    /// The first of model, settings, data and teacher that is another one.
    pub fn check(
        &self,
        model: &Model,
        teacher: Option<&Model>,
        settings: &Settings,
        batches_per_epoch: usize,
    ) -> Result<(), CheckpointError> {
        self.expect(model.digest(), teacher.map(Model::digest).as_ref(), settings, batches_per_epoch)
    }

    fn expect(
        &self,
        model: ModelDigest,
        teacher: Option<&ModelDigest>,
        settings: &Settings,
        batches_per_epoch: usize,
    ) -> Result<(), CheckpointError> {
        let header = &self.header;
        if header.model != model {
            return Err(CheckpointError::OtherModel { found: header.model.clone(), expected: model });
        }
        same_settings(&header.settings, settings)?;
        if header.batches_per_epoch != batches_per_epoch {
            let (found, expected) = (header.batches_per_epoch, batches_per_epoch);
            return Err(CheckpointError::OtherData { found, expected });
        }
        if header.teacher.as_ref() != teacher { Err(CheckpointError::OtherTeacher) } else { Ok(()) }
    }

    /// Puts `trainer` where the checkpoint was taken.
    pub(crate) fn restore(&self, trainer: &mut Trainer<'_>) -> Result<(), CheckpointError> {
        let teacher = trainer.teacher.as_ref().map(|teacher| &teacher.digest);
        self.expect(trainer.digest.clone(), teacher, trainer.settings, trainer.batches_per_epoch)?;
        possible(&self.header.progress, trainer.settings.epochs, trainer.steps_per_epoch())?;
        let sections: Vec<Listed> = trainer.sections().iter().map(Listed::of).collect();
        let said = match self.header.sections.strip_prefix(&sections[..]) {
            Some([]) => None,
            Some([said]) => Some(said),
            _ => return Err(CheckpointError::OtherWeights),
        };
        if self.header.numbers() != Some(self.data.len()) {
            return Err(CheckpointError::OtherWeights);
        }
        let mut rest = &self.data[..];
        for numbers in trainer.numbers_mut() {
            let (own, behind) = rest.split_at(numbers.len());
            numbers.copy_from_slice(own);
            rest = behind;
        }
        if let Some(said) = said {
            let memory = trainer.teacher.as_mut().and_then(|teacher| teacher.memory.as_mut());
            *memory.ok_or(CheckpointError::OtherWeights)? = said.memory(rest).ok_or(CheckpointError::OtherWeights)?;
        }
        trainer.progress = self.header.progress;
        Ok(())
    }

    /// Writes the checkpoint to `path`, which it replaces only when complete.
    ///
    /// # Errors
    /// [`CheckpointError::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        let bytes = self.to_bytes();
        bytes
            .and_then(|bytes| files::replace(path, &bytes))
            .map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
    }

    fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let header = serde_json::to_vec(&self.header)?;
        let mut bytes = Vec::with_capacity(36 + header.len() + 4 * self.data.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend(self.data.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend_from_slice(&check_sum(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
        let malformed = |reason: String| CheckpointError::Malformed { path: path.to_owned(), reason };
        let length = |expected| CheckpointError::Length { path: path.to_owned(), found: bytes.len(), expected };
        if !bytes.starts_with(&MAGIC[..bytes.len().min(16)]) || bytes.is_empty() {
            return Err(malformed("it does not begin like one".to_owned()));
        }
        let (Some(version), Some(header_len)) = (word::<4>(&bytes, 16), word::<8>(&bytes, 20)) else {
            return Err(length(36));
        };
        let version = u32::from_le_bytes(version);
        if version != VERSION {
            return Err(CheckpointError::Version { path: path.to_owned(), found: version });
        }
        let header_end = usize::try_from(u64::from_le_bytes(header_len)).ok().and_then(|len| len.checked_add(28));
        let header_end = header_end.ok_or_else(|| malformed("its header has no sensible length".to_owned()))?;
        let header = bytes.get(28..header_end).ok_or_else(|| length(header_end.saturating_add(8)))?;
        let header: Header = serde_json::from_slice(header).map_err(|error| malformed(error.to_string()))?;
        let numbers = header.numbers().and_then(|numbers| numbers.checked_mul(4)?.checked_add(header_end + 8));
        let expected = numbers.ok_or_else(|| malformed("its weights are too large".to_owned()))?;
        if bytes.len() != expected {
            return Err(length(expected));
        }
        let (content, sum) = bytes.split_at(expected - 8);
        if sum != check_sum(content).to_le_bytes() {
            return Err(CheckpointError::Damaged { path: path.to_owned() });
        }
        let data = content[header_end..].as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok(Self { header, data })
    }
}

/// Refuses progress that a run of so many epochs of so many steps cannot make.
fn possible(progress: &Progress, epochs: usize, steps: usize) -> Result<(), CheckpointError> {
    let Progress { epoch, step, .. } = *progress;
    let within = (epoch < epochs && step <= steps) || (epoch == epochs && step == 0);
    let most = epoch as u128 * steps as u128 + step as u128;
    match within && u128::from(progress.steps) <= most {
        true => Ok(()),
        false => Err(CheckpointError::OtherProgress { epoch, step, epochs, steps }),
    }
}

fn same_settings(found: &Settings, expected: &Settings) -> Result<(), CheckpointError> {
    if found == expected {
        return Ok(());
    }
    let json = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let (setting, found, expected) = difference("", &json(found), &json(expected))
        .unwrap_or_else(|| ("settings".to_owned(), format!("{found:?}"), format!("{expected:?}")));
    Err(CheckpointError::OtherSettings { setting, found, expected })
}

/// The path of the first value that differs, with both values; choices of another kind differ as a whole.
fn difference(path: &str, there: &Value, here: &Value) -> Option<(String, String, String)> {
    if there == here {
        return None;
    }
    if let (Value::Object(ours), Value::Object(theirs)) = (here, there)
        && ours.get("kind") == theirs.get("kind")
    {
        let dot = if path.is_empty() { "" } else { "." };
        let below = |name: &String| {
            let value = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
            difference(&format!("{path}{dot}{name}"), &value(theirs), &value(ours))
        };
        return ours.keys().chain(theirs.keys()).find_map(below);
    }
    Some((path.to_owned(), there.to_string(), here.to_string()))
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// FNV-1a over 8-byte words, the last filled up with zeros.
fn check_sum(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        sum ^= sum >> 29;
    }
    sum
}
