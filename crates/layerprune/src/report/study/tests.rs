use super::data::{Data, Origin};
use super::html::CHARTS;
use super::samples::{self, row};
use super::summary::found;
use super::{study_csv, study_headline, study_html, study_markdown};
use crate::record::{Study, StudyRow, TimedBy};
use crate::stats;

/// What the page's script reads.
fn drawn(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script id=\"study-data\" type=\"application/json\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn of(rows: Vec<StudyRow>) -> Study {
    Study { baseline: samples::full().baseline, rows, ..samples::empty() }
}

#[test]
fn every_number_that_is_drawn_is_that_of_the_record() {
    let data = shows_its_record(&samples::full());
    let models = data["models"].as_array().unwrap();
    assert_eq!(models.len(), 1 + 144 + 200 + 2);
    assert_eq!(models[0]["top1"], 93.4);
}

#[test]
fn pages_of_real_records_are_small_and_show_their_numbers() {
    for (name, study) in samples::real() {
        shows_its_record(&study);
        let bytes = study_html(&study).len();
        println!("{name}: {bytes} bytes");
        assert!(bytes < 5_000_000, "{name}: {bytes} bytes");
    }
}

/// Holds what the page draws against the record; gives what is drawn.
fn shows_its_record(study: &Study) -> serde_json::Value {
    let data = drawn(&study_html(study));
    let timed = study.timed();
    let models = data["models"].as_array().unwrap();
    assert_eq!(models.len(), 1 + study.rows.len() + study.random.len() + study.handcrafted.len());
    for (model, row) in models[1..].iter().zip(study.rows.iter().chain(&study.random)) {
        assert_eq!((model["arm"].as_str(), model["file"].as_str()), (Some(row.arm.as_str()), Some(row.file.as_str())));
        assert_eq!((model["seed"].as_u64(), model["filters"].as_u64()), (Some(row.seed), Some(row.filters as u64)));
        assert_eq!(model["parameters"].as_u64(), Some(row.parameters));
        assert_eq!(model["top1"].as_f64(), row.accuracy.as_ref().map(|accuracy| accuracy.top1.percent));
        for (by, drawn) in timed.iter().zip(model["timed"].as_array().unwrap()) {
            let latency = by.find(&row.latency).unwrap();
            assert_eq!(drawn["reduction"], latency.latency_reduction_percent);
            assert_eq!(drawn["interval"], serde_json::json!(latency.latency_reduction_interval));
            assert_eq!(drawn["ms"], serde_json::json!([latency.candidate.median_ms, latency.baseline.median_ms]));
        }
        let lost = model["lost"].as_array().unwrap().iter().map(|at| &data["layers"][at.as_u64().unwrap() as usize]);
        assert_eq!(lost.collect::<Vec<_>>(), row.layers.iter().collect::<Vec<_>>());
    }
    for (drawn, scores) in data["scores"].as_array().unwrap().iter().zip(&study.scores) {
        for (drawn, score) in drawn["rows"].as_array().unwrap().iter().zip(&scores.rows) {
            assert_eq!(drawn["score"].as_f64(), Some(score.score));
            let accuracy =
                score.accuracy.as_ref().map(|of| serde_json::json!([of.percent, of.interval[0], of.interval[1]]));
            assert_eq!(drawn["accuracy"], accuracy.unwrap_or_default());
        }
    }
    data
}

#[test]
fn boxes_and_means_are_those_of_the_models_by_lot() {
    let study = samples::full();
    let data = Data::of(&study);
    for (by, timed) in study.timed().iter().enumerate() {
        for lot in &data.lots {
            let rows = || study.random.iter().filter(|row| row.removes == lot.removes);
            let reduction = |row: &StudyRow| timed.find(&row.latency).unwrap().latency_reduction_percent;
            let reductions: Vec<f64> = rows().map(reduction).collect();
            let spread = lot.spread[by].as_ref().unwrap();
            assert_eq!(spread.count, 100);
            for (number, q) in spread.five.iter().zip([0.0, 0.25, 0.5, 0.75, 1.0]) {
                assert_eq!(Some(*number), stats::quantile(&reductions, q));
            }
            let top1: Vec<f64> = rows().filter_map(|row| Some(row.accuracy.as_ref()?.top1.percent)).collect();
            let trained = lot.trained[by].as_ref().unwrap();
            assert_eq!((trained.count, trained.top1[0]), (40, stats::mean(&top1)));
            assert_eq!(trained.reduction[0], stats::mean(&reductions[..40]));
        }
    }
}

#[test]
fn the_front_holds_what_no_other_beats() {
    let rows = [(90.0, 20.0), (92.0, 20.0), (91.0, 30.0), (91.0, 10.0), (94.0, -3.0), (80.0, 40.0)];
    let rows =
        rows.iter().enumerate().map(|(seed, (top1, reduction))| row("a", "layers", seed as u64, *top1, *reduction));
    let data = Data::of(&of(rows.collect()));
    // The whole model, 93.4 % at 0, is the first of all; the slower and more accurate one is before it.
    assert_eq!(data.fronts, [[5, 0, 2, 3, 6]]);
    assert_eq!(data.models[0].origin, Origin::Whole);
}

