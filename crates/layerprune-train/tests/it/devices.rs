//! Training on every device that this program was built for and this computer has.

use std::ops::ControlFlow;

use layerprune_train::{Device, Settings, train};

use crate::golden::{Fixed, load, settings};
use crate::models::weight;

#[test]
fn three_steps_on_other_devices_agree_with_pytorch() {
    let (model, golden, batches) = load();
    for device in [Device::Wgpu(0), Device::Cuda(0)] {
        let Some(name) = device.found().into_iter().next() else {
            println!("{device} skipped: not built in, or no such device here");
            continue;
        };
        println!("{device}: {name}");
        let settings = Settings { device, ..settings() };
        let outcome = train(&model, &Fixed(batches.clone()), &settings, None, &mut |_| ControlFlow::Continue(()));
        let outcome = outcome.unwrap();
        for (tensor, expected) in &golden.sgd.after {
            let found = weight(&outcome.model, tensor);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-3, "`{tensor}` on {name}: {found} instead of {expected}");
            }
        }
    }
}
