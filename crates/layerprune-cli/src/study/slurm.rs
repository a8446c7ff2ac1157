//! Hands jobs to Slurm.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::CannotBeDone;
use crate::output::write_file;

/// Jobs of an array at most: Slurm takes numbers up to 1000 unless it is set up otherwise.
const ARRAY: usize = 1000;

/// How jobs are handed over.
pub(crate) struct Slurm<'a> {
    /// What this program is to be called with for a job, without the job.
    pub(crate) arguments: Vec<OsString>,
    /// A folder for lists of jobs and for what they print.
    pub(crate) folder: PathBuf,
    /// So many jobs at once, where that is limited.
    pub(crate) at_once: Option<usize>,
    /// Options for sbatch.
    pub(crate) options: &'a [String],
}

/// An array of jobs that Slurm has taken.
#[derive(Debug, Serialize)]
pub(crate) struct Submitted {
    /// Slurm's number of it.
    pub(crate) array: String,
    pub(crate) jobs: usize,
}

impl Slurm<'_> {
    /// Submits the jobs with these keys.
    pub(crate) fn submit(&self, keys: &[&str]) -> Result<Vec<Submitted>> {
        let folder = &self.folder;
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        keys.chunks(ARRAY).map(|keys| self.submit_array(keys)).collect()
    }

    fn submit_array(&self, keys: &[&str]) -> Result<Submitted> {
        // Arrays that still wait go on to read their own list.
        let name = blake3::hash(keys.join("\n").as_bytes()).to_hex()[..16].to_owned();
        let at = |extension: &str| self.folder.join(format!("{name}.{extension}"));
        write_file(&at("keys"), &(keys.join("\n") + "\n"))?;
        write_file(&at("sh"), &self.script(&at("keys"))?)?;
        let limit = self.at_once.map_or_else(String::new, |jobs| format!("%{jobs}"));
        let mut command = Command::new("sbatch");
        command.args(["--parsable", "--job-name=layerprune"]).arg(format!("--array=1-{}{limit}", keys.len()));
        // Slurm replaces what follows a `%`, but for a second one.
        let folder = text(self.folder.as_os_str())?.replace('%', "%%");
        command.arg(format!("--output={folder}/%A_%a.log"));
        command.args(self.options).arg(at("sh"));
        let done = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => CannotBeDone(
                "`sbatch` is not installed here; run this where jobs are submitted, or see `--list-jobs`".to_owned(),
            )
            .into(),
            _ => anyhow::Error::new(error).context("cannot start `sbatch`"),
        })?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            return Err(CannotBeDone(format!("sbatch did not take the jobs: {said}")).into());
        }
        // `NUMBER`, or `NUMBER;CLUSTER`.
        let array = String::from_utf8_lossy(&done.stdout).trim().split(';').next().unwrap_or_default().to_owned();
        Ok(Submitted { array, jobs: keys.len() })
    }

    /// Does the job whose number in the list Slurm says.
    fn script(&self, keys: &Path) -> Result<String> {
        let here = env::current_dir().context("cannot tell the folder that this runs in")?;
        let program = env::current_exe().context("cannot find this program")?;
        let call = [program.as_os_str()].into_iter().chain(self.arguments.iter().map(OsString::as_os_str));
        let call = call.map(quoted).collect::<Result<Vec<String>>>()?.join(" ");
        let (keys, here) = (quoted(here.join(keys).as_os_str())?, quoted(here.as_os_str())?);
        Ok(format!(
            "#!/bin/sh\ncd {here} || exit\nkey=$(sed -n \"${{SLURM_ARRAY_TASK_ID}}p\" {keys}) || exit\nexec {call} --job \"$key\"\n"
        ))
    }
}

/// A word as the shell takes it without change.
fn quoted(word: &OsStr) -> Result<String> {
    Ok(format!("'{}'", text(word)?.replace('\'', r"'\''")))
}

/// What a script and Slurm's options can say.
fn text(word: &OsStr) -> Result<&str> {
    let fault = || CannotBeDone(format!("`{}` is not UTF-8, which jobs for Slurm have to be", word.display())).into();
    word.to_str().ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_calls_this_program_with_words_as_they_are() {
        let arguments =
            ["study", "it's mine.toml", "--engine", "command:echo $(wc -c < {model})"].map(OsString::from).to_vec();
        let slurm = Slurm { arguments, folder: PathBuf::new(), at_once: None, options: &[] };
        let script = slurm.script(Path::new("study/slurm/1.keys")).unwrap();
        let call = r#" 'study' 'it'\''s mine.toml' '--engine' 'command:echo $(wc -c < {model})' --job "$key""#;
        assert!(script.trim_end().ends_with(call), "{script}");
        assert!(script.contains("/study/slurm/1.keys'"), "{script}");
    }
}
