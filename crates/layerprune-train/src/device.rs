//! What training computes on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// What training computes on.
///
/// Only values that flow through the graph live there: weights, what the optimiser keeps and its arithmetic stay in main
/// memory, and travel with each step. On the CPU this crate's own kernels run, elsewhere burn's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// All cores of this computer.
    #[default]
    Cpu,
    /// A graphics processor through Vulkan, Metal or Direct3D 12, by its place among those found.
    Wgpu(usize),
    /// A graphics processor through CUDA, by its place among those found.
    Cuda(usize),
}

/// A device made ready.
pub(crate) type Open = burn::tensor::Device;

impl Device {
    /// Whether this program was built with what the device needs.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Wgpu(_) => cfg!(feature = "wgpu"),
            Self::Cuda(_) => cfg!(feature = "cuda"),
        }
    }

    /// The devices of this kind that this computer has, each with its name where it tells one; looks for them.
    #[doc(hidden)]
    #[must_use]
    pub fn found(self) -> Vec<String> {
        self.all().iter().map(name).collect()
    }

    /// The device made ready.
    ///
    /// # Errors
    /// [`TrainError::Device`] where the program was built without what it needs, or the computer has no such device.
    pub(crate) fn open(self) -> Result<Open, TrainError> {
        let (Self::Wgpu(place) | Self::Cuda(place)) = self else { return Ok(Open::flex()) };
        let refuse = |reason| Err(TrainError::Device { device: self, reason });
        if !self.is_built_in() {
            let kind = self.kind();
            return refuse(format!("this program was built without it; `cargo install … --features {kind}` adds it"));
        }
        let all = self.all();
        match all.get(place) {
            Some(device) => Ok(device.clone()),
            None if all.is_empty() => refuse("no such device is found (is its driver installed?)".to_owned()),
            None => {
                let names: Vec<String> =
                    all.iter().enumerate().map(|(place, device)| format!("{place}: {}", name(device))).collect();
                refuse(format!("there are only {}", names.join(", ")))
            }
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu(_) => "wgpu",
            Self::Cuda(_) => "cuda",
        }
    }

    fn all(self) -> Vec<Open> {
        match self {
            Self::Cpu => vec![Open::flex()],
            #[cfg(feature = "wgpu")]
            Self::Wgpu(_) => Open::enumerate(burn::tensor::DeviceType::Wgpu).into_iter().collect(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Open::enumerate(burn::tensor::DeviceType::Cuda).into_iter().collect(),
            #[allow(unreachable_patterns)]
            _ => Vec::new(),
        }
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn name(device: &Open) -> String {
    device.identity().map_or_else(|| format!("{device:?}"), |identity| identity.name)
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn name(device: &Open) -> String {
    format!("{device:?}")
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Cpu | Self::Wgpu(0) | Self::Cuda(0) => Ok(()),
            Self::Wgpu(place) | Self::Cuda(place) => write!(f, ":{place}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, place) = text.split_once(':').unwrap_or((text, "0"));
        let place = place.parse().map_err(|_| format!("`{place}` of `{text}` is not a number"))?;
        match kind {
            "cpu" if !text.contains(':') => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu(place)),
            "cuda" => Ok(Self::Cuda(place)),
            _ => Err(format!("`{text}` is none of cpu, wgpu, cuda; `wgpu:1` is the second of its kind")),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_back_from_their_text() {
        for text in ["cpu", "wgpu", "wgpu:1", "cuda", "cuda:2"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("wgpu:0".parse(), Ok(Device::Wgpu(0)));
        for text in ["gpu", "cpu:1", "wgpu:", "cuda:x", ""] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_with_the_reason() {
        assert!(Device::Cpu.open().is_ok());
        let far = Device::Wgpu(1000).open().unwrap_err().to_string();
        let reason = if cfg!(feature = "wgpu") { "device" } else { "--features wgpu" };
        assert!(far.contains("wgpu:1000") && far.contains(reason) || far.contains("there are only"), "{far}");
    }
}