#[test]
fn tables_state_the_means_and_mark_the_best() {
    let rows = vec![
        row("layerprune:taylor-gate", "layers", 0, 90.0, 26.0),
        row("layerprune:taylor-gate", "layers", 1, 92.0, 28.0),
        row("sss", "layers", 0, 89.0, 25.0),
        row("taylor", "filters", 0, 90.5, 31.25),
    ];
    let page = study_html(&of(rows));
    let table = page.split_once("id=\"arms\"").unwrap().1.split_once("</table>").unwrap().0;
    assert!(table.contains("<strong>91.00 ± 1.41</strong>"), "{table}");
    assert!(table.contains("<td class=\"n\">27.0 ± 1.4</td>"), "{table}");
    assert!(table.contains("<strong>31.2</strong>"), "{table}");
    let at = |arm: &str| table.find(&format!("<th scope=\"row\">{arm}</th>")).unwrap();
    assert!(at("layerprune:taylor-gate") < at("taylor") && at("taylor") < at("sss"), "one criterion stands together");
}

#[test]
fn the_summary_says_who_is_ahead_and_where_nobody_is() {
    let verdict = |rows: Vec<StudyRow>| found(&of(rows)).remove(0).verdict;
    let pair = |layers: [f64; 2], filters: [f64; 2]| {
        let of = |arm: &'static str, removes: &'static str, top1: [f64; 2]| {
            top1.into_iter().enumerate().map(move |(seed, top1)| row(arm, removes, seed as u64, top1, 25.0))
        };
        of("layerprune", "layers", layers).chain(of("taylor", "filters", filters)).collect::<Vec<_>>()
    };
    assert_eq!(verdict(pair([91.0, 91.2], [90.0, 90.2])), "Layer pruning is ahead by 1.00 points of top-1.");
    assert_eq!(
        verdict(pair([90.0, 90.2], [91.0, 91.2])),
        "Layer pruning does not win here: filter pruning is ahead by 1.00 points of top-1."
    );
    assert_eq!(
        verdict(pair([90.0, 91.0], [91.0, 91.4])),
        "Layer and filter pruning cannot be told apart: their best differ by 0.70 points of top-1, within the spread over seeds \
             (±0.76)."
    );
    assert_eq!(
        found(&of(pair([91.0, 91.2], [90.0, 90.2]))).remove(0).latency,
        "Latency falls by 25.0 % with layers removed, by 25.0 % with filters."
    );
    // One seed each: 10000 images tell 0.5 points from nothing no better than this.
    let single = vec![row("layerprune", "layers", 0, 90.5, 25.0), row("taylor", "filters", 0, 90.0, 25.0)];
    assert!(verdict(single).contains("within the uncertainty of 10000 test images (one seed)"));
}

#[test]
fn the_summary_says_what_it_costs_and_where_it_is_of_no_use() {
    let account = |row: StudyRow| found(&of(vec![row])).remove(0).best.remove(0).1;
    let mut one = row("layerprune", "layers", 0, 91.4, 26.0);
    one.layers = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(
        account(one.clone()),
        "2 layers or blocks went. Top-1 91.40 % (−2.00 points against the whole model); latency 26.0 % lower at batch 1. Worth it \
         where 2.00 points may be lost."
    );
    one.latency[0].latency_reduction_percent = -1.0;
    assert!(account(one).ends_with("Not worth it: it is nowhere faster."));
    let same = row("layerprune", "layers", 0, 93.3, 26.0);
    assert!(account(same).ends_with("Worth it: what it loses is within the uncertainty of the test images."));
}

#[test]
fn names_are_escaped_in_the_page_and_in_its_numbers() {
    let hostile = || "</script><!--<script><img onerror=x>&\"\u{2028}'".to_owned();
    let mut study = samples::full();
    study.model.path = hostile();
    study.commands = vec![hostile()];
    study.layers[3].name = hostile();
    study.scores[0].criterion = hostile();
    let one = &mut study.rows[0];
    (one.arm, one.budget, one.file, one.removes) = (hostile(), hostile(), hostile(), hostile());
    one.layers.push(hostile());
    one.latency[0].engine.name = hostile();
    study.handcrafted[0].name = hostile();
    study.failures[0].reason = hostile();
    study.settings = serde_json::json!({ "</pre>": hostile() });
    let page = study_html(&study);
    let own = page.replace(CHARTS, "charts");
    for raw in ["<img", "<!--", "<script><"] {
        assert!(!own.contains(raw), "{raw}");
    }
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (3, 3));
    let data = drawn(&page);
    assert_eq!(data["models"][1]["arm"], hostile());
    assert_eq!(data["layers"][3], hostile());
}

