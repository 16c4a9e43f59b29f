//! Reading files again while the broker runs: on SIGHUP, and when the control plane is asked to.
//!
//! Why one list of things that can: whoever has changed certificates, passwords and rules together wants one signal for
//! all of them, and one answer that says what came of it.
//!
//! Invariants:
//! - What is broken keeps what was in use, and says so in one line for each mistake.
//! - Two reloads never run at once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

/// Something that can read its files again.
pub(crate) trait Reload: Send {
    /// Reads them and takes what is good into use. May wait for cores, never for clients.
    fn reload(&mut self) -> Vec<Tiding>;
}

/// What came of reading something again; one line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tiding {
    /// It is in use.
    Fresh(String),
    /// It is in use, and somebody should look at it.
    Doubtful(String),
    /// It is broken, and what was read before stays in use.
    Kept(String),
}

impl fmt::Display for Tiding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tiding::Fresh(line) | Tiding::Doubtful(line) => f.write_str(line),
            Tiding::Kept(line) => write!(f, "{line}; what was read before stays in use"),
        }
    }
}

/// Everything that can be read again. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Reloader {
    parts: Arc<Mutex<Vec<Box<dyn Reload>>>>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloader")
    }
}

impl Reloader {
    /// Adds something that can be read again; it is asked behind those before it.
    pub(crate) fn add(&self, part: Box<dyn Reload>) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    /// Reads everything again and logs what came of it; `why` is who has asked.
    pub fn reload(&self, why: &str) -> Vec<Tiding> {
        info!("{why}: reading certificates, lists, passwords, keys and rules again");
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let tidings: Vec<Tiding> = parts.iter_mut().flat_map(|part| part.reload()).collect();
        for tiding in &tidings {
            match tiding {
                Tiding::Fresh(_) => info!("{tiding}"),
                Tiding::Doubtful(_) | Tiding::Kept(_) => warn!("{tiding}"),
            }
        }
        tidings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;
    struct Good(u32);

    impl Reload for Broken {
        fn reload(&mut self) -> Vec<Tiding> {
            vec![Tiding::Kept("a.pem cannot be read".to_owned())]
        }
    }

    impl Reload for Good {
        fn reload(&mut self) -> Vec<Tiding> {
            self.0 += 1;
            vec![Tiding::Fresh(format!("read {} times", self.0))]
        }
    }

    #[test]
    fn everything_is_asked_in_order_although_something_is_broken() {
        let reloader = Reloader::default();
        reloader.add(Box::new(Broken));
        reloader.add(Box::new(Good(0)));
        reloader.reload("SIGHUP");
        let lines: Vec<String> = reloader.reload("SIGHUP").iter().map(Tiding::to_string).collect();
        assert_eq!(lines, ["a.pem cannot be read; what was read before stays in use", "read 2 times"]);
    }
}
