//! What a client can do wrong: one variant per statement, with the statement's id, the reason code and a sentence.
//!
//! Why one table: a broker that says *which* sentence of the standard was broken is debugged in a minute, and the
//! code, the log line and the conformance report cannot disagree when they are read from one row.
//!
//! Invariants:
//! - A variant is one byte and `Copy`, so the data path returns it for nothing.
//! - The reason codes are lawful in a DISCONNECT or in a CONNACK that a server sends.
//!
//! Source: MQTT 5.0 sections 2.4, 3 and 4.13; a statement that only MQTT 3.1.1 has is marked `3.1.1`.

use std::fmt;

use crate::ReasonCode;

/// What is known about a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ViolationFacts {
    /// The statement's number, such as `MQTT-3.3.2-2`, or the section where the standard gives no number.
    pub id: &'static str,
    /// The 5.0 reason code of the DISCONNECT or CONNACK that answers it.
    pub reason: ReasonCode,
    /// What the client did, in one clause.
    pub text: &'static str,
}

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident, $id:literal, $reason:ident, $text:literal;)*) => {
        /// A statement of the standard that the peer broke; it always ends the connection.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Violation { $(#[doc = concat!("The client: ", $text, ". Source: ", $id, ".")] $(#[$doc])* $name,)* }

        impl Violation {
            /// All violations, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The statement, the reason code and the text.
            #[must_use]
            pub const fn facts(self) -> ViolationFacts {
                match self {
                    $(Self::$name => ViolationFacts { id: $id, reason: ReasonCode::$reason, text: $text },)*
                }
            }

            /// The variant's name, for counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

violations! {
    // Frames.
    RemainingLengthTooLong, "MQTT-1.5.5-1", MalformedPacket, "sent a remaining length of more than four bytes";
    RemainingLengthNotMinimal, "MQTT-1.5.5-1", MalformedPacket, "sent a remaining length that is not minimal";
    PacketTooLarge, "MQTT-3.2.2-15", PacketTooLarge, "sent a packet above the maximum packet size";
    FlagsReserved, "MQTT-2.1.3-1", MalformedPacket, "set reserved flags in the fixed header";
    PacketTypeReserved, "section 2.1.2", MalformedPacket, "sent a packet of a reserved type";
    ServerOnlyPacket, "section 2.1.2", ProtocolError, "sent a packet that only a server sends";

    // Fields.
    FieldOverrun, "section 1.5", MalformedPacket, "sent a field that is longer than its packet";
    BytesSurplus, "section 2.1.4", MalformedPacket, "sent bytes after the last field of a packet";
    IntegerTooLong, "MQTT-1.5.5-1", MalformedPacket, "sent a variable byte integer of more than four bytes";
    IntegerNotMinimal, "MQTT-1.5.5-1", MalformedPacket, "sent a variable byte integer that is not minimal";
    Utf8Invalid, "MQTT-1.5.4-1", MalformedPacket, "sent a string that is not UTF-8";
    NulCharacter, "MQTT-1.5.4-2", MalformedPacket, "sent a string with U+0000";
    /// Only where strictness was asked for: see [`crate::is_plain`].
    ControlCharacter, "section 1.5.4", MalformedPacket, "sent a string with a control character or non-character";
    PacketIdZero, "MQTT-2.2.1-3", ProtocolError, "sent packet identifier zero";

    // Properties.
    PropertyUnknown, "section 2.2.2.2", MalformedPacket, "sent a property that does not exist";
    PropertyMisplaced, "section 2.2.2.2", MalformedPacket, "sent a property that this packet must not have";
    PropertyRepeated, "section 2.2.2.2", ProtocolError, "sent a property twice that may stand once";
    PayloadFormatOutOfRange, "section 3.3.2.3.2", ProtocolError, "sent a payload format indicator above one";
    RequestResponseOutOfRange, "section 3.1.2.11.6", ProtocolError, "sent request response information above one";
    RequestProblemOutOfRange, "section 3.1.2.11.7", ProtocolError, "sent request problem information above one";
    ReceiveMaximumZero, "section 3.1.2.11.3", ProtocolError, "sent receive maximum zero";
    PacketSizeMaximumZero, "section 3.1.2.11.4", ProtocolError, "sent maximum packet size zero";
    SubscriptionIdZero, "section 3.8.2.1.2", ProtocolError, "sent subscription identifier zero";

    // CONNECT.
    FirstPacketNotConnect, "MQTT-3.1.0-1", ProtocolError, "began with a packet other than CONNECT";
    SecondConnect, "MQTT-3.1.0-2", ProtocolError, "sent a second CONNECT";
    ConnectTimeout, "section 3.1.4", MaximumConnectTime, "sent no CONNECT in time";
    ProtocolName, "MQTT-3.1.2-1", UnsupportedProtocolVersion, "sent a protocol name other than MQTT or MQIsdp";
    ProtocolLevel, "MQTT-3.1.2-2", UnsupportedProtocolVersion, "sent a protocol level that is not supported";
    ConnectFlagReserved, "MQTT-3.1.2-3", MalformedPacket, "set the reserved connect flag";
    WillQoSInvalid, "MQTT-3.1.2-12", MalformedPacket, "asked for will QoS 3";
    WillQoSWithoutWill, "MQTT-3.1.2-11", MalformedPacket, "set a will QoS without a will";
    WillRetainWithoutWill, "MQTT-3.1.2-13", MalformedPacket, "set will retain without a will";
    WillFieldMissing, "MQTT-3.1.2-9", MalformedPacket, "set the will flag and sent no will";
    WillTopicEmpty, "MQTT-4.7.3-1", TopicNameInvalid, "sent an empty will topic";
    WillTopicHasWildcard, "MQTT-4.7.0-1", TopicNameInvalid, "sent a will topic with a wildcard";
    WillTopicTooDeep, "section 4.7.3", TopicNameInvalid, "sent a will topic with too many levels";
    WillQoSTooHigh, "MQTT-3.2.2-12", QoSNotSupported, "asked for a will QoS above the maximum QoS";
    WillRetainNotSupported, "MQTT-3.2.2-13", RetainNotSupported, "asked for a retained will where none are kept";
    UserNameMissing, "MQTT-3.1.2-17", MalformedPacket, "set the user name flag and sent no user name";
    PasswordMissing, "MQTT-3.1.2-19", MalformedPacket, "set the password flag and sent no password";
    PasswordWithoutUserName, "3.1.1 MQTT-3.1.2-22", MalformedPacket, "sent a password without a user name";
    ClientIdMissing, "MQTT-3.1.3-3", MalformedPacket, "sent no client identifier";
    /// Below 5.0: an empty identifier needs a clean session, and in 3.1 it is never allowed.
    ClientIdEmpty, "3.1.1 MQTT-3.1.3-8", ClientIdNotValid, "sent an empty client identifier for a lasting session";
    AuthDataWithoutMethod, "section 3.1.2.11.10", ProtocolError, "sent authentication data without a method";
    PacketBeforeConnAck, "MQTT-3.1.2-30", ProtocolError, "sent a packet other than AUTH or DISCONNECT before CONNACK";

    // PUBLISH.
    QoSInvalid, "MQTT-3.3.1-4", MalformedPacket, "sent a PUBLISH with QoS 3";
    DupWithQoS0, "MQTT-3.3.1-2", MalformedPacket, "set DUP on a PUBLISH with QoS 0";
    TopicEmpty, "MQTT-4.7.3-1", ProtocolError, "sent an empty topic name without an alias";
    TopicHasWildcard, "MQTT-3.3.2-2", TopicNameInvalid, "sent a topic name with a wildcard";
    TopicTooDeep, "section 4.7.3", TopicNameInvalid, "sent a topic name with too many levels";
    /// No packet can carry one: it is that of a name that was made here.
    TopicTooLong, "section 1.5.4", TopicNameInvalid, "sent a topic name of more than 65,535 bytes";
    TopicAliasZero, "MQTT-3.3.2-8", TopicAliasInvalid, "sent topic alias zero";
    TopicAliasTooLarge, "MQTT-3.3.2-9", TopicAliasInvalid, "sent a topic alias above the maximum";
    TopicAliasUnknown, "section 3.3.4", ProtocolError, "used a topic alias that it had not set";
    ResponseTopicHasWildcard, "MQTT-3.3.2-14", ProtocolError, "sent a response topic with a wildcard";
    ResponseTopicEmpty, "MQTT-4.7.3-1", ProtocolError, "sent an empty response topic";
    SubscriptionIdFromClient, "MQTT-3.3.4-6", ProtocolError, "sent a subscription identifier in a PUBLISH";
    ReceiveMaximumExceeded, "MQTT-3.3.4-7", ReceiveMaximumExceeded, "sent more QoS 1 and 2 messages than allowed";
    PublishQoSTooHigh, "MQTT-3.2.2-11", QoSNotSupported, "sent a PUBLISH above the maximum QoS";
    RetainNotSupported, "MQTT-3.2.2-14", RetainNotSupported, "sent a retained message where none are kept";
    /// Below 5.0 only, where an acknowledgement cannot refuse.
    RetainedQuotaExceeded, "3.1.1 MQTT-4.8.0-2", QuotaExceeded, "sent a retained message that cannot be kept";
    PayloadNotUtf8, "section 3.3.2.3.2", PayloadFormatInvalid, "sent a payload that is not the UTF-8 it promised";

    // Acknowledgements.
    PubAckReasonInvalid, "MQTT-3.4.2-1", ProtocolError, "sent a reason code that PUBACK has not";
    PubRecReasonInvalid, "MQTT-3.5.2-1", ProtocolError, "sent a reason code that PUBREC has not";
    PubRelReasonInvalid, "MQTT-3.6.2-1", ProtocolError, "sent a reason code that PUBREL has not";
    PubCompReasonInvalid, "MQTT-3.7.2-1", ProtocolError, "sent a reason code that PUBCOMP has not";
    AckStateMismatch, "section 4.3", ProtocolError, "sent an acknowledgement that the message's QoS has not";

    // SUBSCRIBE and UNSUBSCRIBE.
    SubscribeEmpty, "MQTT-3.8.3-2", ProtocolError, "sent a SUBSCRIBE without a topic filter";
    SubscribeFlagReserved, "MQTT-3.8.3-5", MalformedPacket, "set reserved bits of the subscription options";
    SubscribeQoSInvalid, "section 3.8.3.1", ProtocolError, "asked for QoS 3";
    RetainHandlingInvalid, "section 3.8.3.1", ProtocolError, "asked for retain handling 3";
    AnswerTooLarge, "MQTT-3.1.2-24", PacketTooLarge, "sent more filters at once than its own maximum lets us answer";
    NoLocalOnShared, "MQTT-3.8.3-4", ProtocolError, "asked for no local on a shared subscription";
    FilterEmpty, "MQTT-4.7.3-1", TopicFilterInvalid, "sent an empty topic filter";
    FilterHashMisplaced, "MQTT-4.7.1-1", TopicFilterInvalid, "sent a topic filter with # other than as last level";
    FilterPlusMisplaced, "MQTT-4.7.1-2", TopicFilterInvalid, "sent a topic filter with + beside other characters";
    FilterTooDeep, "section 4.7.3", TopicFilterInvalid, "sent a topic filter with too many levels";
    ShareNameEmpty, "MQTT-4.8.2-1", TopicFilterInvalid, "sent an empty share name";
    ShareNameInvalid, "MQTT-4.8.2-2", TopicFilterInvalid, "sent a share name with a wildcard or no filter behind it";
    UnsubscribeEmpty, "MQTT-3.10.3-2", ProtocolError, "sent an UNSUBSCRIBE without a topic filter";

    // DISCONNECT, AUTH, time.
    DisconnectReasonInvalid, "MQTT-3.14.2-1", ProtocolError, "sent a reason code that a client's DISCONNECT has not";
    SessionExpiryRaisedFromZero, "section 3.14.2.2.2", ProtocolError, "raised session expiry from zero at DISCONNECT";
    AuthReasonInvalid, "MQTT-3.15.2-1", ProtocolError, "sent a reason code that a client's AUTH has not";
    AuthWithoutMethod, "section 3.15.2.2.2", ProtocolError, "sent an AUTH without an authentication method";
    AuthUnexpected, "MQTT-4.12.0-7", ProtocolError, "sent an AUTH that no exchange asked for";
    AuthMethodChanged, "MQTT-4.12.0-5", ProtocolError, "changed the authentication method";
    KeepAliveTimeout, "MQTT-3.1.2-22", KeepAliveTimeout, "was silent for one and a half keep alives";
}

const _: () = assert!(size_of::<Violation>() == 1);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.facts();
        write!(f, "{} [{}]", facts.text, facts.id)
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_one_that_a_server_may_send() {
        // DC-03 [MQTT-3.14.2-1], CA-08 [MQTT-3.2.2-8].
        for violation in Violation::ALL {
            let reason = violation.facts().reason;
            assert!(reason.is_failure(), "{violation:?}");
            assert!(reason.is_in_server_disconnect() || reason.is_in_connack(), "{violation:?}");
        }
    }

    #[test]
    fn every_violation_cites_a_statement_or_a_section() {
        for violation in Violation::ALL {
            let id = violation.facts().id.trim_start_matches("3.1.1 ");
            assert!(id.starts_with("MQTT-") || id.starts_with("section "), "{violation:?}");
        }
        let line = Violation::TopicHasWildcard.to_string();
        assert_eq!(line, "sent a topic name with a wildcard [MQTT-3.3.2-2]");
    }
}
