//! How long the disk takes to promise that something is kept.
//!
//! Why measured in the data directory: the same machine may have a disk that syncs in 20 us and one that needs 10 ms,
//! and durable messages wait for exactly this.
//!
//! Invariants:
//! - The file that is written is removed again.
//! - A file system in memory is named as such: its times mean nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::statistics::{Estimate, quantile};
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::number::{float, wide};

const SMALL_BYTES: usize = 4_096;
const LARGE_BYTES: usize = 1_048_576;
const SMALL_COUNT: usize = 400;
const LARGE_COUNT: usize = 24;

/// What the disk can promise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// The directory.
    pub(crate) directory: String,
    /// Its file system.
    pub(crate) file_system: String,
    /// Appending 4 KiB and fdatasync: median and the middle 90 %, in microseconds.
    pub(crate) sync_us: Estimate,
    /// The 99th percentile.
    pub(crate) sync_us_p99: f64,
    /// Bytes per second with one fdatasync per MiB.
    pub(crate) bytes_per_s: Estimate,
    /// How often it was tried.
    pub(crate) syncs: u64,
}

impl Disk {
    /// Measures the disk of `directory` for at most `limit_s` seconds twice.
    pub(crate) fn measure(directory: &Path, limit_s: f64) -> Result<Self, Failure> {
        let path = directory.join(format!("ringmq-bench-{}.sync", std::process::id()));
        let measured = Self::measure_file(&path, directory, limit_s);
        // Left behind only if it was never made.
        let _removed = fs::remove_file(&path);
        measured
            .map_err(|source| Failure::os(format!("measuring the disk of {}", directory.display()), source))
    }

    fn measure_file(path: &Path, directory: &Path, limit_s: f64) -> std::io::Result<Self> {
        let mut file = File::create(path)?;
        let mut small = timed(&mut file, SMALL_BYTES, SMALL_COUNT, limit_s)?;
        let large = timed(&mut file, LARGE_BYTES, LARGE_COUNT, limit_s)?;
        let rates = large.iter().map(|us| float(wide(LARGE_BYTES)) / us * 1e6).collect();
        small.sort_by(f64::total_cmp);
        Ok(Self {
            directory: directory.display().to_string(),
            file_system: file_system(directory),
            sync_us_p99: quantile(&small, 0.99).unwrap_or_default(),
            syncs: wide(small.len()),
            sync_us: Estimate::of_samples(small).unwrap_or(Estimate::exact(0.0)),
            bytes_per_s: Estimate::of_samples(rates).unwrap_or(Estimate::exact(0.0)),
        })
    }

    /// Whether the file system keeps nothing.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

/// Microseconds of each append of `bytes` with its fdatasync.
fn timed(file: &mut File, bytes: usize, count: usize, limit_s: f64) -> std::io::Result<Vec<f64>> {
    let block = vec![0x5a; bytes];
    let start_ns = now_ns();
    let mut times = vec![];
    while times.len() < count && (times.len() < 3 || float(now_ns() - start_ns) / 1e9 < limit_s) {
        let before_ns = now_ns();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(float(now_ns() - before_ns) / 1e3);
    }
    Ok(times)
}

/// The type of the file system that `directory` is on.
fn file_system(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    file_system_in(&mounts, &directory).unwrap_or_else(|| "unknown".to_owned())
}

fn file_system_in(mounts: &str, directory: &Path) -> Option<String> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    let above = mounts.lines().filter_map(mount).filter(|(place, _)| directory.starts_with(place));
    above.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "overlay / overlay rw 0 0\n/dev/sda1 /srv ext4 rw 0 0\ntmpfs /srv/fast tmpfs rw 0 0\n";
        let on = |path: &str| file_system_in(mounts, Path::new(path));
        assert_eq!(on("/srv/data").as_deref(), Some("ext4"));
        assert_eq!(on("/srv/fast/x").as_deref(), Some("tmpfs"));
        assert_eq!(on("/srvx").as_deref(), Some("overlay"));
    }

    #[test]
    fn a_disk_is_measured_and_left_as_it_was() {
        let directory = std::env::temp_dir();
        let disk = Disk::measure(&directory, 0.05).expect("the temporary directory can be written");
        assert!(disk.syncs >= 3 && disk.sync_us.value > 0.0 && disk.bytes_per_s.value > 0.0, "{disk:?}");
        assert!(!directory.join(format!("ringmq-bench-{}.sync", std::process::id())).exists());
        assert!(Disk::measure(Path::new("/nonexistent"), 0.05).is_err());
    }
}
