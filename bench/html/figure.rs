//! Numbers as people read them beside a chart.
//!
//! Why three digits: a run on a busy machine repeats within a few per cent, so a fourth digit would be noise in print.
//!
//! Invariants:
//! - Never more than three significant digits and one letter for the power of ten.

/// `value` with three significant digits: 0.0125, 3.50, 12.5, 1.25k, 350M.
pub(crate) fn compact(value: f64) -> String {
    if value < 0.0 {
        return format!("-{}", compact(-value));
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // What rounds up to the next power belongs to it: 999.9 is 1.00k.
    let steps = [(999.5e9, 1e12, "T"), (999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (999.5, 1e3, "k")];
    match steps.into_iter().find(|(from, ..)| value >= *from) {
        Some((_, power, letter)) => format!("{}{letter}", digits(value / power)),
        None => digits(value),
    }
}

fn digits(value: f64) -> String {
    let places = match value {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => 6, // Smaller figures stand in a table with a better unit.
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn three_digits_and_a_letter() {
        let shown =
            [0.0, 0.5, 3.25, 12.34, 999.0, 999.9, 1_250.0, 20_000.0, 3.5e6, 2e9, -1_500.0].map(compact);
        assert_eq!(shown, ["0", "0.5", "3.25", "12.3", "999", "1k", "1.25k", "20k", "3.5M", "2G", "-1.5k"]);
    }
}
