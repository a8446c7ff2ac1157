//! Kinds of data and how images are prepared.

use insta::assert_snapshot;

use crate::place::Place;
use crate::{images, nets};

/// The model, and the images of `idx:data` once more as PNG files in `pngs`.
fn place() -> Place {
    let place = Place::with_data(&nets::residual());
    images::write_pngs(&place.path("data"), &place.path("pngs"));
    place
}

/// A row for each PNG file, with what `value` makes of split, number and label.
fn table(place: &Place, heading: &str, value: impl Fn(&str, usize, u8) -> String) {
    let mut text = format!("{heading}\n");
    for (split, prefix) in [("train", "train"), ("test", "t10k")] {
        for (number, label) in images::labels(&place.path("data"), prefix).into_iter().enumerate() {
            text.push_str(&format!("{prefix}-{number}.png{}\n", value(split, number, label)));
        }
    }
    place.write("pngs/data.csv", text);
}

#[test]
fn a_table_of_image_files_is_as_good_as_arrays() {
    let place = place();
    table(&place, "path,label,split", |split, _, label| format!(",{label},{split}"));
    let arrays = place.ok("eval net.onnx --data idx:data --normalize none");
    let files = place.ok("eval net.onnx --data pngs/data.csv --normalize none");
    assert_eq!(files.stdout, arrays.stdout);
    place.write("pngs/data.csv", "path,label\ntrain-0.png,0\ngone.png,1\n");
    assert_snapshot!(place.run("eval net.onnx --data csv:pngs/data.csv --normalize none"), @r#"
    exit status: 1
    ----- stderr
    error: cannot use the data `csv:pngs/data.csv`
      because: `pngs/data.csv`, line 3: there is no file `pngs/gone.png`
    "#);
}

#[test]
fn names_that_are_not_the_classes_of_the_model_are_refused() {
    let place = place();
    table(&place, "path,label", |_, _, label| format!(",{}", ["dark", "light"][usize::from(label > 0)]));
    let done = place.run("eval net.onnx --data pngs/data.csv --normalize none --split held-out");
    done.fails(
        1,
        &["error: the model scores 3 classes, `csv:pngs/data.csv` names 2: labels count the names in sorted order"],
    );
}

#[test]
fn images_without_labels_serve_what_needs_none() {
    let place = place();
    table(&place, "path", |_, _, _| String::new());
    let data = "--data pngs/data.csv --normalize none";
    place
        .run(&format!("eval net.onnx {data} --split held-out"))
        .fails(1, &["error: `csv:pngs/data.csv` has images without labels, and labels are needed"]);
    place.ok(&format!("prune net.onnx --layers 1 --criterion weight-norm --recover bridge {data} -o cut.onnx"));
    place.ok(&format!("recalibrate net.onnx {data} -o new.onnx"));
    let done = place.run("recalibrate net.onnx --data pngs/data.csv -o other.onnx");
    done.fails(1, &["without one class for each image the right normalisation cannot be told; give `--normalize`"]);
}

#[test]
fn rows_of_numbers_have_to_be_as_long_as_the_output() {
    let place = place();
    table(&place, "path,x,y", |_, number, _| format!(",{number}.5,1"));
    let done = place.run("eval net.onnx --data pngs/data.csv --normalize none --split held-out");
    done.fails(1, &["error: the model gives 3 numbers for an image, `csv:pngs/data.csv` has 2 to be learned"]);
}

#[test]
fn the_kind_of_targets_tells_the_loss_whatever_values_a_part_has() {
    let place = place();
    let loss = |split: &str| {
        let done =
            place.ok(&format!("eval net.onnx --data pngs/data.csv --normalize none --split {split} --format json"));
        done.json()["loss"].clone()
    };
    table(&place, "path,a,b,c", |_, _, label| format!(",{},0,1", u8::from(label == 0)));
    assert_eq!(loss("held-out"), "binary-cross-entropy");
    let done = place.run("eval net.onnx --data pngs/data.csv --normalize none --split held-out --loss cross-entropy");
    done.fails(1, &["error: accuracy needs one class for each image, which `csv:pngs/data.csv` does not give"]);
    // One number of all is neither 0 nor 1, and only one of the parts has it.
    table(&place, "path,x,y,z,split", |split, number, _| {
        format!(",{},0,1,{split}", if (split, number) == ("train", 0) { "7.5" } else { "1" })
    });
    for split in ["train", "held-out", "test"] {
        assert_eq!(loss(split), "mean-squared", "{split}");
    }
    // A teacher gives numbers too, also where labels are not looked at.
    let command = "finetune net.onnx --data pngs/data.csv --normalize none --epochs 1 --batch-size 16 --teacher net.onnx \
                   --without-labels";
    place.ok(&format!("{command} -o told.onnx"));
    place.ok(&format!("{command} --loss mean-squared -o given.onnx"));
    assert_eq!(place.bytes("told.onnx"), place.bytes("given.onnx"));
}

/// Says more than the model needs: images are of its size already.
pub(crate) const CONFIG: &str = r#"{"image_processor_type": "ViTImageProcessor", "do_resize": true, "resample": 3,
    "size": {"height": 8, "width": 8}, "do_normalize": true, "image_mean": 0.5, "image_std": 0.25}"#;

