//! docs/METHODS.md is made of the table of methods.

use std::fmt::Write as _;
use std::path::Path;

use layerprune::methods::{METHODS, Then};

const INTRODUCTION: &str = "\
# Methods

Generated from the table of methods; `UPDATE=1 cargo test -p layerprune methods_page` rewrites this page.

`layerprune prune MODEL --method NAME` takes parts out as a published method does, until the budgets are met that are given:
`--latency-reduction`, `--max-latency`, `--speedup`, `--macs`, `--params`, also several. All obey the same limits (`--protect`,
`--only`, `--floor`, `--round-to`, `--drop-branches`, `--shrink-chains`). What is finished on the way (scores, times, trained
stages) is kept in a folder beside the output, `OUTPUT.NAME`, so that the same command goes on after a kill; it goes when the
output is written. `layerprune study` compares methods on one model: the same budgets, training and seeds for all.

Every method stops at the first cut whose measured reduction is certain: the lower end of its interval keeps to the budget, also
in a last, longer measurement. Whole layers are coarse, so that their cuts often save more than was asked for.

| method | removes | what it does |
|---|---|---|
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let removes = |removes| serde_json::json!(removes).as_str().unwrap_or_default().to_owned();
    for method in METHODS {
        writeln!(page, "| [`{0}`](#{0}) | {1} | {2} |", method.name, removes(method.removes), method.about).unwrap();
    }
    for method in METHODS {
        let then = match method.then {
            Then::FineTuning => "fine-tuning by labels",
            Then::Distillation => "fine-tuning by labels and by what the whole model says",
            Then::Scratch => "training from random weights at the compute that the whole model would take",
        };
        let (name, source, needs, differs) = (method.name, method.source, method.needs, method.differs);
        write!(
            page,
            "\n## {name}\n\n**Source.** {source}.\n\n**Needs.** {needs}.\n\n**Differs.** {differs}.\n\n**Then.** {then}.\n"
        )
        .unwrap();
    }
    page
}

#[test]
fn methods_page_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/METHODS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).expect("docs/METHODS.md can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/METHODS.md is there");
    assert!(written == page(), "run `UPDATE=1 cargo test -p layerprune methods_page`");
}