#[test]
fn what_is_absent_leaves_no_part_behind() {
    let headings = |study: &Study| {
        let page = study_html(study);
        let body = page.split_once("<body>").unwrap().1.to_owned();
        body.split("<h2")
            .skip(1)
            .map(|rest| rest.split_once('>').unwrap().1.split_once('<').unwrap().0.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(headings(&samples::empty()), ["Circumstances"]);
    let all = [
        "Summary",
        "Models made by lot",
        "Accuracy against latency",
        "The network",
        "Along the depth",
        "Methods",
        "No model",
        "To make it again",
        "Warnings",
        "Circumstances",
    ];
    assert_eq!(headings(&samples::full()), all);
    let without = |change: fn(&mut Study), gone: &[&str]| {
        let mut study = samples::full();
        change(&mut study);
        let left: Vec<_> = all.into_iter().filter(|name| !gone.contains(name)).collect();
        assert_eq!(headings(&study), left);
    };
    without(|study| study.random.clear(), &["Models made by lot"]);
    without(|study| study.layers.clear(), &["The network"]);
    without(|study| study.failures.clear(), &["No model"]);
    without(|study| study.commands.clear(), &["To make it again"]);
    without(|study| study.rows.clear(), &["Methods", "Warnings"]);
    let none = |study: &mut Study| (study.rows, study.random) = (Vec::new(), Vec::new());
    without(none, &["Summary", "Models made by lot", "Methods", "Warnings"]);
    without(|study| (study.savings, study.handcrafted) = (None, Vec::new()), &[]);
    let mut study = samples::full();
    (study.scores, study.savings) = (Vec::new(), None);
    assert!(!headings(&study).contains(&"Along the depth".to_owned()));
    let one_way = of(vec![row("layerprune", "layers", 0, 90.0, 20.0)]);
    assert!(!study_html(&one_way).contains("<select class=\"timed\""), "one way of timing leaves nothing to choose");
}

#[test]
fn the_page_is_the_same_each_time_small_and_needs_nothing_from_outside() {
    let study = samples::full();
    let page = study_html(&study);
    assert_eq!(page, study_html(&study.clone()));
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    println!("{} bytes", page.len());
    // To look at it.
    if let Some(path) = std::env::var_os("STUDY_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"));
    let own = page.replace(CHARTS, "charts");
    for outside in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!own.contains(outside), "{outside}");
    }
}

#[test]
fn the_page_stands_on_a_headline_and_has_a_table_behind_every_figure() {
    let study = samples::full();
    let page = study_html(&study);
    assert!(page.contains(&study_headline(&study).replace(" %", "\u{a0}%")));
    assert_eq!(page.matches("<figure>").count(), 4);
    assert_eq!(page.matches("<summary>Table of this figure</summary>").count(), 4);
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
    assert_eq!(study.timed().len(), 6);
    assert_eq!(study.timed()[0], TimedBy { engine: "onnxruntime".to_owned(), batch: 1, threads: 2 });
}

#[test]
fn several_processors_are_told_of() {
    let mut study = samples::full();
    let told = "Latencies are of several processors, and differ for that too: 1 model on A, 2 models on B.";
    for (row, cpu) in study.rows.iter_mut().zip(["B", "A", "B"]) {
        row.cpu = Some(cpu.to_owned());
    }
    assert!(study_html(&study).contains(told));
    assert!(study_markdown(&study).contains(told));
    study.rows.iter_mut().for_each(|row| row.cpu = Some("B".to_owned()));
    assert!(!study_html(&study).contains("several processors"));
}

#[test]
fn the_tables_hold_models_by_lot_and_other_networks_too() {
    let study = samples::full();
    let data = drawn(&study_html(&study));
    let text = study_markdown(&study);
    let lot = &data["lots"][0];
    let (five, trained) = (&lot["spread"][0]["five"], &lot["trained"][0]);
    let number = |value: &serde_json::Value, places: usize| format!("{:.places$}", value.as_f64().unwrap());
    let row = text.lines().find(|line| line.starts_with("| layers | ") && line.contains("| 100 |")).unwrap();
    for cell in [number(&five[0], 1), number(&five[2], 1), number(&five[4], 1), trained["count"].to_string()] {
        assert!(row.contains(&format!("| {cell} |")), "{cell}: {row}");
    }
    assert!(row.contains(&format!("| {} ± ", number(&trained["top1"][0], 2))), "{row}");
    let csv = study_csv(&study);
    assert_eq!(csv.lines().count(), 1 + study.rows.len() + study.random.len() + study.handcrafted.len());
    let width = csv.lines().nth(1).unwrap().split(',').count();
    for (one, line) in study
        .handcrafted
        .iter()
        .zip(csv.lines().rev().take(study.handcrafted.len()).collect::<Vec<_>>().into_iter().rev())
    {
        assert!(line.starts_with(&format!("{},,handcrafted,,", one.name)), "{line}");
        assert_eq!(line.split(',').count(), width, "{line}");
        assert!(text.contains(&format!("| {} | ", one.name)), "{text}");
    }
}

#[test]
fn what_takes_both_is_not_the_best_of_filters() {
    let rows = vec![
        row("sss", "layers", 0, 86.0, 26.0),
        row("taylor", "filters", 0, 85.0, 26.0),
        row("halp", "both", 0, 89.0, 26.0),
    ];
    let headline = study_headline(&of(rows));
    assert!(
        headline.ends_with("sss with 86.00 % is best; of what removes filters, taylor with 85.00 %."),
        "{headline}"
    );
}
