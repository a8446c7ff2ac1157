use super::*;
use crate::record::{Verdict, Warning};

#[test]
fn a_small_sweep_is_this_page() {
    assert_eq!(sweep_markdown(&samples::small()), include_str!("samples/small.md"));
}

#[test]
fn a_small_sweep_is_one_line_for_each_model() {
    let mut sweep = samples::small();
    sweep.points.drain(1..3);
    sweep.points[0].latency.candidate.median_ms = 0.9;
    assert_eq!(
        sweep_csv(&sweep),
        "budget,file,digest,on frontier,layers removed,channels removed,parameters,macs,latency ms,latency mad ms,\
         baseline latency ms,latency reduction percent,latency reduction low,latency reduction high,\
         speed-up,speed-up low,speed-up high,verdict,images,top-1,top-1 low,top-1 high\n\
         baseline,net_a|b.onnx,,true,,,853018,125485706,,,,,,,,,,,1000,93.4,91.9,94.9\n\
         latency reduction 25 %,25.onnx,blake3:5d41402abc4b2a76,true,1,16,773018,115485706,0.9,0.009,1.2,25,24.5,25.5,\
         1.3333333333333333,1.3245033112582782,1.342281879194631,faster,1000,93,91.5,94.5\n\
         latency reduction 50 %,50.onnx,blake3:5d41402abc4b2a76,false,3,48,613018,95485706,0.6,0.006,1.2,50,49,51,\
         2,1.9607843137254901,2.0408163265306123,faster,,,,\n"
    );
}

#[test]
fn the_same_sweep_gives_the_same_bytes() {
    let sweep = samples::crowded();
    let again = Sweep::from_json(&sweep.to_json()).unwrap();
    assert_eq!(sweep_html(&sweep), sweep_html(&again));
    assert_eq!(sweep_markdown(&sweep), sweep_markdown(&again));
    assert_eq!(sweep_csv(&sweep), sweep_csv(&again));
    assert_eq!(sweep_svg(&sweep), sweep_svg(&again));
}

#[test]
fn the_headline_goes_from_one_end_of_the_frontier_to_the_other() {
    let mut sweep = samples::small();
    assert_eq!(
        sweep_headline(&sweep),
        "2 of 4 models are on the frontier of accuracy against latency: from 25.0 % lower latency at batch 1 \
         (95 % interval 24.5 to 25.5), top-1 −0.4 points (93.4 % to 93.0 %, within the uncertainty of 1000 images); \
         to 41.2 % lower latency at batch 1 (95 % interval 40.1 to 42.3), top-1 −2.9 points (93.4 % to 90.5 %). \
         The accuracy of 1 model was not measured. 1 budget gave no model."
    );
    sweep.points.truncate(1);
    sweep.failures.clear();
    assert_eq!(
        sweep_headline(&sweep),
        "1 of 1 model is on the frontier of accuracy against latency: 25.0 % lower latency at batch 1 \
         (95 % interval 24.5 to 25.5), top-1 −0.4 points (93.4 % to 93.0 %, within the uncertainty of 1000 images)."
    );
}

#[test]
fn the_headline_says_where_nothing_is_gained_or_known() {
    let mut sweep = samples::small();
    sweep.failures.clear();
    sweep.points.truncate(2);
    for point in &mut sweep.points {
        point.latency = super::super::samples::comparison(1, Verdict::NotFaster, -0.4, [-1.0, 0.2]);
    }
    assert_eq!(
        sweep_headline(&sweep),
        "None of 2 models is on the frontier of accuracy against latency: the baseline is at least as fast and as \
         accurate as any."
    );
    sweep.points.iter_mut().for_each(|point| point.accuracy = None);
    assert_eq!(sweep_headline(&sweep), "2 models made; accuracy was not measured, so there is no frontier.");
}

#[test]
fn an_empty_sweep_has_no_empty_parts() {
    let sweep = Sweep::default();
    assert_eq!(sweep_markdown(&sweep), "# Sweep over latency budgets\n\nNo model was made.\n");
    let page = sweep_html(&sweep);
    assert_eq!(
        page.split_once("<body>").unwrap().1,
        "<main><header><h1>Sweep over latency budgets</h1><p class=\"headline\">No model was made.</p></header></main>\
         </body></html>\n"
    );
}

#[test]
fn what_was_not_measured_is_not_zero() {
    let mut sweep = samples::small();
    sweep.points.drain(..2);
    let absent = "<td class=\"n\"><span class=\"absent\" title=\"not measured\">–</span></td>";
    // Top-1 and its change.
    assert_eq!(sweep_html(&sweep).matches(absent).count(), 2);
    sweep.baseline.accuracy = None;
    sweep.baseline.macs = None;
    sweep.points.iter_mut().for_each(|point| (point.accuracy, point.macs) = (None, None));
    for page in [sweep_html(&sweep), sweep_markdown(&sweep)] {
        assert!(!page.contains("change of top-1") && !page.contains("MACs") && !page.contains("<svg"), "{page}");
    }
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = sweep_html(&samples::crowded());
    for outside in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), 1);
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
}

#[test]
fn names_are_escaped() {
    let mut sweep = samples::small();
    let hostile = || "<img onerror=x>|&\"\n'".to_owned();
    sweep.model.path = hostile();
    sweep.evaluated_on = hostile();
    sweep.settings = serde_json::json!({ "</pre><i>": "</script>" });
    let point = &mut sweep.points[0];
    (point.budget, point.file, point.digest, point.layers[0]) = (hostile(), hostile(), hostile(), hostile());
    (sweep.failures[0].budget, sweep.failures[0].reason) = (hostile(), hostile());
    let page = sweep_html(&sweep);
    for raw in ["<img", "<i>", "</script>"] {
        assert!(!page.contains(raw), "{raw}");
    }
    let text = sweep_markdown(&sweep);
    assert!(!text.contains("<img"), "{text}");
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    assert_eq!(text.lines().filter(|line| cells(line) == 13).count(), 2 + 5, "{text}");
    assert!(sweep_csv(&sweep).contains("\n\"<img onerror=x>|&\"\"\n'\",\"<img"), "{}", sweep_csv(&sweep));
}

#[test]
fn a_warning_names_all_budgets_it_holds_for() {
    let mut sweep = samples::small();
    for point in &mut sweep.points[..2] {
        point.latency.warnings = vec![Warning::FewSamples { samples: 10, needed: 30 }];
    }
    assert_eq!(
        warnings(&sweep),
        ["latency, latency reduction 25 %, latency reduction 30 %: only 10 samples were taken, 30 or more are needed \
          for a sound interval: take more"]
    );
}

#[test]
fn the_baselines_latency_is_that_of_all_measurements() {
    let mut sweep = samples::small();
    assert_eq!(baseline_latency(&sweep).unwrap(), "1.20 ms");
    sweep.points[1].latency.baseline.median_ms = 1.25;
    assert_eq!(baseline_latency(&sweep).unwrap(), "1.20 to 1.25 ms");
    assert_eq!(baseline_latency(&Sweep::default()), None);
}
