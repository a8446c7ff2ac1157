//! Lists the layers of a model with what their removal would save: `cargo run --example list_layers -- model.onnx`.
use layerprune::analysis::Units;
use layerprune::onnx::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let model = Model::read(&path)?;
        let units = Units::find(&model, &Default::default())?;
        println!(
            "{path}: {} of {} can be removed",
            units.units.iter().filter(|u| !u.removals.is_empty()).count(),
            units.units.len()
        );
        for unit in &units.units {
            let verdict = unit.reason.as_deref().unwrap_or("bypass");
            println!("  {:<28} {:>9} MACs  {verdict}", unit.name, unit.cost.macs.unwrap_or(0));
        }
    }
    Ok(())
}
