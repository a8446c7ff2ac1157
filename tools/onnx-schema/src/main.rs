//! Regenerates `crates/layerprune/src/proto/onnx.rs` from `onnx.proto` beside this crate. Run it here: `cargo run`.
//! Kept out of the workspace, so that building layerprune needs no schema compiler.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["onnx.proto"], [here])?;
    let mut config = prost_build::Config::new();
    // Most attributes are one number: without boxes an empty one, two bytes in a file, takes 1.7 kB.
    for field in ["t", "g", "tp", "sparse_tensor"] {
        config.boxed(format!(".onnx.AttributeProto.{field}"));
    }
    config
        .bytes([".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .out_dir(here.join("../../crates/layerprune/src/proto"))
        .compile_fds(descriptors)?;
    Ok(())
}
