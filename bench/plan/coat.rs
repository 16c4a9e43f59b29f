//! What the devices' MQTT is wrapped in while it is measured: nothing, or TLS.
//!
//! Why the same value everywhere: a cost over TLS and one without must never be mixed up, so each pattern, each profile
//! and the question itself say which one they are about.
//!
//! Invariants:
//! - Over TLS the generator is the one of the comparison's load T: TLS 1.3, full handshakes.

use serde::{Deserialize, Serialize};

use crate::compare::Door;

/// What MQTT is wrapped in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coat {
    /// TCP as it is.
    #[default]
    Plain,
    /// TLS 1.3.
    Tls,
}

impl Coat {
    /// The generator's arguments.
    pub(crate) fn arguments(self) -> impl Iterator<Item = String> {
        let door = match self {
            Self::Plain => Door::Plain,
            Self::Tls => Door::Tls,
        };
        door.arguments().split_ascii_whitespace().map(str::to_owned)
    }

    /// Behind a noun; empty for plain TCP.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => " over TLS",
        }
    }

    /// At the end of a description; empty for plain TCP.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => ", over TLS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_changes_the_generators_arguments() {
        assert_eq!(Coat::Plain.arguments().count(), 0);
        assert_eq!(Coat::Tls.arguments().collect::<Vec<_>>(), ["-S", "--tls-min", "1.3"]);
    }
}
