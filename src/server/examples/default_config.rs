//! Prints the default configuration file: `cargo run -p server --example default_config > config/ringmq.toml`.

fn main() {
    print!("{}", server::default_file());
}
