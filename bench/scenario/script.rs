//! A scenario as the player needs it, read from its lines.
//!
//! Why checked as a whole before anybody is dialled: a mistake on the last line should not cost the ten minutes before
//! it.
//!
//! Invariants:
//! - Steps are in the order of the file; the player orders them by time.

use std::time::Duration;

use super::line::{Line, Verb};
use crate::codec::{Body, Credentials, Lasting, Qos};
use crate::stamp::FULL_BYTES;

const SESSION_EXPIRY_S: u32 = 3_600;
const TEXT_BYTES_MAX: usize = 60_000;
const PAYLOAD_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// A whole file.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Scenario {
    /// What it is, in words.
    pub(crate) title: String,
    /// Its clients.
    pub(crate) groups: Vec<Group>,
    /// What they do.
    pub(crate) steps: Vec<Step>,
}

/// Clients that do the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// Its name, a part of the client ids.
    pub(crate) name: String,
    /// Clients.
    pub(crate) count: u32,
}

/// One line: every client of a group does something.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    /// When the first client does it, in nanoseconds from the beginning.
    pub(crate) at_ns: u64,
    /// How long it takes until the last one does it.
    pub(crate) over_ns: u64,
    /// Place of the group.
    pub(crate) group: usize,
    /// What.
    pub(crate) action: Action,
}

/// What a client does.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Action {
    /// Dials and says CONNECT.
    Connect {
        /// What becomes of its session.
        lasting: Lasting,
        /// User name and password, as templates.
        credentials: Credentials,
    },
    /// Says goodbye.
    Disconnect,
    /// Is gone without a word.
    Cut,
    /// Subscribes.
    Subscribe {
        /// Filter template.
        filter: String,
        /// QoS asked for.
        qos: Qos,
    },
    /// Unsubscribes.
    Unsubscribe {
        /// Filter template.
        filter: String,
    },
    /// Publishes, perhaps many times.
    Publish(Publication),
}

/// A series of messages.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Publication {
    /// Topic template.
    pub(crate) topic: String,
    /// QoS.
    pub(crate) qos: Qos,
    /// The kind of payload.
    pub(crate) body: Body,
    /// Bytes of payload.
    pub(crate) payload_bytes: usize,
    /// Whether the broker shall keep the last one.
    pub(crate) retain: bool,
    /// Messages of each client.
    pub(crate) times: u64,
    /// Between two messages of one client.
    pub(crate) every_ns: u64,
}

impl Scenario {
    /// Reads a file's text; an error names its line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut scenario = Self::default();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = serde_json::from_str(line).map_err(|error| error.to_string());
            parsed.and_then(|line| scenario.add(&line)).map_err(|cause| format!("line {number}: {cause}"))?;
        }
        if scenario.steps.is_empty() {
            return Err("nobody does anything".into());
        }
        Ok(scenario)
    }

    fn add(&mut self, line: &Line) -> Result<(), String> {
        if let Some(title) = &line.title {
            self.title.clone_from(title);
        }
        let (who, verb) = match (&line.who, line.verb) {
            (Some(who), Some(verb)) => (who, verb),
            (None, None) if line.title.is_some() => return Ok(()),
            _ => return Err("`who` and `do` are needed".into()),
        };
        if let Some(stranger) = line.members().into_iter().find(|name| !verb.members().contains(name)) {
            let known = verb.members().join(", ");
            return Err(format!("`{stranger}` means nothing here; `do` knows: {known}"));
        }
        let group = self.group(who, verb, line.count)?;
        let step = Step {
            at_ns: seconds(line.at, "at")?,
            over_ns: seconds(line.over, "over")?,
            group,
            action: action(verb, line)?,
        };
        self.steps.push(step);
        Ok(())
    }

    fn group(&mut self, who: &str, verb: Verb, count: Option<u32>) -> Result<usize, String> {
        if let Some(known) = self.groups.iter().position(|group| group.name == who) {
            return match count {
                Some(_) => Err(format!("how many `{who}` there are has been said before")),
                None => Ok(known),
            };
        }
        if verb != Verb::Connect {
            return Err(format!("`{who}` has to connect first"));
        }
        if who.len() > 1_000 || count == Some(0) {
            return Err("a group needs a short name and at least one client".into());
        }
        self.groups.push(Group { name: who.to_owned(), count: count.unwrap_or(1) });
        Ok(self.groups.len() - 1)
    }

    /// When the last line begins for the last of its clients, and its last message leaves.
    pub(crate) fn length_ns(&self) -> u64 {
        self.steps.iter().map(Step::end_ns).max().unwrap_or(0)
    }
}

impl Step {
    /// When client `number` of `count` does it.
    pub(crate) fn due_ns(&self, number: u32, count: u32) -> u64 {
        let share = u128::from(self.over_ns) * u128::from(number) / u128::from(count.max(1));
        self.at_ns + u64::try_from(share).expect("a share of the whole")
    }

    fn end_ns(&self) -> u64 {
        let messages_ns = match &self.action {
            Action::Publish(Publication { times, every_ns, .. }) => every_ns.saturating_mul(times - 1),
            _ => 0, // Everything else is over when it has begun.
        };
        (self.at_ns + self.over_ns).saturating_add(messages_ns)
    }
}

