//! Makes Rust of the Protobuf files of the dialects, without a compiler from outside.
//!
//! Invariants:
//! - Building needs cargo and nothing else.

/// Where the files are, seen from this crate.
const ROOT: &str = "../../proto";

fn main() {
    println!("cargo:rerun-if-changed={ROOT}");
    let files = ["thingsboard/transport.proto", "thingsboard/transportapi.proto"];
    let descriptors = protox::compile(files, [ROOT]).expect("the files of the repository are valid");
    prost_build::Config::new().compile_fds(descriptors).expect("the build folder can be written");
}
