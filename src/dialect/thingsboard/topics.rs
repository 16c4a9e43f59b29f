//! Topics: what a device means by the topic that it publishes to, and on which it is answered.
//!
//! Why a table and no router: a device says "me" in every topic, so a topic says what is meant and never who means it. The
//! order of the questions is part of the contract, because a profile's own filters may cover other topics.
//!
//! Invariants:
//! - A profile's filters are asked first, attributes before telemetry.
//! - An answer goes out in the spelling of its question.
//!
//! Source: section 2.1 of the vectors for the order, the tables of topics for the names.

use device::PackageKind;
use mqtt::topic::matches;

/// In which of its four spellings a topic is written; it also says in which format the payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spelling {
    /// `v1/devices/me/...`.
    V1,
    /// `v2/...`, in the profile's format.
    V2,
    /// `v2/.../j`.
    V2Json,
    /// `v2/.../p`.
    V2Proto,
}

/// What a device means by a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning<'a> {
    Telemetry(Spelling),
    Attributes(Spelling),
    AttributesWanted(Spelling, &'a str),
    CommandAnswered(Spelling, &'a str),
    Called(Spelling, &'a str),
    Claim,
    Chunk { kind: PackageKind, request: &'a str, index: &'a str },
    Gateway(GatewayMeaning),
    Unknown,
}

/// What a gateway means by a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GatewayMeaning {
    Connect,
    Disconnect,
    Telemetry,
    Attributes,
    AttributesWanted,
    CommandAnswered,
    Claim,
    Unknown,
}

pub(super) const TELEMETRY: &str = "v1/devices/me/telemetry";
pub(super) const ATTRIBUTES: &str = "v1/devices/me/attributes";
const GATEWAY: &str = "v1/gateway";

/// Everything that is written to devices, as filters.
const DOWNLINKS: [&str; 26] = [
    "v1/devices/me/attributes",
    "v2/a",
    "v2/a/j",
    "v2/a/p",
    "v1/devices/me/rpc/request/+",
    "v2/r/req/+",
    "v2/r/req/j/+",
    "v2/r/req/p/+",
    "v1/devices/me/rpc/response/+",
    "v2/r/res/+",
    "v2/r/res/j/+",
    "v2/r/res/p/+",
    "v1/devices/me/attributes/response/+",
    "v2/a/res/+",
    "v2/a/res/j/+",
    "v2/a/res/p/+",
    "v1/gateway/attributes",
    "v1/gateway/attributes/response",
    "v1/gateway/rpc",
    "v1/gateway/disconnect",
    "v2/fw/response/+/chunk/+",
    "v2/fw/error",
    "v2/sw/response/+/chunk/+",
    "v2/sw/error",
    // What the client library of the system asks for; chunks come whether it is granted or not.
    "v2/fw/response/+",
    "v2/sw/response/+",
];

impl Spelling {
    /// In the order in which a filter that covers several of them is taken.
    pub const ALL: [Self; 4] = [Self::V1, Self::V2, Self::V2Json, Self::V2Proto];

    /// As a number of two bits.
    pub fn bits(self) -> u64 {
        match self {
            Self::V1 => 0,
            Self::V2 => 1,
            Self::V2Json => 2,
            Self::V2Proto => 3,
        }
    }

    /// The spelling of the lowest two bits.
    pub fn of_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::V1,
            1 => Self::V2,
            2 => Self::V2Json,
            _three => Self::V2Proto,
        }
    }

    /// Where changes of shared attributes are told.
    pub fn attributes(self) -> &'static str {
        match self {
            Self::V1 => ATTRIBUTES,
            Self::V2 => "v2/a",
            Self::V2Json => "v2/a/j",
            Self::V2Proto => "v2/a/p",
        }
    }

    /// Where attributes that were asked for are told, without the number of the request.
    pub fn attributes_response(self) -> &'static str {
        match self {
            Self::V1 => "v1/devices/me/attributes/response/",
            Self::V2 => "v2/a/res/",
            Self::V2Json => "v2/a/res/j/",
            Self::V2Proto => "v2/a/res/p/",
        }
    }

    /// Where commands are told, without their number.
    pub fn commands(self) -> &'static str {
        match self {
            Self::V1 => "v1/devices/me/rpc/request/",
            Self::V2 => "v2/r/req/",
            Self::V2Json => "v2/r/req/j/",
            Self::V2Proto => "v2/r/req/p/",
        }
    }

    /// Where calls are answered, without the number of the call.
    pub fn call_response(self) -> &'static str {
        match self {
            Self::V1 => "v1/devices/me/rpc/response/",
            Self::V2 => "v2/r/res/",
            Self::V2Json => "v2/r/res/j/",
            Self::V2Proto => "v2/r/res/p/",
        }
    }
}

