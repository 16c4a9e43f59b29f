//! Conversions between widths of numbers, each in one place.
//!
//! Why: counts are `u64`, places in memory are `usize`, ids on the wire are `u32`, and shares are `f64`; a cast spelled
//! out at every use hides the one that loses bits.
//!
//! Invariants:
//! - No conversion wraps: what does not fit stops the run instead of reporting a wrong figure.

/// The nearest `f64`; exact below 2^53.
pub(crate) fn float(value: u64) -> f64 {
    let high = u32::try_from(value >> 32).expect("32 bits after the shift");
    let low = u32::try_from(value & 0xffff_ffff).expect("32 bits after the mask");
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// `part` divided by `whole`; zero when there is no whole.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

/// A count in memory as a number for arithmetic and reports.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("usize has at most 64 bits on supported targets")
}

/// An id or a number as a place in memory.
pub(crate) fn place(number: u64) -> usize {
    usize::try_from(number).expect("usize has 64 bits on supported targets")
}

/// A place in memory as an id; runs have fewer than 2^32 clients.
pub(crate) fn id(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 clients in one run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_and_an_empty_whole_is_zero() {
        assert!((ratio(1, 4) - 0.25).abs() < f64::EPSILON);
        assert!(ratio(5, 0).abs() < f64::EPSILON);
        assert!((float(1 << 40) - 1_099_511_627_776.0).abs() < f64::EPSILON);
    }
}
