use std::fs;
use std::path::{Path, PathBuf};

use layerprune::files;
use layerprune::onnx::{Model, ModelDigest};
use serde::{Deserialize, Serialize};

use crate::session::Session;
use crate::settings::Settings;
use crate::weights::Role;

const MAGIC: &[u8; 16] = b"layerprune-train";
const VERSION: u32 = 1;

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
    #[error("checkpoint `{}` has format version {found}, this program reads {VERSION}", path.display())]
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
    /// Holds other weights than the model, though its digest agrees.
    #[error("its weights are not those of the model")]
    OtherWeights,
}

/// A training run between two epochs: weights, statistics, momentum and the epoch to go on with.
///
/// The file is 16 bytes of name, a format version, a JSON header, the numbers as little-endian `f32` and a check sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    header: Header,
    data: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Header {
    /// Epochs done.
    epochs: usize,
    model: ModelDigest,
    settings: Settings,
    /// Name, sizes, and whether momentum follows behind the numbers.
    weights: Vec<(String, Vec<usize>, bool)>,
}

impl Header {
    fn numbers(&self) -> Option<usize> {
        self.weights.iter().try_fold(0_usize, |sum, (_, dims, moves)| {
            let len = dims.iter().try_fold(1_usize, |len, &size| len.checked_mul(size))?;
            sum.checked_add(len.checked_mul(1 + usize::from(*moves))?)
        })
    }
}

impl Checkpoint {
    /// Epochs that were done.
    #[must_use]
    pub fn epochs_done(&self) -> usize {
        self.header.epochs
    }

    /// The settings of the run.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.header.settings
    }

    pub(crate) fn take(session: &Session, model: &Model, settings: &Settings, epochs: usize) -> Self {
        let mut data = Vec::new();
        let mut weights = Vec::new();
        for (place, velocity) in places(session) {
            let weight = &session.weights.0[place];
            weights.push((weight.name.clone(), weight.dims.clone(), velocity.is_some()));
            data.extend_from_slice(session.weights.floats(place));
            data.extend(velocity.into_iter().flat_map(|index| &session.velocity[index]));
        }
        let header = Header { epochs, model: model.digest(), settings: settings.clone(), weights };
        Self { header, data }
    }

    /// Puts the numbers back; gives the epoch to go on with.
    pub(crate) fn restore(
        &self,
        session: &mut Session,
        model: &Model,
        settings: &Settings,
    ) -> Result<usize, CheckpointError> {
        let expected = model.digest();
        if self.header.model != expected {
            return Err(CheckpointError::OtherModel { found: self.header.model.clone(), expected });
        }
        same_settings(&self.header.settings, settings)?;
        let places = places(session);
        let equal = places.len() == self.header.weights.len()
            && self.header.weights.iter().zip(&places).all(|((name, dims, moves), (place, velocity))| {
                let weight = &session.weights.0[*place];
                *name == weight.name && *dims == weight.dims && *moves == velocity.is_some()
            });
        if !equal || self.header.numbers() != Some(self.data.len()) {
            return Err(CheckpointError::OtherWeights);
        }
        let mut rest = &self.data[..];
        let mut fill = |to: &mut [f32]| {
            let (numbers, behind) = rest.split_at(to.len());
            to.copy_from_slice(numbers);
            rest = behind;
        };
        for (place, velocity) in places {
            fill(session.weights.floats_mut(place));
            if let Some(index) = velocity {
                fill(&mut session.velocity[index]);
            }
        }
        Ok(self.header.epochs)
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

/// Trained weights and statistics, with the index of their momentum.
fn places(session: &Session) -> Vec<(usize, Option<usize>)> {
    let weights = session.weights.0.iter().enumerate();
    let kept = weights.filter(|(_, weight)| weight.role != Role::Fixed);
    kept.map(|(place, _)| (place, session.trained.iter().position(|&trained| trained == place))).collect()
}

fn same_settings(found: &Settings, expected: &Settings) -> Result<(), CheckpointError> {
    if found == expected {
        return Ok(());
    }
    let json = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let (there, here) = (json(found), json(expected));
    let fields = here.as_object().into_iter().flatten();
    let differing = fields.map(|(name, here)| (name, &there[name], here)).find(|(_, there, here)| there != here);
    let (setting, found, expected) = match differing {
        Some((name, there, here)) => (name.clone(), there.to_string(), here.to_string()),
        None => ("settings".to_owned(), format!("{found:?}"), format!("{expected:?}")),
    };
    Err(CheckpointError::OtherSettings { setting, found, expected })
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
