//! Times training steps: the kernels of this crate (`own`) against burn's operations in their place (`burn`), interleaved.
//!
//! `cargo bench -p layerprune-train --bench step -- MODEL.onnx [batch [rounds]]`; with `only own` or `only burn` behind
//! these, one of the two runs alone, which tells its peak memory. With `teacher TEACHER.onnx` behind these, steps that
//! learn from it: with its outputs remembered (`remembered`) against those that ask it (`asked`).
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;
use std::{env, fs};

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune_train::{Distill, Settings, Stepper};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(path) = arguments.first() else {
        println!(
            "no model given: cargo bench --bench step -- MODEL.onnx [batch [rounds [only NAME] [teacher TEACHER.onnx]]]"
        );
        return;
    };
    let number = |at: usize, default: usize| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (images, rounds) = (number(1, 64), number(2, 9));
    let behind = |word: &str| arguments.iter().skip_while(|argument| *argument != word).nth(1);
    let only = behind("only");
    let teacher = behind("teacher").map(|path| Model::read(path).unwrap());

    let model = Model::read(path).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let shape = [images, 3, 32, 32];
    let batch = Batch {
        images: (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect(),
        shape,
        labels: (0..images).map(|image| image % 10).collect(),
        targets: None,
    };
    let asked = Settings { distill: teacher.is_some().then(Distill::default), ..Settings::default() };
    let remembered =
        Settings { distill: asked.distill.clone().map(|asked| Distill { remember: true, ..asked }), ..asked.clone() };
    let pair = match teacher {
        None => [("own", &asked, false), ("burn", &asked, true)],
        Some(_) => [("remembered", &remembered, false), ("asked", &asked, false)],
    };
    let mut contestants: Vec<(&str, Stepper<'_>, Vec<f64>, f64)> = pair
        .into_iter()
        .filter(|(name, ..)| only.is_none_or(|only| only == name))
        .map(|(name, settings, reference)| {
            (name, Stepper::new(&model, teacher.as_ref(), settings, reference).unwrap(), Vec::new(), 0.0)
        })
        .collect();
    for round in 0..rounds + 1 {
        for (name, stepper, times, processor_ms) in &mut contestants {
            let processor_start_ms = processor_time_ms();
            let start = Instant::now();
            let loss = stepper.step(&batch).unwrap();
            let time_ms = start.elapsed().as_secs_f64() * 1e3;
            if round == 0 {
                println!("{name}: first loss {loss:.6}");
            } else {
                times.push(time_ms);
                *processor_ms += processor_time_ms() - processor_start_ms;
            }
        }
    }
    for (name, _, times, processor_ms) in &mut contestants {
        times.sort_by(f64::total_cmp);
        let last = times.len() - 1;
        println!(
            "{name}: median {:.1} ms, least {:.1}, greatest {:.1}, processor {:.1} ms a step",
            times[last / 2],
            times[0],
            times[last],
            *processor_ms / times.len() as f64
        );
    }
    if let [(first, _, a, _), (second, _, b, _)] = &contestants[..] {
        println!("{second} ÷ {first}: {:.2} (medians), {:.2} (least)", b[b.len() / 2] / a[a.len() / 2], b[0] / a[0]);
    }
    if let Some(peak) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(peak_kib) {
        println!("peak memory of the process: {:.0} MB", peak as f64 / 1024.0);
    }
}

/// Processor time of all threads of this process so far; 0 where the system does not say. Linux counts in hundredths of a second.
fn processor_time_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold spaces; the user and system ticks are fields 14 and 15.
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    behind_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
