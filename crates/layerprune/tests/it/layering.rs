//! Data flows one way: a module imports only from those before it.

use std::fs;
use std::path::Path;

/// Modules of the library from the file to the report.
const ORDER: &[&str] = &[
    "files", "proto", "stats", "graph", "onnx", "ops", "shapes", "cost", "analysis", "batch", "evidence", "fit",
    "record", "criteria", "plan", "surgery", "pipeline", "methods", "report",
];

#[test]
fn modules_import_only_from_modules_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for (place, module) in ORDER.iter().enumerate() {
        let mut files = Vec::new();
        let folder = src.join(module);
        if folder.is_dir() {
            collect(&folder, &mut files)
        } else {
            files.push(src.join(format!("{module}.rs")))
        }
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                for imported in imports(line) {
                    let at = ORDER.iter().position(|known| *known == imported);
                    let at = at.unwrap_or_else(|| panic!("module `{imported}` has no place in the order"));
                    assert!(at <= place, "{}:{}: `{module}` imports from `{imported}`", file.display(), number + 1);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} imports were found: the check looks in the wrong place");
}

#[test]
fn every_module_has_a_place_in_the_order() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut modules: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|line| line.trim_end_matches(';')).collect();
    let mut order = ORDER.to_vec();
    modules.sort_unstable();
    order.sort_unstable();
    assert_eq!(modules, order);
}

fn imports(line: &str) -> impl Iterator<Item = &str> {
    let paths = if line.trim_start().starts_with("//") { "" } else { line };
    paths.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
