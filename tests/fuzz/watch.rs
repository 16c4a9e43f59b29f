//! What is under the hammer now, so that it can be saved when it breaks something.
//!
//! Why a panic hook: the binary is built to abort at a panic, and a hook still runs then; the test that unwinds gets the
//! same file.
//!
//! Invariants:
//! - The input that a target panics on is on disk before the panic goes on.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

thread_local! {
    static CURRENT: RefCell<(&'static str, Vec<u8>)> = const { RefCell::new(("", Vec::new())) };
}

/// Notes the input that `target` is about to get.
pub fn begin(target: &'static str, input: &[u8]) {
    CURRENT.with_borrow_mut(|(name, bytes)| {
        *name = target;
        bytes.clear();
        bytes.extend_from_slice(input);
    });
}

/// From now on a panic saves the input that its thread began last, and says where.
pub fn watch() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        CURRENT.with_borrow(|(target, input)| match save(target, input) {
            Ok(path) => eprintln!("{} bytes break {target}; saved as {}", input.len(), path.display()),
            Err(error) => eprintln!("cannot save the input: {error}; it is {input:02x?}"),
        });
        tell(panic);
    }));
}

/// Where failing inputs are saved.
#[must_use]
pub fn crashes_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crashes")
}

fn save(target: &str, input: &[u8]) -> std::io::Result<PathBuf> {
    fs::create_dir_all(crashes_folder())?;
    let path = crashes_folder().join(format!("{target}-{:016x}", digest(input)));
    fs::write(&path, input)?;
    Ok(path)
}

/// The 64-bit FNV-1a hash: one file for one input, however often it is found.
fn digest(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The committed inputs of a target, with their names, in the order of the names.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn load(target: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}
