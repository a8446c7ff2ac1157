use std::fmt::Write as _;
use std::path::Path;

use super::super::{NEWEST_OPSET, OPS, Role};

const INTRODUCTION: &str = "\
# Supported operators

Generated from the operator table; `UPDATE=1 cargo test -p layerprune supported_ops` rewrites this page.

Any other operator, version or attribute is a barrier: the model is still read and written as it is, but nothing that
touches such a node is pruned, and the reason is printed. The operators are those of ONNX's default domain.

| operator | opsets | attributes | role |
|---|---|---|---|
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for rule in OPS {
        let role = match rule.role {
            Role::Weighted => "weighted",
            Role::Norm => "norm",
            Role::Activation => "activation",
            Role::Add => "add",
            Role::Pool => "pool",
            Role::Other => "other",
        };
        let attributes: Vec<String> = rule.attributes.iter().map(|name| format!("`{name}`")).collect();
        let (first, last) = rule.opsets;
        let link = format!("https://onnx.ai/onnx/operators/onnx__{}.html", rule.op_type);
        let name = rule.op_type;
        writeln!(page, "| [{name}]({link}) | {first}–{last} | {} | {role} |", attributes.join(", "))
            .expect("text grows without errors");
    }
    page
}

#[test]
fn supported_ops_page_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SUPPORTED-OPS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).expect("docs/SUPPORTED-OPS.md can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/SUPPORTED-OPS.md is there");
    assert!(written == page(), "run `UPDATE=1 cargo test -p layerprune supported_ops`");
    assert!(OPS.iter().all(|rule| rule.opsets.1 <= NEWEST_OPSET));
}
