//! The page in a browser. Skips, and says so, where there is no Chromium; `CHROME` names one.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::Value;

use super::samples;
use super::study_html;
use crate::record::Study;

const LISTEN: &str = "<script>window.errors = [];\
    addEventListener('error', (event) => errors.push(String(event.message)));\
    addEventListener('securitypolicyviolation', (event) => errors.push(event.violatedDirective + ' ' + event.blockedURI));\
    for (const kind of ['error', 'warn']) console[kind] = (...said) => errors.push(said.join(' '));</script>";

/// Uses the page as a reader would.
const USE: &str = include_str!("probe.js");
/// Waits for the figures, and that is all.
const OPEN: &str = "(() => { const plots = [...document.querySelectorAll('.plot')];\
    plots.forEach((plot) => echarts.getInstanceByDom(plot).getZr().flush());\
    const drawnAfterMs = performance.now();\
    const result = document.body.appendChild(document.createElement('pre'));\
    result.id = 'result';\
    result.textContent = JSON.stringify({ errors: window.errors, drawnAfterMs,\
      cut: plots.flatMap((plot) => [...plot.querySelectorAll('svg text')]\
        .filter((text) => text.getBoundingClientRect().left < plot.getBoundingClientRect().left - 1).map((text) => text.textContent)),\
      empty: plots.filter((plot) => plot.querySelectorAll('svg path').length < 5).map((plot) => plot.id) }); })();";

const FRAME: &str = "<!doctype html><iframe src=study.html width=360 height=800 style='border:0'></iframe><pre id=\"result\"></pre>\
    <script>addEventListener('message', (event) => { document.getElementById('result').textContent = event.data; });</script>";
/// Lets the frame's message arrive; the clock then runs ahead of time.
const PHONE: &str = "--virtual-time-budget=10000";

fn chromium() -> Option<PathBuf> {
    let named = env::var_os("CHROME").map(PathBuf::from);
    named.or_else(|| {
        let folders = env::var_os("PATH")?;
        let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
        env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
    })
}

/// What `probe` saw on the page of `study`; `None` where there is no browser.
fn seen(study: &Study, probe: &str, options: &[&str]) -> Option<Value> {
    let Some(browser) = chromium() else {
        println!("skipped: no Chromium in PATH; CHROME may name one");
        return None;
    };
    let page = study_html(study).replacen("<head>", &format!("<head>{LISTEN}"), 1);
    // The library has the word too.
    let (page, _) = page.rsplit_once("</body>").unwrap();
    let page = format!("{page}<script>{probe}</script></body></html>");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("study.html"), page).unwrap();
    // A window is no narrower than 500 pixels, a frame is.
    let file = folder.path().join("frame.html");
    fs::write(&file, FRAME).unwrap();
    let file = if options.contains(&PHONE) { file } else { folder.path().join("study.html") };
    let run = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .args(options)
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8(run.stdout).unwrap();
    let result = dom.rsplit_once("<pre id=\"result\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let text = result.unwrap_or_else(|| panic!("no result: {}", String::from_utf8_lossy(&run.stderr))).0;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&");
    Some(serde_json::from_str(&text).unwrap())
}

fn used_as_a_reader_would(study: &Study, options: &[&str]) -> Option<Value> {
    let seen = seen(study, USE, options)?;
    println!("charts drawn {} ms after navigation began, {options:?}", seen["drawnAfterMs"]);
    assert_eq!(seen["errors"], serde_json::json!([]));
    for (figure, least) in [("boxes", 1200), ("lots", 80), ("points", 140), ("depth", 27)] {
        assert!(seen["marks"][figure].as_u64() > Some(least), "{figure}: {}", seen["marks"]);
    }
    let wanted = seen["wanted"].as_u64().unwrap() as usize;
    let model = &study.rows[wanted - 1];
    let tip = seen["tip"].as_str().unwrap();
    assert!(tip.contains(&model.file) && tip.contains(&model.arm), "{tip}");
    let units = |row: &crate::record::StudyRow| {
        let lost = study.layers.iter().enumerate().filter(|(_, layer)| row.layers.contains(&layer.name));
        serde_json::json!(lost.map(|(at, _)| at).collect::<Vec<_>>())
    };
    assert_eq!(seen["clicked"], units(model));
    assert!(model.layers.iter().all(|layer| seen["told"].as_str().unwrap().contains(layer.as_str())));
    assert_eq!(seen["selected"], units(&study.rows[1]));
    assert!(seen["byKey"].as_str().unwrap().contains(".onnx"), "{}", seen["byKey"]);
    for part in seen["zoomed"].as_array().unwrap() {
        assert!(part.as_f64() < Some(100.0));
    }
    assert_eq!(seen["together"], serde_json::json!(["3", "3"]));
    Some(seen)
}

#[test]
fn the_page_works_in_a_browser() {
    let study = samples::full();
    let Some(light) = used_as_a_reader_would(&study, &["--window-size=1200,900"]) else { return };
    let has = |seen: &Value, ink: &str| seen["inks"].as_array().unwrap().iter().any(|fill| fill == ink);
    assert!(light["dark"] == false && has(&light, "#b83f00"), "{}", light["inks"]);
    let dark = used_as_a_reader_would(&study, &["--blink-settings=preferredColorScheme=0"]).unwrap();
    assert!(dark["dark"] == true && has(&dark, "#ff9153") && !has(&dark, "#b83f00"), "{}", dark["inks"]);
}

#[test]
fn the_page_fits_a_phone() {
    let Some(phone) = used_as_a_reader_would(&samples::full(), &[PHONE]) else { return };
    assert_eq!(phone["width"], 360);
    assert!(phone["overflow"].as_i64() <= Some(0), "{} wide, {} over", phone["width"], phone["overflow"]);
}

#[test]
fn pages_of_real_records_open() {
    for (name, study) in samples::real() {
        let Some(seen) = seen(&study, OPEN, &["--window-size=1200,900"]) else { return };
        println!("{name}: charts drawn {} ms after navigation began", seen["drawnAfterMs"]);
        for what in ["errors", "cut", "empty"] {
            assert_eq!(seen[what], serde_json::json!([]), "{name}: {what}");
        }
    }
}
