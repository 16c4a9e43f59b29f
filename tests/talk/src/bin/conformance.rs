//! Writes docs/CONFORMANCE.md.

fn main() {}