fn action(verb: Verb, line: &Line) -> Result<Action, String> {
    let filter = || text(line.filter.as_deref(), "filter");
    Ok(match verb {
        Verb::Connect => Action::Connect {
            lasting: match (line.clean.unwrap_or(true), line.expiry) {
                (true, None) => Lasting::Never,
                (true, Some(_)) => return Err("`expiry` needs `\"clean\": false`".into()),
                (false, expiry_s) => Lasting::Seconds(expiry_s.unwrap_or(SESSION_EXPIRY_S)),
            },
            credentials: Credentials { user: line.user.clone(), password: line.password.clone() },
        },
        Verb::Disconnect => Action::Disconnect,
        Verb::Cut => Action::Cut,
        Verb::Subscribe => Action::Subscribe { filter: filter()?, qos: qos(line)? },
        Verb::Unsubscribe => Action::Unsubscribe { filter: filter()? },
        Verb::Publish => Action::Publish(publication(line)?),
    })
}

fn publication(line: &Line) -> Result<Publication, String> {
    let topic = text(line.topic.as_deref(), "topic")?;
    if topic.contains(['+', '#']) {
        return Err("a topic has no wildcards".into());
    }
    let body = if line.json.unwrap_or(false) { Body::Json } else { Body::Filler };
    let least = body.bytes_min().max(FULL_BYTES);
    let payload_bytes = line.size.unwrap_or(least);
    if !(least..=PAYLOAD_BYTES_MAX).contains(&payload_bytes) {
        return Err(format!("`size` is {least} to {PAYLOAD_BYTES_MAX} here"));
    }
    let times = line.times.unwrap_or(1);
    if times == 0 || times > u64::from(u32::MAX) {
        return Err(format!("`times` is 1 to {}", u32::MAX));
    }
    Ok(Publication {
        topic,
        qos: qos(line)?,
        body,
        payload_bytes,
        retain: line.retain.unwrap_or(false),
        times,
        // Also a burst has an order.
        every_ns: seconds(line.every.unwrap_or(1.0), "every")?.max(1),
    })
}

fn text(text: Option<&str>, name: &str) -> Result<String, String> {
    match text {
        Some(text) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        Some(_) => Err(format!("`{name}` has 1 to {TEXT_BYTES_MAX} bytes")),
        None => Err(format!("`{name}` is needed")),
    }
}

fn qos(line: &Line) -> Result<Qos, String> {
    Qos::from_bits(line.qos.unwrap_or(0)).ok_or_else(|| "`qos` is 0, 1 or 2".to_owned())
}

fn seconds(value: f64, name: &str) -> Result<u64, String> {
    let duration = Duration::try_from_secs_f64(value).ok();
    let ns = duration.and_then(|duration| u64::try_from(duration.as_nanos()).ok());
    ns.filter(|&ns| ns < 1 << 60).ok_or_else(|| format!("`{name}` is not a time in seconds: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Scenario::parse(text).expect_err("the scenario is wrong")
    }

    const BOARD: &str = r#"{"who":"board","do":"connect"}"#;

    #[test]
    fn a_scenario_is_read_line_by_line() {
        let text = [
            r#"{"title":"A morning"}"#,
            "# sensors come slowly",
            r#"{"who":"sensor","do":"connect","count":20,"over":2,"clean":false}"#,
            "",
            r#"{"at":3,"who":"sensor","do":"publish","topic":"a/%i","qos":1,"every":0.5,"times":3,"json":true}"#,
        ];
        let scenario = Scenario::parse(&text.join("\n")).expect("a lawful scenario");
        assert_eq!((scenario.title.as_str(), scenario.steps.len()), ("A morning", 2));
        assert_eq!(scenario.groups, [Group { name: "sensor".into(), count: 20 }]);
        assert_eq!([0, 10].map(|number| scenario.steps[0].due_ns(number, 20)), [0, 1_000_000_000]);
        let Action::Publish(publication) = &scenario.steps[1].action else { panic!("it publishes") };
        assert_eq!((publication.qos, publication.body), (Qos::AtLeastOnce, Body::Json));
        assert_eq!(scenario.length_ns(), 4_000_000_000);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let after_board = |line: &str| refusal(&format!("{BOARD}\n{line}"));
        assert_eq!(refusal(r#"{"who":"x","do":"publish","topic":"a"}"#), "line 1: `x` has to connect first");
        assert!(after_board(r#"{"who":"board","do":"subscribe"}"#).contains("line 2: `filter` is needed"));
        assert!(after_board(r#"{"who":"board","do":"cut","qos":1}"#).contains("`qos` means nothing"));
        assert!(after_board(r#"{"who":"board","do":"dance"}"#).contains("unknown variant"));
        assert!(after_board(r#"{"who":"board","do":"cut","when":1}"#).contains("unknown field"));
        assert!(after_board(r#"{"who":"board","do":"publish","topic":"a/+"}"#).contains("wildcards"));
        assert!(
            after_board(r#"{"who":"board","do":"publish","topic":"a","size":3}"#).contains("`size` is 16")
        );
        assert!(after_board(r#"{"who":"board","do":"publish","topic":"a","qos":3}"#).contains("`qos`"));
        assert!(after_board(r#"{"who":"board","do":"connect","count":2}"#).contains("said before"));
        assert!(after_board(r#"{"who":"board","do":"cut","at":-1}"#).contains("`at` is not a time"));
        assert!(refusal("# nothing").contains("nobody"));
    }
}
