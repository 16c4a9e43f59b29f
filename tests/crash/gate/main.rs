//! The gate of the promise: what `tests/run --stage crash` runs.
fn main() {}