/// A profile's filter, looked at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Filter {
    text: Box<str>,
    has_wildcards: bool,
}

impl Filter {
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), has_wildcards: text.contains(['+', '#']) }
    }

    /// Whether a topic fits.
    pub fn fits(&self, topic: &str) -> bool {
        *self.text == *topic || (self.has_wildcards && matches(&self.text, topic))
    }
}

/// What a device means by a topic, if these are its profile's filters.
pub(super) fn meaning<'a>(topic: &'a str, telemetry: &Filter, attributes: &Filter) -> Meaning<'a> {
    if topic.starts_with(GATEWAY) {
        return Meaning::Gateway(gateway(topic));
    }
    if attributes.fits(topic) {
        return Meaning::Attributes(Spelling::V1);
    }
    if telemetry.fits(topic) {
        return Meaning::Telemetry(Spelling::V1);
    }
    if let Some(rest) = topic.strip_prefix("v1/devices/me/") {
        return of_me(rest);
    }
    if let Some(rest) = topic.strip_prefix("v2/") {
        return short(rest);
    }
    Meaning::Unknown
}

fn of_me(rest: &str) -> Meaning<'_> {
    let behind = |prefix| rest.strip_prefix(prefix);
    if let Some(id) = behind("attributes/request/") {
        return Meaning::AttributesWanted(Spelling::V1, id);
    }
    if let Some(id) = behind("rpc/response/") {
        return Meaning::CommandAnswered(Spelling::V1, id);
    }
    if let Some(id) = behind("rpc/request/") {
        return Meaning::Called(Spelling::V1, id);
    }
    if rest == "claim" { Meaning::Claim } else { Meaning::Unknown }
}

fn short(rest: &str) -> Meaning<'_> {
    match rest {
        "t" => return Meaning::Telemetry(Spelling::V2),
        "t/j" => return Meaning::Telemetry(Spelling::V2Json),
        "t/p" => return Meaning::Telemetry(Spelling::V2Proto),
        "a" => return Meaning::Attributes(Spelling::V2),
        "a/j" => return Meaning::Attributes(Spelling::V2Json),
        "a/p" => return Meaning::Attributes(Spelling::V2Proto),
        _longer => {}
    }
    if let Some(rest) = rest.strip_prefix("fw/request/") {
        return chunk(PackageKind::Firmware, rest);
    }
    if let Some(rest) = rest.strip_prefix("sw/request/") {
        return chunk(PackageKind::Software, rest);
    }
    let numbered = |prefix: &str| {
        let rest = rest.strip_prefix(prefix)?;
        let found = match (rest.strip_prefix("j/"), rest.strip_prefix("p/")) {
            (Some(id), _) => (Spelling::V2Json, id),
            (None, Some(id)) => (Spelling::V2Proto, id),
            (None, None) => (Spelling::V2, rest),
        };
        Some(found)
    };
    if let Some((spelling, id)) = numbered("r/res/") {
        return Meaning::CommandAnswered(spelling, id);
    }
    if let Some((spelling, id)) = numbered("r/req/") {
        return Meaning::Called(spelling, id);
    }
    if let Some((spelling, id)) = numbered("a/req/") {
        return Meaning::AttributesWanted(spelling, id);
    }
    Meaning::Unknown
}

fn chunk(kind: PackageKind, rest: &str) -> Meaning<'_> {
    match rest.split_once("/chunk/") {
        Some((request, index)) if is_number(request) && is_number(index) => {
            Meaning::Chunk { kind, request, index }
        }
        Some(_) | None => Meaning::Unknown,
    }
}

/// A part of a package that is asked for anywhere within a topic.
pub(super) fn chunk_within(topic: &str) -> Meaning<'_> {
    let kinds = [("v2/fw/request/", PackageKind::Firmware), ("v2/sw/request/", PackageKind::Software)];
    let found = kinds.into_iter().find_map(|(prefix, kind)| {
        topic.match_indices(prefix).find_map(|(at, _)| {
            let (request, rest) = leading_digits(&topic[at + prefix.len()..])?;
            let (index, _) = leading_digits(rest.strip_prefix("/chunk/")?)?;
            Some(Meaning::Chunk { kind, request, index })
        })
    });
    found.unwrap_or(Meaning::Unknown)
}

