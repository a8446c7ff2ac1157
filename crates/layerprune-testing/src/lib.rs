//! Graph builders and oracles for the tests of layerprune.
