/// Why a text isn't a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The text is JSON, but says nothing of a schema.
    #[error("this isn't a record: it has no field `schema`")]
    NoSchema,
    /// The record was written by another version.
    #[error("the record has schema {found}, this version reads schema {known}")]
    OtherSchema {
        /// What the file says, as JSON.
        found: String,
        /// What is read here.
        known: u32,
    },
    /// The text isn't JSON, is cut off, or a field isn't what the schema says.
    #[error("the record can't be read at line {line}, column {column}")]
    Malformed {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
        /// What is wrong there.
        #[source]
        source: serde_json::Error,
    },
}

impl RecordError {
    pub(super) fn malformed(source: serde_json::Error) -> Self {
        Self::Malformed { line: source.line(), column: source.column(), source }
    }
}