#[test]
fn a_file_beside_the_model_says_how_images_are_prepared() {
    let place = place();
    let by_flags = place.ok("eval net.onnx --data idx:data --normalize 0.5/0.25").stdout;
    place.write("preprocessor_config.json", CONFIG);
    let done = place.ok("eval net.onnx --data idx:data");
    assert_eq!(done.stdout, by_flags);
    assert_snapshot!(done.stderr, @"preprocessing: taken from `preprocessor_config.json`: stretched to 8x8 (bicubic); pixels / 255, mean 0.5, std 0.25");
    let done = place.ok("eval net.onnx --data idx:data --normalize none");
    assert_eq!(done.stdout, place.ok("eval net.onnx --data idx:data --normalize none --preprocess none").stdout);
    assert_snapshot!(done.stderr, @"preprocessing: taken from `preprocessor_config.json` (before it goes: --normalize): stretched to 8x8 (bicubic); pixels / 255, mean 0, std 1");
    place.write("other.json", CONFIG.replace("0.25", "0.5"));
    let done = place.ok("eval net.onnx --data idx:data --preprocess other.json");
    assert!(
        done.stderr.contains("`other.json`: stretched to 8x8 (bicubic); pixels / 255, mean 0.5, std 0.5"),
        "{done}"
    );
    assert!(!place.ok("eval net.onnx --data idx:data --preprocess none").stderr.contains("preprocessing"));
    // Each flag goes before its own part of the file alone.
    place.write("other.json", CONFIG.replace("\"height\": 8, \"width\": 8", "\"height\": 12, \"width\": 12"));
    let done = place.ok("eval net.onnx --data idx:data --preprocess other.json --crop 8");
    assert!(
        done.stderr.contains("stretched to 12x12 (bicubic), 8x8 from the middle; pixels / 255, mean 0.5"),
        "{done}"
    );
    let done = place.ok("eval net.onnx --data idx:data --preprocess other.json --resize 8 --interpolation box");
    assert!(done.stderr.contains("stretched to 8x8 (box); pixels / 255, mean 0.5"), "{done}");
}

#[test]
fn a_file_that_is_not_understood_is_named_with_what_to_do() {
    let place = place();
    place.write(
        "preprocessor_config.json",
        CONFIG.replace("\"do_resize\"", "\"do_flip_channel_order\": true, \"do_resize\""),
    );
    assert_snapshot!(place.run("eval net.onnx --data idx:data"), @r#"
    exit status: 1
    ----- stderr
    error: cannot take the preprocessing from the file; `--preprocess none` leaves it
      because: `preprocessor_config.json`: `do_flip_channel_order` is true, expected nothing, as it is not known what this does to pixels
    "#);
    place.ok("eval net.onnx --data idx:data --normalize none --preprocess none");
}

#[test]
fn sizes_and_filters_are_given_by_flags() {
    let place = place();
    let plain = place.ok("eval net.onnx --data idx:data --normalize none").stdout;
    for same in ["--resize 8", "--resize shorter:8 --crop 8x8", "--crop 8", "--resize 8x8 --interpolation lanczos"] {
        assert_eq!(place.ok(&format!("eval net.onnx --data idx:data --normalize none {same}")).stdout, plain, "{same}");
    }
    let done = place.run("eval net.onnx --data idx:data --normalize none --resize shorter:12 --crop 9");
    done.fails(1, &["the model takes images of 1x8x8, those of `idx:data` are 1x9x9"]);
    place.ok("eval net.onnx --data idx:data --normalize none --resize shorter:12 --interpolation bicubic --crop 8");
    for (flags, named) in [
        ("--resize longer:8", "`--resize longer:8` is not HEIGHTxWIDTH, a number or `shorter:` and a number"),
        ("--crop 0", "`--crop 0` is neither HEIGHTxWIDTH nor a number"),
        ("--resize 8 --interpolation cubic", "cannot use `--interpolation cubic`"),
        ("--interpolation box", "nothing is resized; give `--resize`"),
    ] {
        place.run(&format!("eval net.onnx --data idx:data --normalize none {flags}")).fails(2, &[named]);
    }
}

#[test]
fn images_of_the_demo_keep_their_size() {
    let place = Place::with(&nets::for_demo());
    for flag in ["--resize 32", "--crop 24", "--interpolation bicubic"] {
        let done = place.run(&format!("eval net.onnx --data demo {flag}"));
        let (name, _) = flag.split_once(' ').unwrap();
        done.fails(2, &[&format!("`{name}` does not go with `demo`, whose images have the size of the demo's model")]);
    }
}
