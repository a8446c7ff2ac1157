//! Patterns of names, as settings give them.

use globset::{Glob, GlobMatcher};

use crate::error::TrainError;
use crate::settings::refuse;

/// Globs whose `*` also stands for dots and slashes.
pub(crate) fn patterns(setting: &'static str, texts: &[String]) -> Result<Vec<GlobMatcher>, TrainError> {
    let pattern = |text: &String| match Glob::new(text) {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(_) => refuse(setting, text, "a pattern of names such as `layer1.*`"),
    };
    texts.iter().map(pattern).collect()
}
