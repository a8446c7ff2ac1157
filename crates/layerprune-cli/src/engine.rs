//! Which engines run and time models.

use std::ffi::OsStr;
use std::fmt;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use layerprune_infer::{CommandEngine, CommandOptions, ENGINES, engine_named};

use crate::Usage;

/// What stands before a command that is to be the engine.
const COMMAND: &str = "command:";

/// An engine of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EngineName {
    /// One of [`ENGINES`].
    Table(&'static str),
    /// A line for the shell, with the model in it.
    Command(String),
}

/// One or more of them.
#[derive(Debug, Clone)]
pub(crate) struct EngineNames(pub(crate) Vec<EngineName>);

/// Takes a name of the table or a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineParser;

/// Takes several with commas, a command last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineNamesParser;

impl TypedValueParser for EngineParser {
    type Value = EngineName;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<EngineName, Error> {
        let text = value.to_string_lossy();
        let Some(line) = text.strip_prefix(COMMAND) else {
            let names: PossibleValuesParser = names().into();
            let name = names.parse_ref(command, arg, value)?;
            return Ok(EngineName::Table(engine_named(&name).expect("all but a command is in the table").name()));
        };
        match CommandEngine::new(CommandOptions::new(line)) {
            Ok(_) => Ok(EngineName::Command(line.to_owned())),
            Err(error) => Err(Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).with_cmd(command)),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(names().into_iter().map(PossibleValue::new)))
    }
}

impl TypedValueParser for EngineNamesParser {
    type Value = EngineNames;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<EngineNames, Error> {
        let text = value.to_string_lossy();
        let mut names = Vec::new();
        let mut rest = &text[..];
        while !rest.starts_with(COMMAND)
            && let Some((name, others)) = rest.split_once(',')
        {
            names.push(EngineParser.parse_ref(command, arg, OsStr::new(name))?);
            rest = others;
        }
        names.push(EngineParser.parse_ref(command, arg, OsStr::new(rest))?);
        Ok(EngineNames(names))
    }
}

fn names() -> Vec<&'static str> {
    ENGINES.iter().map(|engine| engine.name()).chain(["command:LINE"]).collect()
}

impl EngineName {
    /// The engine that a recipe calls `name`; a command can only be given on the command line.
    pub(crate) fn named(name: &str) -> Result<Self, Usage> {
        let known = || ENGINES.iter().map(|engine| engine.name()).collect::<Vec<_>>().join(", ");
        let unknown = || Usage(format!("`latency.engines`: there is no engine `{name}`; known are {}", known()));
        engine_named(name).map(|engine| Self::Table(engine.name())).ok_or_else(unknown)
    }

    /// What tells it from every other engine: results by another one are other results.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Table(name) => name,
            Self::Command(line) => line,
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => f.write_str(name),
            Self::Command(_) => f.write_str("command"),
        }
    }
}
