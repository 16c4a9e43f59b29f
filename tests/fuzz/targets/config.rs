//! Configuration files: whatever stands in one, it is taken whole, or every complaint says where and what.
//!
//! Input: the file.
//!
//! Why through the disk: this is the way that the broker takes.
//!
//! Invariants:
//! - Nothing is set by a file that is complained about.

use std::fs;
use std::path::PathBuf;

use server::{Sources, load};

/// A file of its own for each thread; it holds nothing between two calls.
fn path() -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    std::env::temp_dir().join(format!("ringmq-fuzz-{}-{number}.toml", std::process::id()))
}

/// A configuration file.
pub fn config(bytes: &[u8]) {
    let path = path();
    fs::write(&path, bytes).expect("a file can be written");
    let sources = Sources { file: Some(path.clone()), dialects: vec!["plain"], ..Sources::default() };
    let outcome = load(&sources);
    let again = load(&sources);
    fs::remove_file(&path).expect("a file that was just written");
    match (&outcome, &again) {
        (Ok(first), Ok(second)) => {
            assert!(!first.listener.is_empty(), "nobody could come in");
            assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
        (Err(first), Err(second)) => {
            assert!(!first.is_empty(), "refused without a word");
            assert_eq!(first, second);
            for complaint in first {
                let text = complaint.to_string();
                assert!(!text.contains('\n') && !complaint.text.is_empty(), "{text:?} is not one line");
            }
        }
        _ => panic!("the same file was taken once and refused once"),
    }
}
