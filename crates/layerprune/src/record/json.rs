//! How a record and its like become files: JSON that says its schema first.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::RecordError;

/// The value as indented JSON with a line end. Numbers that aren't finite become `null`.
pub(super) fn write(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("keys are strings");
    text.push('\n');
    text
}

/// Reads what the errors call a `form`, of the schema `known`; fields that this version doesn't know are ignored.
pub(super) fn read<T: DeserializeOwned>(text: &str, form: &'static str, known: u32) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Head {
        schema: Option<serde_json::Value>,
    }
    let malformed = |source: serde_json::Error| RecordError::Malformed {
        form,
        line: source.line(),
        column: source.column(),
        source,
    };
    let head: Head = serde_json::from_str(text).map_err(malformed)?;
    match head.schema {
        None => Err(RecordError::NoSchema { form }),
        Some(schema) if schema == known => serde_json::from_str(text).map_err(malformed),
        Some(schema) => Err(RecordError::OtherSchema { form, found: schema.to_string(), known }),
    }
}

/// JSON has no NaN: it is written as `null`.
pub(super) fn null_as_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
