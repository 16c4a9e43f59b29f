//! Notices on their way to the log.
//!
//! Why limited: a notice costs more than the packet that caused it, so a thousand clients that misbehave must not be
//! able to fill the log, or to slow the core that serves the others.
//!
//! Invariants:
//! - At most [`LINES_MAX`] lines of one kind leave a core per [`WINDOW`]; what was left out is counted in a line.

use std::fmt;

use broker::{Level, Notice, NoticeKind};
use stdx::{Instant, Span};
use tracing::{debug, info, warn};

/// Lines of one kind per window.
const LINES_MAX: u32 = 50;
/// The window.
const WINDOW: Span = Span::from_s(1);

/// What one core has said lately.
#[derive(Default)]
pub(crate) struct Notices {
    kinds: Vec<(Topic, Window)>,
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topic {
    Kind(NoticeKind),
    Fault,
}

#[derive(Clone, Copy, Default)]
struct Window {
    began_at: Instant,
    shown: u32,
    hidden: u32,
}

/// Whether a line may leave, and how many were left out before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Show { hidden: u32 },
    Hide,
}

impl Notices {
    /// Logs what the mind has to say.
    pub(crate) fn report(&mut self, now: Instant, notice: &Notice) {
        let wanted = match notice.level {
            Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(tracing::Level::INFO),
            Level::Warn => tracing::enabled!(tracing::Level::WARN),
        };
        if wanted && let Verdict::Show { hidden } = self.judge(now, Topic::Kind(notice.kind)) {
            tell_hidden(hidden, notice.kind);
            match notice.level {
                Level::Debug => debug!("{notice}"),
                Level::Info => info!("{notice}"),
                Level::Warn => warn!("{notice}"),
            }
        }
    }

    /// Logs what went wrong with the sockets of this core.
    pub(crate) fn fault(&mut self, now: Instant, text: fmt::Arguments<'_>) {
        if let Verdict::Show { hidden } = self.judge(now, Topic::Fault) {
            tell_hidden(hidden, Topic::Fault);
            warn!("{text}");
        }
    }

    fn judge(&mut self, now: Instant, topic: Topic) -> Verdict {
        let known = self.kinds.iter().position(|(known, _)| *known == topic);
        let place = known.unwrap_or_else(|| {
            self.kinds.push((topic, Window { began_at: now, ..Window::default() }));
            self.kinds.len() - 1
        });
        self.kinds[place].1.judge(now)
    }
}

impl Window {
    fn judge(&mut self, now: Instant) -> Verdict {
        let hidden = self.hidden;
        if now.since(self.began_at) >= WINDOW {
            *self = Window { began_at: now, shown: 1, hidden: 0 };
            return Verdict::Show { hidden };
        }
        if self.shown < LINES_MAX {
            self.shown += 1;
            return Verdict::Show { hidden: 0 };
        }
        self.hidden = self.hidden.saturating_add(1);
        Verdict::Hide
    }
}

fn tell_hidden(hidden: u32, topic: impl fmt::Debug) {
    if hidden > 0 {
        info!("{hidden} more lines about {topic:?} were left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_one_kind_is_cut_and_counted_and_does_not_silence_the_others() {
        let mut notices = Notices::default();
        let storm = Topic::Kind(NoticeKind::Violation);
        let start = Instant::from_ns(5);
        let shown = (0..1000).filter(|_| notices.judge(start, storm) != Verdict::Hide).count();
        assert_eq!(shown, 50);
        assert_eq!(notices.judge(start, Topic::Fault), Verdict::Show { hidden: 0 });
        assert_eq!(notices.judge(start + WINDOW, storm), Verdict::Show { hidden: 950 });
    }
}