fn leading_digits(text: &str) -> Option<(&str, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    (len > 0).then(|| text.split_at(len))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn gateway(topic: &str) -> GatewayMeaning {
    match topic.strip_prefix("v1/gateway/") {
        Some("connect") => GatewayMeaning::Connect,
        Some("disconnect") => GatewayMeaning::Disconnect,
        Some("telemetry") => GatewayMeaning::Telemetry,
        Some("attributes") => GatewayMeaning::Attributes,
        Some("attributes/request") => GatewayMeaning::AttributesWanted,
        Some("rpc") => GatewayMeaning::CommandAnswered,
        Some("claim") => GatewayMeaning::Claim,
        Some(_) | None => GatewayMeaning::Unknown,
    }
}

/// Whether a filter can match anything that is written to devices.
pub(super) fn is_heard(filter: &str) -> bool {
    DOWNLINKS.iter().any(|downlink| overlap(filter, downlink))
}

/// Whether a filter is one of those that the system whose API this is grants; the last two it refuses, and what a gateway
/// is told of children that were not heard it sends without a subscription.
pub(super) fn is_in_table(filter: &str) -> bool {
    let refused = ["v2/fw/response/+", "v2/sw/response/+", "v1/gateway/disconnect"];
    DOWNLINKS.contains(&filter) && !refused.contains(&filter)
}

/// In which spelling a filter asks for changes of shared attributes.
pub(super) fn attributes_spelling(filter: &str) -> Option<Spelling> {
    Spelling::ALL.into_iter().find(|spelling| matches(filter, spelling.attributes()))
}

/// In which spelling a filter asks for commands: it must match all numbers.
pub(super) fn commands_spelling(filter: &str) -> Option<Spelling> {
    Spelling::ALL.into_iter().find(|spelling| {
        let topic = |number: &str| [spelling.commands(), number].concat();
        // `v2/r/req/+` matches the letters `j` and `p` as well, but a number has no further level.
        matches(filter, &topic("0")) && matches(filter, &topic("1"))
    })
}

/// Whether some topic matches both filters.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) => return true,
            (None, None) => return true,
            (Some(one), Some(other)) if one == other || one == "+" || other == "+" => {}
            (Some(_), Some(_)) | (None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(topic: &'a str, telemetry: &str, attributes: &str) -> Meaning<'a> {
        meaning(topic, &Filter::new(telemetry), &Filter::new(attributes))
    }

    #[test]
    fn a_topic_means_what_the_tables_say() {
        use Spelling::{V1, V2, V2Json, V2Proto};
        let chunk = |kind, request, index| Meaning::Chunk { kind, request, index };
        let rows = [
            ("v1/devices/me/telemetry", Meaning::Telemetry(V1)),
            ("v2/t", Meaning::Telemetry(V2)),
            ("v2/t/j", Meaning::Telemetry(V2Json)),
            ("v2/t/p", Meaning::Telemetry(V2Proto)),
            ("v1/devices/me/attributes", Meaning::Attributes(V1)),
            ("v2/a", Meaning::Attributes(V2)),
            ("v2/a/j", Meaning::Attributes(V2Json)),
            ("v2/a/p", Meaning::Attributes(V2Proto)),
            ("v1/devices/me/attributes/request/42", Meaning::AttributesWanted(V1, "42")),
            ("v2/a/req/42", Meaning::AttributesWanted(V2, "42")),
            ("v2/a/req/j/42", Meaning::AttributesWanted(V2Json, "42")),
            ("v2/a/req/p/42", Meaning::AttributesWanted(V2Proto, "42")),
            ("v1/devices/me/rpc/response/0", Meaning::CommandAnswered(V1, "0")),
            ("v2/r/res/0", Meaning::CommandAnswered(V2, "0")),
            ("v2/r/res/j/0", Meaning::CommandAnswered(V2Json, "0")),
            ("v2/r/res/p/0", Meaning::CommandAnswered(V2Proto, "0")),
            ("v1/devices/me/rpc/request/5", Meaning::Called(V1, "5")),
            ("v2/r/req/5", Meaning::Called(V2, "5")),
            ("v2/r/req/j/5", Meaning::Called(V2Json, "5")),
            ("v2/r/req/p/5", Meaning::Called(V2Proto, "5")),
            ("v1/devices/me/claim", Meaning::Claim),
            ("v2/fw/request/1/chunk/0", chunk(PackageKind::Firmware, "1", "0")),
            ("v2/sw/request/77/chunk/3", chunk(PackageKind::Software, "77", "3")),
            ("v1/gateway/telemetry", Meaning::Gateway(GatewayMeaning::Telemetry)),
            ("v1/gateway/rpc/response", Meaning::Gateway(GatewayMeaning::Unknown)),
            ("v1/gatewayx", Meaning::Gateway(GatewayMeaning::Unknown)),
            ("x/v2/fw/request/1/chunk/0/y", Meaning::Unknown),
            ("v2/fw/request/a/chunk/0", Meaning::Unknown),
            ("v2/fw/request/1/chunk/", Meaning::Unknown),
            ("v1/devices/me/claim/x", Meaning::Unknown),
            ("v1/devices/you/telemetry", Meaning::Unknown),
            ("foo/bar", Meaning::Unknown),
            ("v2/", Meaning::Unknown),
        ];
        for (topic, expected) in rows {
            assert_eq!(of(topic, TELEMETRY, ATTRIBUTES), expected, "{topic}");
        }
    }

    #[test]
    fn a_profiles_filters_come_first_and_attributes_before_telemetry() {
        assert_eq!(of("a/b", "a/+", "x"), Meaning::Telemetry(Spelling::V1));
        assert_eq!(of("a/b", "a/+", "a/#"), Meaning::Attributes(Spelling::V1));
        assert_eq!(of("v1/devices/me/claim", "#", "x"), Meaning::Telemetry(Spelling::V1));
        assert_eq!(of(TELEMETRY, "mine", "x"), Meaning::Unknown, "the default is replaced");
        assert_eq!(of("v2/t", "mine", "x"), Meaning::Telemetry(Spelling::V2), "short topics stay");
        assert_eq!(of("a.b", "a+b", "x"), Meaning::Unknown);
    }

    #[test]
    fn filters_are_heard_if_they_can_match_what_is_written_to_devices() {
        for filter in DOWNLINKS {
            assert!(is_heard(filter), "{filter}");
        }
        for filter in
            ["#", "v1/devices/me/#", "v1/gateway/#", "v2/+/response/1/chunk/+", "v2/#", "+/+/+/attributes"]
        {
            assert!(is_heard(filter), "{filter}");
        }
        for filter in ["v1/devices/me/telemetry", "a/#", "$SYS/#", "v1/devices/you/#", "v2/fw", "v2/a/req/+"]
        {
            assert!(!is_heard(filter), "{filter}");
        }
    }

    #[test]
    fn a_filter_asks_for_attributes_and_commands_in_its_own_spelling() {
        let rows = [
            ("v1/devices/me/attributes", Some(Spelling::V1), None),
            ("v2/a/j", Some(Spelling::V2Json), None),
            ("v1/devices/me/rpc/request/+", None, Some(Spelling::V1)),
            ("v2/r/req/+", None, Some(Spelling::V2)),
            ("v2/r/req/p/+", None, Some(Spelling::V2Proto)),
            ("v2/#", Some(Spelling::V2), Some(Spelling::V2)),
            ("#", Some(Spelling::V1), Some(Spelling::V1)),
            ("v1/devices/me/rpc/request/1", None, None),
            ("v1/devices/me/rpc/response/+", None, None),
        ];
        for (filter, attributes, commands) in rows {
            assert_eq!(attributes_spelling(filter), attributes, "{filter}");
            assert_eq!(commands_spelling(filter), commands, "{filter}");
        }
    }

    #[test]
    fn a_spelling_survives_its_bits() {
        assert!(Spelling::ALL.into_iter().all(|one| Spelling::of_bits(one.bits() | 0xf0) == one));
    }

    #[test]
    fn a_part_is_found_within_a_topic_where_that_is_wanted() {
        let chunk = |kind, request, index| Meaning::Chunk { kind, request, index };
        let rows = [
            ("x/v2/fw/request/1/chunk/0/y", chunk(PackageKind::Firmware, "1", "0")),
            ("v2/sw/request/12/chunk/34z", chunk(PackageKind::Software, "12", "34")),
            ("v2/fw/request/v2/fw/request/1/chunk/2", chunk(PackageKind::Firmware, "1", "2")),
            ("v2/fw/request//chunk/0", Meaning::Unknown),
            ("v2/fw/request/1/chunk/", Meaning::Unknown),
            ("v2/fw/request/1", Meaning::Unknown),
            ("x", Meaning::Unknown),
        ];
        for (topic, expected) in rows {
            assert_eq!(chunk_within(topic), expected, "{topic}");
        }
    }
}
