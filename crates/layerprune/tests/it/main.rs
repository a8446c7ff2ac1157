//! Integration tests of the library, one binary.

mod layering;
mod oracle;
mod roundtrip;
mod units;
