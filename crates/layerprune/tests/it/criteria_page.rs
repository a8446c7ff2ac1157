//! docs/CRITERIA.md is made of the table of criteria and their doc comments.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use layerprune::criteria::{CRITERIA, Criterion};
use layerprune::evidence::Need;

const INTRODUCTION: &str = "\
# Criteria

Generated from the table of criteria and their doc comments; `UPDATE=1 cargo test -p layerprune criteria_page` rewrites this
page.

A higher score is more important. A criterion of filters scores a layer by the mean over its filters,
`s_l = (1/|F|) Σ_f s_f`, and a block by the convolutions whose channels end inside it: all but the last of its branch, a
bottleneck by the mean of its two. `--normalize-scores` changes the scores of filters before that mean: `none` is as
published, `per-param` divides by the number of weights of the filter, `max` by the greatest of the layer, `rank` takes the
rank among all filters of the model.

`A+B` is the rank ensemble: the sum of the places that a layer has by A and by B, the least important being 0. `ensemble` is
that of `taylor-weight`, `weight-norm`, `feature-maps`, `taylor-gate` and `batch-norm-scale`, as Elkerdawy et al. use it.

**How far to trust a score.** Accuracies carry binomial intervals, gains those of paired differences; what is averaged over
batches carries the 95 % interval that ten parts of the batches give by Student's distribution, where there are at least two
batches. A layer whose interval overlaps that of the next higher one is marked `≈`: these scores do not tell which of the two
matters more. That is careful: intervals may overlap a little where a test of the difference would tell. Scores of the weights
alone have no interval, which doesn't make them right: `score --compare` holds them against the yardstick,
`leave-one-out`.

**What it costs.** Everything that is read of values inside the model comes from one pass over the data, everything that is
read of gradients from another one, whatever the number of criteria; `linear-probe` goes through the images several times,
`leave-one-out` cuts, recalibrates and evaluates the model once for each layer. `--samples`, `--samples-per-class` and
`--batches` bound the passes over training images; held-out images are all looked at (`--held-out` is their share). Memory doesn't grow with the number of images: 8 · layers · classes · embedding length bytes for
`imprint`, 12 for `linear-probe`, 80 for each filter and statistic, 320 for each layer and comparison, and the values looked
at of one batch, which has fewer images where these would take more than 256 MiB. A pass over gradients takes what a training step
of `--score-batch` images takes. Only `leave-one-out` keeps something for each held-out image: about 25 bytes.

| criterion | a score says | filters | reads |
|---|---|---|---|
";

fn reads(criterion: &Criterion) -> String {
    let data = match criterion.need() {
        None => return "weights".to_owned(),
        Some(Need::Imprint | Need::Probes) => "values inside, labels",
        Some(Need::Filters(statistic)) if statistic.needs_gradients() => "gradients, labels",
        Some(Need::Filters(_) | Need::Cosines | Need::Kernels) => "values inside",
        Some(Need::Removals) => "the model without each layer, labels",
    };
    data.to_owned()
}

/// The doc comments of all criteria, by id.
fn comments() -> BTreeMap<String, String> {
    let mut comments = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/criteria");
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut comment = String::new();
        let mut is_criterion = false;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("///") {
                comment.push_str(rest.strip_prefix(' ').unwrap_or(rest));
                comment.push('\n');
            } else if line.starts_with("pub static ") && line.contains(": Criterion = ") {
                is_criterion = true;
            } else if let (true, Some(id)) = (is_criterion, line.trim().strip_prefix("id: \"")) {
                comments.insert(id.trim_end_matches("\",").to_owned(), std::mem::take(&mut comment));
                is_criterion = false;
            } else if !is_criterion {
                comment.clear();
            }
        }
    }
    comments
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for criterion in CRITERIA {
        let filters = if criterion.filters.is_some() { "yes" } else { "" };
        let unfolded = if criterion.batch_norm { ", unfolded batch norms" } else { "" };
        let (id, measures, reads) = (criterion.id, criterion.measures, reads(criterion));
        writeln!(page, "| [`{id}`](#{id}) | {measures} | {filters} | {reads}{unfolded} |").unwrap();
    }
    let comments = comments();
    assert_eq!(comments.len(), CRITERIA.len(), "every criterion has a doc comment, and nothing else is found");
    for criterion in CRITERIA {
        let comment = &comments[criterion.id];
        for heading in ["# Measures", "# Needs", "# Reference"] {
            assert!(comment.contains(heading), "`{}` has no `{heading}`", criterion.id);
        }
        let comment = comment
            .replace("# Measures\n", "\n**Measures.** ")
            .replace("# Needs\n", "\n**Needs.** ")
            .replace("# Reference\n", "\n**Reference.** ");
        let comment = comment.replace("\n\n\n", "\n\n");
        write!(page, "\n## {}\n\n{comment}", criterion.id).unwrap();
    }
    page
}

#[test]
fn criteria_page_is_that_of_the_table_and_the_doc_comments() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CRITERIA.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).expect("docs/CRITERIA.md can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/CRITERIA.md is there");
    assert!(written == page(), "run `UPDATE=1 cargo test -p layerprune criteria_page`");
}
