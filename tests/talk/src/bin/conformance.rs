//! Writes docs/CONFORMANCE.md from the headers of the talk files.

use std::process::ExitCode;

use talk::{conformance, corpus};

fn main() -> ExitCode {
    let written = conformance::document().and_then(|document| {
        let path = corpus::home().join("../../docs/CONFORMANCE.md");
        std::fs::write(&path, document).map_err(|error| format!("{}: {error}", path.display()))
    });
    match written.and_then(|()| conformance::missing()) {
        Ok(missing) => {
            missing.iter().for_each(|what| println!("neither shown nor explained: {what}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
