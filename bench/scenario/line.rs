//! One line of a scenario file as it is written.
//!
//! Why everything is optional here: which members belong to which verb is said once, in `script`, with words that help.
//!
//! Invariants:
//! - A member that nobody knows is an error: a typo must not become a default.

use serde::Deserialize;

/// A line; see bench/README.md for the meaning of its members.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Line {
    pub(super) title: Option<String>,
    pub(super) at: f64,
    pub(super) who: Option<String>,
    #[serde(rename = "do")]
    pub(super) verb: Option<Verb>,
    pub(super) over: f64,
    pub(super) count: Option<u32>,
    pub(super) clean: Option<bool>,
    pub(super) expiry: Option<u32>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) filter: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) qos: Option<u8>,
    pub(super) size: Option<usize>,
    pub(super) json: Option<bool>,
    pub(super) retain: Option<bool>,
    pub(super) times: Option<u64>,
    pub(super) every: Option<f64>,
}

/// What a line tells its clients to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verb {
    Connect,
    Disconnect,
    Cut,
    Subscribe,
    Unsubscribe,
    Publish,
}

impl Line {
    /// The members that are set and that only some verbs know.
    pub(super) fn members(&self) -> Vec<&'static str> {
        let set = [
            ("count", self.count.is_some()),
            ("clean", self.clean.is_some()),
            ("expiry", self.expiry.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("filter", self.filter.is_some()),
            ("topic", self.topic.is_some()),
            ("qos", self.qos.is_some()),
            ("size", self.size.is_some()),
            ("json", self.json.is_some()),
            ("retain", self.retain.is_some()),
            ("times", self.times.is_some()),
            ("every", self.every.is_some()),
        ];
        set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }
}

impl Verb {
    /// The members that this verb knows, besides `at`, `who` and `over`.
    pub(super) const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &["count", "clean", "expiry", "user", "password"],
            Self::Disconnect | Self::Cut => &[],
            Self::Subscribe => &["filter", "qos"],
            Self::Unsubscribe => &["filter"],
            Self::Publish => &["topic", "qos", "size", "json", "retain", "times", "every"],
        }
    }
}
