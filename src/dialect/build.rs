//! Makes Rust of the Protobuf files of the dialects, without a compiler from outside.
//!
//! Invariants:
//! - Building needs cargo and nothing else.

/// Where the files are, seen from this crate.
const ROOT: &str = "../../proto";

// Seen by cargo: a file that changes makes this script run again.
const _: [&str; 2] = [
    include_str!("../../proto/thingsboard/transport.proto"),
    include_str!("../../proto/thingsboard/transportapi.proto"),
];

fn main() {
    let files = ["thingsboard/transport.proto", "thingsboard/transportapi.proto"];
    let descriptors = protox::compile(files, [ROOT]).expect("the files of the repository are valid");
    prost_build::Config::new().compile_fds(descriptors).expect("the build folder can be written");
}
