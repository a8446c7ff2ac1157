//! Patterns of names, as settings give them.

use globset::{Glob, GlobMatcher};

use crate::error::TrainError;
use crate::settings::refuse;

/// Globs whose `*` also stands for dots and slashes.
pub(crate) struct Patterns(Vec<GlobMatcher>);

impl Patterns {
    /// The patterns that `setting` gives.
    pub(crate) fn read(setting: &'static str, texts: &[String]) -> Result<Self, TrainError> {
        let pattern = |text: &String| match Glob::new(text) {
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(_) => refuse(setting, text, "a pattern of names such as `layer1.*`"),
        };
        Ok(Self(texts.iter().map(pattern).collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(name))
    }

    /// Refuses a pattern of `setting` that matches none of `names`, each of which is a `what`.
    pub(crate) fn expect_matches(
        &self,
        setting: &'static str,
        what: &'static str,
        names: &[&str],
    ) -> Result<(), TrainError> {
        match self.0.iter().find(|pattern| !names.iter().any(|name| pattern.is_match(name))) {
            None => Ok(()),
            Some(pattern) => Err(TrainError::NoSuchTensor {
                setting,
                pattern: pattern.glob().glob().to_owned(),
                what,
                known: listed(names),
            }),
        }
    }
}

/// Names as messages list them.
pub(crate) fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
