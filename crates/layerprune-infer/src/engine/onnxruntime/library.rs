//! Finds the shared library, once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ort::environment::Environment;

use crate::error::InferError;

/// The variable that names the library.
const VARIABLE: &str = "ORT_DYLIB_PATH";

static GIVEN: OnceLock<PathBuf> = OnceLock::new();
static LOADED: OnceLock<Result<Runtime, String>> = OnceLock::new();

struct Runtime {
    environment: Environment,
    version: String,
}

/// Says where ONNX Runtime's shared library is. Without this it is looked for in the environment variable
/// `ORT_DYLIB_PATH`, in an installed Python package `onnxruntime`, and where the system keeps libraries. Only what is said
/// before the engine's first use counts.
pub fn use_onnxruntime_library(path: &Path) {
    let _ = GIVEN.set(path.to_owned());
}

pub(super) fn environment() -> Result<&'static Environment, InferError> {
    match LOADED.get_or_init(load) {
        Ok(runtime) => Ok(&runtime.environment),
        Err(reason) => Err(InferError::OnnxRuntime { reason: reason.clone() }),
    }
}

/// The library's version; "not loaded" where there is none.
pub(super) fn version() -> String {
    match LOADED.get_or_init(load) {
        Ok(runtime) => runtime.version.clone(),
        Err(_) => "not loaded".to_owned(),
    }
}

fn load() -> Result<Runtime, String> {
    let (path, from) = find();
    // The library's path is taken as relative to the program otherwise.
    let path = if path.is_file() { std::path::absolute(&path).unwrap_or(path) } else { path };
    let builder = ort::init_from(&path).map_err(|error| format!("{error} ({from})"))?;
    let environment = builder.with_telemetry(false).build().map_err(|error| error.to_string())?;
    Ok(Runtime { environment, version: version_of(ort::info(), &path) })
}

fn find() -> (PathBuf, &'static str) {
    if let Some(path) = GIVEN.get() {
        return (path.clone(), "the library that was given");
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return (path.into(), "the library that ORT_DYLIB_PATH names");
    }
    if let Some(path) = in_python() {
        return (path, "the library of the Python package `onnxruntime`");
    }
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let text = "name the library, or install the Python package `onnxruntime`, which carries one";
    (name.into(), text)
}

/// The library that the installed Python package carries.
fn in_python() -> Option<PathBuf> {
    // The current folder is no place to take a library from.
    let script = "import sys; sys.path = [p for p in sys.path if p]; import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";
    let folder = ["python3", "python"].iter().find_map(|python| {
        let output = Command::new(python).args(["-c", script]).output().ok().filter(|done| done.status.success())?;
        let folder = String::from_utf8(output.stdout).ok()?;
        Some(PathBuf::from(folder.trim()).join("capi"))
    })?;
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bare = name.trim_start_matches("lib");
        let shared = name.contains(".so") || name.ends_with(".dylib") || name.ends_with(".dll");
        (bare.starts_with("onnxruntime.") || bare.starts_with("onnxruntime-")) && shared
    };
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_library).min()
}

/// From what the library says of its build (`git-branch=rel-1.32.0`), else from its file name
/// (`libonnxruntime.so.1.32.0`).
fn version_of(build: &str, path: &Path) -> String {
    let number = |text: &str| {
        let number: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let number = number.trim_matches('.').to_owned();
        (number.split('.').count() == 3).then_some(number)
    };
    let in_build = build.split("rel-").nth(1).and_then(number);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let in_name = name.find(|c: char| c.is_ascii_digit()).and_then(|place| number(&name[place..]));
    in_build.or(in_name).unwrap_or_else(|| "of unknown version".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_build_or_of_the_file() {
        let build = "ORT Build Info: git-branch=rel-1.32.0, git-commit-id=26250ae, build type=Release";
        assert_eq!(version_of(build, Path::new("libonnxruntime.so")), "1.32.0");
        assert_eq!(version_of("git-branch=HEAD", Path::new("/lib/libonnxruntime.so.1.31.2")), "1.31.2");
        assert_eq!(version_of("", Path::new("libonnxruntime.1.9.0.dylib")), "1.9.0");
        assert_eq!(version_of("", Path::new("onnxruntime.dll")), "of unknown version");
    }
}
