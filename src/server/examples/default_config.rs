//! Prints the default configuration file: `cargo run -p server --example default_config > config/ringmq.toml`.
//!
//! Invariants:
//! - What it prints is a configuration that says the same as none.

fn main() {
    print!("{}", server::default_file());
}
