//! Which processors the broker runs on.
//!
//! Why the affinity mask and not the number of processors: a container or `taskset` may allow only some of them, and a
//! core pinned to a forbidden one does not start.
//!
//! Invariants:
//! - A choice that was resolved names at least one processor, each once, each allowed, in ascending order.

use std::fmt;
use std::str::FromStr;

use broker::CORES_MAX;
use thiserror::Error;

/// What the user has asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cores {
    /// All processors that the process may use.
    #[default]
    All,
    /// That many of them, the first ones.
    Count(u16),
    /// Exactly these, ascending and without repetition.
    List(Vec<u16>),
}

/// Why a choice of cores makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CoresError {
    /// Not a number and not a list.
    #[error("`{0}` is neither `all`, nor a number, nor a list such as `0,2-3`")]
    Unreadable(String),
    /// A processor stands in the list twice.
    #[error("processor {0} is named twice")]
    Repeated(u16),
    /// Zero cores.
    #[error("at least one core is needed")]
    None,
    /// More cores than the broker can run on.
    #[error("the broker runs on at most {CORES_MAX} cores")]
    TooMany,
    /// More than the process may use.
    #[error("{asked} cores asked for, but this process may use only {} ({})", allowed.len(), Cores::List(allowed.clone()))]
    NotThatMany {
        /// How many.
        asked: u16,
        /// What there is.
        allowed: Vec<u16>,
    },
    /// A processor that the process may not use.
    #[error("processor {asked} is not among those that this process may use ({})", Cores::List(allowed.clone()))]
    NotAllowed {
        /// Which.
        asked: u16,
        /// What there is.
        allowed: Vec<u16>,
    },
}

impl Cores {
    /// The processors to run on, given those that the process may use, ascending.
    pub fn resolve(&self, allowed: &[u16]) -> Result<Vec<u16>, CoresError> {
        let most = usize::from(CORES_MAX);
        let chosen = match self {
            Cores::All => allowed.iter().copied().take(most).collect(),
            Cores::Count(count) => {
                let count = usize::from(*count);
                allowed.get(..count).ok_or_else(|| self.too_few(allowed))?.to_vec()
            }
            Cores::List(list) => {
                if let Some(asked) = list.iter().copied().find(|cpu| !allowed.contains(cpu)) {
                    return Err(CoresError::NotAllowed { asked, allowed: allowed.to_vec() });
                }
                list.clone()
            }
        };
        match chosen.len() {
            0 => Err(CoresError::None),
            count if count > most => Err(CoresError::TooMany),
            _ => Ok(chosen),
        }
    }

    fn too_few(&self, allowed: &[u16]) -> CoresError {
        let Cores::Count(asked) = self else { unreachable!("only a count can exceed what is there") };
        CoresError::NotThatMany { asked: *asked, allowed: allowed.to_vec() }
    }
}

/// The processors that this process may use, ascending.
pub fn allowed_cpus() -> std::io::Result<Vec<u16>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    let cpus = 0..u16::try_from(rustix::thread::CpuSet::MAX_CPU).unwrap_or(u16::MAX);
    Ok(cpus.filter(|cpu| set.is_set(usize::from(*cpu))).collect())
}

impl FromStr for Cores {
    type Err = CoresError;

    fn from_str(text: &str) -> Result<Self, CoresError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("all") {
            return Ok(Cores::All);
        }
        match number(text) {
            Some(0) => Err(CoresError::None),
            Some(count) if count > CORES_MAX => Err(CoresError::TooMany),
            Some(count) => Ok(Cores::Count(count)),
            None => parse_list(text),
        }
    }
}

/// A number that is written in digits alone.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn parse_list(text: &str) -> Result<Cores, CoresError> {
    let unreadable = || CoresError::Unreadable(text.to_owned());
    // A list of one processor needs a mark that it is a list: `3,` is processor 3, `3` is three cores.
    let text_inner = text.strip_suffix(',').unwrap_or(text);
    let mut list = Vec::new();
    for part in text_inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (number(first.trim()), number(last.trim())) else {
            return Err(unreadable());
        };
        if first > last || last >= 4096 {
            return Err(unreadable());
        }
        list.extend(first..=last);
    }
    list.sort_unstable();
    match list.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(CoresError::Repeated(pair[0])),
        None => Ok(Cores::List(list)),
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cores::All => f.write_str("all"),
            Cores::Count(count) => write!(f, "{count}"),
            Cores::List(list) => write_list(f, list),
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, list: &[u16]) -> fmt::Result {
    let runs: Vec<_> = list.chunk_by(|a, b| a + 1 == *b).collect();
    for (place, run) in runs.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        match run {
            [one] => write!(f, "{comma}{one}")?,
            [first, .., last] => write!(f, "{comma}{first}-{last}")?,
            [] => {}
        }
    }
    if let [_] = list { f.write_str(",") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_lists_are_read_and_written_back() {
        let rows = [
            ("all", Cores::All, "all"),
            ("2", Cores::Count(2), "2"),
            ("0,2-3", Cores::List(vec![0, 2, 3]), "0,2-3"),
            ("3,", Cores::List(vec![3]), "3,"),
            (" 5-5 , 1 ", Cores::List(vec![1, 5]), "1,5"),
        ];
        for (text, cores, shown) in rows {
            assert_eq!(text.parse(), Ok(cores.clone()), "{text}");
            assert_eq!(cores.to_string(), shown);
            assert_eq!(shown.parse(), Ok(cores));
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let unreadable = |text: &str| Err(CoresError::Unreadable(text.to_owned()));
        for text in ["", "two", "1-", "3-1", "-1", "1,,2", "+2", "0-5000", "1.5"] {
            assert_eq!(text.parse::<Cores>(), unreadable(text), "{text}");
        }
        assert_eq!("0".parse::<Cores>(), Err(CoresError::None));
        assert_eq!("129".parse::<Cores>(), Err(CoresError::TooMany));
        assert_eq!("0-2,1".parse::<Cores>(), Err(CoresError::Repeated(1)));
    }

    #[test]
    fn only_allowed_processors_are_chosen() {
        let allowed = [1, 2, 5];
        assert_eq!(Cores::All.resolve(&allowed), Ok(vec![1, 2, 5]));
        assert_eq!(Cores::Count(2).resolve(&allowed), Ok(vec![1, 2]));
        assert_eq!(Cores::List(vec![2, 5]).resolve(&allowed), Ok(vec![2, 5]));
        let refused = Cores::Count(4).resolve(&allowed).unwrap_err().to_string();
        assert_eq!(refused, "4 cores asked for, but this process may use only 3 (1-2,5)");
        let refused = Cores::List(vec![0, 1]).resolve(&allowed).unwrap_err().to_string();
        assert_eq!(refused, "processor 0 is not among those that this process may use (1-2,5)");
        assert_eq!(Cores::All.resolve(&[]), Err(CoresError::None));
        let many: Vec<u16> = (0..200).collect();
        assert_eq!(Cores::All.resolve(&many).map(|cpus| cpus.len()), Ok(128));
        assert_eq!(Cores::List(many.clone()).resolve(&many), Err(CoresError::TooMany));
    }
}
