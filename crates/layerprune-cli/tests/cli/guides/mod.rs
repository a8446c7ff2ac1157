//! The guide for users: every command on its pages is run as it stands there, in an empty folder that holds what the page says
//! the user has, and says what the page shows.
#![cfg(unix)]

mod page;
mod shown;
mod world;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use page::{Block, Need, Page};
use tempfile::TempDir;

/// A test for each page, so that they run beside each other.
macro_rules! pages {
    ($($test:ident: $file:literal,)*) => {
        const PAGES: &[&str] = &[$($file),*];
        $(#[test]
        fn $test() {
            run($file);
        })*
    };
}

pages! {
    index: "README.md",
    augmentation: "augmentation.md",
    back_to_pytorch: "back-to-pytorch.md",
    budgets: "budgets.md",
    choosing_a_criterion: "choosing-a-criterion.md",
    data: "data.md",
    engines: "engines.md",
    export_pytorch: "export-pytorch.md",
    export_tensorflow: "export-tensorflow.md",
    getting_started: "getting-started.md",
    install: "install.md",
    methods: "methods.md",
    other_devices: "other-devices.md",
    reading_the_report: "reading-the-report.md",
    study: "study.md",
    training: "training.md",
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}

fn read(file: &str) -> Page {
    Page::parse(file, &fs::read_to_string(folder().join(file)).unwrap())
}

#[test]
fn every_page_has_a_test_and_a_line_in_the_index() {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "README.md").collect();
    names.sort_unstable();
    assert_eq!(["README.md".to_owned()].into_iter().chain(names.clone()).collect::<Vec<_>>(), PAGES);
    let index = fs::read_to_string(folder().join("README.md")).unwrap();
    for name in names {
        assert!(index.contains(&format!("({name})")), "the index has no link to {name}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for file in PAGES {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap().split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder().join(target).exists(), "{file} links to {target}, which is not there");
            }
        }
    }
}

#[test]
fn commands_stand_in_blocks_that_are_run_and_nowhere_else() {
    let faults: Vec<_> =
        PAGES.iter().flat_map(|file| read(file).faults().into_iter().map(move |it| (*file, it))).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Runs one page from top to bottom.
fn run(file: &str) {
    let page = read(file);
    let place = TempDir::new().unwrap();
    let home = place.path().join("home");
    fs::create_dir(&home).unwrap();
    for name in &page.given {
        world::make(name, &home);
    }
    // The block whose output is shown next, if it was run, and that output.
    let mut last: Option<String> = None;
    for block in &page.blocks {
        if let Some(name) = &block.file {
            let path = home.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &block.text).unwrap();
        } else if block.language == "sh" {
            last = match missing(&block.needs, place.path()) {
                Some(reason) => {
                    tell(&format!("docs/guide/{file}, line {}: not run: {reason}\n", block.line));
                    None
                }
                None => Some(output(file, block, place.path())),
            };
        } else if let Some(output) = &last
            && let Err(line) = shown::find(&block.text, output)
        {
            panic!("{file}, block at line {}: `{line}` is not, or not there, in\n{output}", block.line);
        }
    }
}

/// Why a block is not run here.
fn missing(needs: &Need, place: &Path) -> Option<String> {
    match needs {
        Need::Nothing => None,
        Need::Never(reason) => Some(reason.clone()),
        Need::Python(modules) => {
            let script = format!("import importlib.util as u; assert all(map(u.find_spec, {modules:?}))");
            let mut python = shell("exec python -c \"$1\"", place);
            let found = python.args(["sh", &script]).stderr(Stdio::null()).status().unwrap().success();
            (!found).then(|| format!("needs Python with {}", modules.join(", ")))
        }
    }
}

/// Runs a block, which must end well; its standard output and error as they came.
fn output(file: &str, block: &Block, place: &Path) -> String {
    let output = shell(&format!("exec 2>&1\n{}", block.text), place).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{file}, block at line {}: {}\n{}\n{said}", block.line, output.status, block.text);
    said
}

/// A shell for a script, in the user's folder, with the program and what stands in for others on its path.
fn shell(script: &str, place: &Path) -> Command {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/guides/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", script])
        .current_dir(place.join("home"))
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("PATH_WITHOUT_STAND_INS", path)
        .env("LAYERPRUNE", env!("CARGO_BIN_EXE_layerprune"))
        .env("BOARD", place.join("board"))
        .env("TMPDIR", place)
        .env("NO_COLOR", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // No test leaves anything in the user's cache, or finds something there.
        .env("XDG_CACHE_HOME", "/dev/null/cache")
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
    shell
}

/// Says something past the capture of tests that pass.
fn tell(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}
