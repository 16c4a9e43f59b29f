//! Where a report goes: the terminal, a file for programs, a page for a browser.
//!
//! Why files are written last and named: a run of ten minutes must not be lost because a path was wrong, so the table is
//! printed first.
//!
//! Invariants:
//! - Whatever the options, the terminal shows the table or the JSON, never nothing.

use std::fs;
use std::path::Path;

use crate::compare::Machine;
use crate::failure::Failure;
use crate::html::sheet_page;
use crate::options::OutputOptions;
use crate::report::Report;

/// What `--json` without a file means.
pub(crate) const STANDARD_OUTPUT: &str = "-";

/// Shows `report` and writes the files that `options` ask for.
pub(crate) fn publish(report: &impl Report, options: &OutputOptions) -> Result<(), Failure> {
    let json = || serde_json::to_string(report).expect("a report has only numbers, texts and lists");
    match options.json.as_deref() {
        Some(path) if path == Path::new(STANDARD_OUTPUT) => println!("{}", json()),
        Some(path) => {
            print!("{}", report.sheet());
            write(path, &(json() + "\n"))?;
        }
        None => print!("{}", report.sheet()),
    }
    match &options.html {
        Some(path) => sheet_page(&report.sheet(), Machine::read().facts()).write(path),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::os(format!("writing {}", path.display()), source))
}
