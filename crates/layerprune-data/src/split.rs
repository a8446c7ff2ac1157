//! How names say which split something belongs to.

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::open::Split;

/// A part of a data set as it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    pub(crate) fn of_word(word: &str) -> Option<Part> {
        match word.to_lowercase().as_str() {
            "train" | "training" => Some(Part::Train),
            "val" | "valid" | "validation" | "dev" => Some(Part::Validation),
            "test" | "testing" => Some(Part::Test),
            _ => None,
        }
    }

    /// By the first word of a file's name that says it, else by the folder that it lies in, if that lies below what the
    /// user named: `/home/dev/shards.tar` is no part.
    fn of_path(path: &Path, above: &Path) -> Option<Part> {
        let words = |name: &str| name.split(|c: char| !c.is_alphabetic()).find_map(Part::of_word);
        let name = path.file_stem()?.to_str().and_then(words);
        let below = path.strip_prefix(above).unwrap_or(path);
        name.or_else(|| Part::of_word(below.parent()?.file_name()?.to_str()?))
    }
}

/// Which part is meant by a split: test goes before validation. `Some(None)` is all of a set that isn't divided, and none
/// is a part that isn't there.
pub(crate) fn choose(parts: impl Iterator<Item = Part>, split: Split) -> Option<Option<Part>> {
    let there: Vec<Part> = parts.fold(Vec::new(), |mut there, part| {
        if !there.contains(&part) {
            there.push(part);
        }
        there
    });
    let wanted: &[Part] = match split {
        Split::Train if there.is_empty() => return Some(None),
        Split::Train => &[Part::Train],
        Split::Test => &[Part::Test, Part::Validation],
    };
    wanted.iter().copied().find(|part| there.contains(part)).map(Some)
}

/// The files of a data set that is divided by their names.
#[derive(Debug)]
pub(crate) struct Shards {
    /// As the user gave them.
    path: PathBuf,
    /// The folder whose name and those above it say nothing of parts.
    above: PathBuf,
    files: Vec<PathBuf>,
}

impl Shards {
    /// A file, the files of a folder and its folders with one of these extensions, or all that braces stand for:
    /// `train-{000..127}.tar`, `{a,b}.tar`.
    pub(crate) fn find(path: &Path, extensions: &[&str]) -> Result<Shards, DataError> {
        let text = path.to_string_lossy();
        let files = if path.is_dir() {
            let mut files = Vec::new();
            collect(path, 1, extensions, &mut files)?;
            files
        } else if path.exists() || !text.contains('{') {
            vec![path.to_owned()]
        } else {
            let files = expand(&text).into_iter().map(PathBuf::from).collect::<Vec<_>>();
            if let Some(missing) = files.iter().find(|file| !file.is_file()) {
                let source = std::io::ErrorKind::NotFound.into();
                return Err(DataError::Read { path: missing.clone(), source });
            }
            files
        };
        if files.is_empty() {
            return Err(DataError::Empty { file: path.display().to_string() });
        }
        let above = if path.is_dir() { path } else { unbraced(path) };
        Ok(Shards { path: path.to_owned(), above: above.to_owned(), files })
    }

    pub(crate) fn of(&self, split: Split) -> Result<Vec<PathBuf>, DataError> {
        let parts: Vec<Option<Part>> = self.files.iter().map(|file| Part::of_path(file, &self.above)).collect();
        if let (Some(stray), Some(part)) =
            (parts.iter().position(Option::is_none), parts.iter().position(Option::is_some))
        {
            let [stray, part] = [stray, part].map(|place| self.files[place].clone());
            return Err(DataError::Undivided { path: stray, part });
        }
        let wanted = choose(parts.iter().flatten().copied(), split).ok_or_else(|| DataError::NoSplit {
            path: self.path.clone(),
            split,
            looked_for: match split {
                Split::Train => "files or folders named train".to_owned(),
                Split::Test => "files or folders named test or val".to_owned(),
            },
        })?;
        let files = self.files.iter().zip(parts).filter(|(_, part)| wanted.is_none() || *part == wanted);
        Ok(files.map(|(file, _)| file.clone()).collect())
    }
}

/// The folder of a file, or the one above the first braces.
fn unbraced(path: &Path) -> &Path {
    let braced = path.ancestors().filter(|path| path.to_string_lossy().contains('{')).last();
    braced.unwrap_or(path).parent().unwrap_or(Path::new(""))
}

