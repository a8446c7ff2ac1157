/// Why a text isn't a record, or not what else was asked for (`form`), such as a sweep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The text is JSON, but says nothing of a schema.
    #[error("this isn't a {form}: it has no field `schema`")]
    NoSchema {
        /// What was asked for.
        form: &'static str,
    },
    /// The file was written by another version.
    #[error("the {form} has schema {found}, this version reads schema {known}")]
    OtherSchema {
        /// What was asked for.
        form: &'static str,
        /// What the file says, as JSON.
        found: String,
        /// What is read here.
        known: u32,
    },
    /// The text isn't JSON, is cut off, or a field isn't what the schema says.
    #[error("the {form} can't be read at line {line}, column {column}")]
    Malformed {
        /// What was asked for.
        form: &'static str,
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
        /// What is wrong there.
        #[source]
        source: serde_json::Error,
    },
}
