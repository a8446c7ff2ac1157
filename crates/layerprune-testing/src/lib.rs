//! Graph builders and oracles for the tests of layerprune. Not published.

mod builder;
mod found;
pub mod fuzz;
mod mask;
mod nets;
mod random;

pub use builder::{Builder, float, int, ints, string};
pub use found::{found, units};
pub use mask::mask;
pub use nets::{bottleneck_net, densenet, mobilenet_v1, mobilenet_v2, padded, resnet, vgg};
pub use random::{any_line, any_net};