fn collect(dir: &Path, depth: usize, extensions: &[&str], files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in crate::imagefolder::entries(dir)? {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, extensions, files)?;
        } else if extensions.iter().any(|known| extension.eq_ignore_ascii_case(known)) {
            files.push(path);
        }
    }
    Ok(())
}

/// All that the braces of a text stand for, as shells have them; text whose braces stand for nothing stays as it is.
pub(crate) fn expand(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![text.to_owned()] };
    let Some(choices) = range(inside)
        .or_else(|| inside.contains(',').then(|| inside.split(',').map(str::to_owned).collect::<Vec<_>>()))
    else {
        return vec![text.to_owned()];
    };
    let tails = expand(after);
    choices.iter().flat_map(|choice| tails.iter().map(move |tail| format!("{before}{choice}{tail}"))).collect()
}

/// The numbers of `000..127`, with as many digits.
fn range(text: &str) -> Option<Vec<String>> {
    /// Most files that a range may stand for.
    const MOST: u32 = 1 << 20;
    let (first, last) = text.split_once("..")?;
    let (from, to) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
    if to.checked_sub(from)? >= MOST {
        return None;
    }
    let digits = if first.starts_with('0') { first.len() } else { 0 };
    Some((from..=to).map(|number| format!("{number:0digits$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_those_of_shells() {
        assert_eq!(expand("a-{08..10}.tar"), ["a-08.tar", "a-09.tar", "a-10.tar"]);
        assert_eq!(expand("{x,y}/{1..2}"), ["x/1", "x/2", "y/1", "y/2"]);
        assert_eq!(expand("plain"), ["plain"]);
        for odd in ["{", "a{b}c", "{3..1}", "{0..99999999}"] {
            assert_eq!(expand(odd), [odd]);
        }
    }

    #[test]
    fn names_of_files_and_folders_say_the_split() {
        let part = |path: &str| Part::of_path(Path::new(path), Path::new(""));
        assert_eq!(part("d/train-00000-of-00002-ab12.parquet"), Some(Part::Train));
        assert_eq!(part("d/imagenet_validation_0001.tar"), Some(Part::Validation));
        assert_eq!(part("d/test/00000.tar"), Some(Part::Test));
        assert_eq!(part("train/val-0.tar"), Some(Part::Validation));
        assert_eq!(part("d/trains-0.tar"), None);
    }

    #[test]
    fn folders_above_what_is_named_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("dev");
        std::fs::create_dir_all(home.join("test")).unwrap();
        let touch = |name: &str| std::fs::write(home.join(name), "").unwrap();
        ["a0.tar", "a1.tar", "test/0.tar"].into_iter().for_each(touch);
        let of = |path: &str, split| Shards::find(&home.join(path), &["tar"]).unwrap().of(split);
        assert_eq!(of("a0.tar", Split::Train).unwrap(), [home.join("a0.tar")]);
        assert!(of("a0.tar", Split::Test).is_err());
        assert_eq!(of("a{0..1}.tar", Split::Train).unwrap().len(), 2);
        assert_eq!(of("{test,test}/0.tar", Split::Test).unwrap().len(), 2);
        assert_eq!(of("test", Split::Train).unwrap(), [home.join("test/0.tar")]);
        let error = of("", Split::Test).unwrap_err().to_string();
        let [stray, part] = ["a0.tar", "test/0.tar"].map(|name| home.join(name).display().to_string());
        assert_eq!(
            error,
            format!(
                "neither the name nor the folder of `{stray}` says its split, as that of `{part}` does; rename it, move it away, or name the files in braces"
            )
        );
    }

    #[test]
    fn test_goes_before_validation_and_what_is_not_divided_is_train() {
        use Part::{Test, Train, Validation};
        let choose = |parts: &[Part], split| choose(parts.iter().copied(), split);
        assert_eq!(choose(&[Train, Validation, Test], Split::Test), Some(Some(Test)));
        assert_eq!(choose(&[Train, Validation], Split::Test), Some(Some(Validation)));
        assert_eq!(choose(&[], Split::Train), Some(None));
        assert_eq!(choose(&[], Split::Test), None);
        assert_eq!(choose(&[Test], Split::Train), None);
    }
}
