use insta::assert_snapshot;

use crate::nets;
use crate::place::Place;
use crate::run::{RECIPE, recipe};

#[test]
fn a_record_becomes_a_page_by_the_extension_asked_for() {
    let place = Place::with_data(&nets::residual());
    recipe(&place, "recipe.toml", RECIPE);
    place.ok("run recipe.toml --quiet");
    for (name, begins) in [("a.html", "<!DOCTYPE html>"), ("a.md", "# "), ("a.csv", "")] {
        place.ok(&format!("report out/record.json -o {name}"));
        let page = String::from_utf8(place.bytes(name)).unwrap();
        assert!(page.starts_with(begins) && page.len() > 200, "{name}: {page}");
        assert!(page.contains("layer1.1"), "{name}: {page}");
    }
    assert_eq!(place.bytes("a.html"), place.bytes("out/report.html"));
    assert_eq!(place.bytes("a.md"), place.bytes("out/report.md"));
    place.ok("report out/record.json -o b.htm");
    assert_eq!(place.bytes("b.htm"), place.bytes("a.html"));
}

#[test]
fn another_extension_is_wrong_usage() {
    let place = Place::new();
    place.write("record.json", "{}");
    assert_snapshot!(place.run("report record.json -o report.txt"), @r#"
    exit status: 2
    ----- stderr
    error: `report.txt` should end in .html, .md or .csv
    "#);
    place.run("report record.json -o report").fails(2, &["error: `report` should end in .html, .md or .csv"]);
}

#[test]
fn a_broken_record_is_refused() {
    let place = Place::new();
    for record in ["", "{}", "[]", "{\"schema\": 99}", "{\"schema\": 1, \"tool\": 3}"] {
        place.write("record.json", record);
        let done = place.run("report record.json -o report.md");
        done.fails(1, &["error: cannot use the record `record.json`\n  because: "]);
    }
    assert_eq!(place.names(), ["record.json"]);
    place.run("report none.json -o report.md").fails(1, &["error: cannot use the record `none.json`"]);
}
