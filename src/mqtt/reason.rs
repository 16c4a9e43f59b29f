//! Reason codes of MQTT 5.0, and what they become below 5.0.
//!
//! Invariants:
//! - A code that the standard does not define cannot be made.
//!
//! Source: MQTT 5.0 section 2.4; MQTT 3.1.1 table 3.1.

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// A reason code. Codes of 0x80 and above are failures.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(u8)]
        pub enum ReasonCode { $($(#[$doc])* $name = $value,)* }

        impl ReasonCode {
            /// Reads a code; an undefined number is nothing.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$name),)* _ => None }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn byte(self) -> u8 {
                match self { $(Self::$name => $value,)* }
            }

            /// The standard's name of the code, in lower case.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reason_codes! {
    /// 0x00: success, normal disconnection, or granted QoS 0.
    #[default]
    Success = 0x00, "success";
    /// 0x01: granted QoS 1.
    GrantedQoS1 = 0x01, "granted QoS 1";
    /// 0x02: granted QoS 2.
    GrantedQoS2 = 0x02, "granted QoS 2";
    /// 0x04.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// 0x10.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// 0x11.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// 0x18.
    ContinueAuthentication = 0x18, "continue authentication";
    /// 0x19.
    ReAuthenticate = 0x19, "re-authenticate";
    /// 0x80.
    UnspecifiedError = 0x80, "unspecified error";
    /// 0x81.
    MalformedPacket = 0x81, "malformed packet";
    /// 0x82.
    ProtocolError = 0x82, "protocol error";
    /// 0x83.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// 0x84.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// 0x85.
    ClientIdNotValid = 0x85, "client identifier not valid";
    /// 0x86.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// 0x87.
    NotAuthorized = 0x87, "not authorized";
    /// 0x88.
    ServerUnavailable = 0x88, "server unavailable";
    /// 0x89.
    ServerBusy = 0x89, "server busy";
    /// 0x8A.
    Banned = 0x8a, "banned";
    /// 0x8B.
    ServerShuttingDown = 0x8b, "server shutting down";
    /// 0x8C.
    BadAuthenticationMethod = 0x8c, "bad authentication method";
    /// 0x8D.
    KeepAliveTimeout = 0x8d, "keep alive timeout";
    /// 0x8E.
    SessionTakenOver = 0x8e, "session taken over";
    /// 0x8F.
    TopicFilterInvalid = 0x8f, "topic filter invalid";
    /// 0x90.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// 0x91.
    PacketIdInUse = 0x91, "packet identifier in use";
    /// 0x92.
    PacketIdNotFound = 0x92, "packet identifier not found";
    /// 0x93.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// 0x94.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// 0x95.
    PacketTooLarge = 0x95, "packet too large";
    /// 0x96.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// 0x97.
    QuotaExceeded = 0x97, "quota exceeded";
    /// 0x98.
    AdministrativeAction = 0x98, "administrative action";
    /// 0x99.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// 0x9A.
    RetainNotSupported = 0x9a, "retain not supported";
    /// 0x9B.
    QoSNotSupported = 0x9b, "QoS not supported";
    /// 0x9C.
    UseAnotherServer = 0x9c, "use another server";
    /// 0x9D.
    ServerMoved = 0x9d, "server moved";
    /// 0x9E.
    SharedSubscriptionsNotSupported = 0x9e, "shared subscriptions not supported";
    /// 0x9F.
    ConnectionRateExceeded = 0x9f, "connection rate exceeded";
    /// 0xA0.
    MaximumConnectTime = 0xa0, "maximum connect time";
    /// 0xA1.
    SubscriptionIdsNotSupported = 0xa1, "subscription identifiers not supported";
    /// 0xA2.
    WildcardSubscriptionsNotSupported = 0xa2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// Whether the code says that something failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.byte() >= 0x80
    }

    /// The return code of a CONNACK below 5.0; `None` where the connection is closed without one.
    ///
    /// Source: MQTT 3.1.1 table 3.1, [MQTT-3.2.2-6].
    #[must_use]
    pub const fn connack_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            // The other codes tell of what 3.1.1 closes for in silence.
            _ => None,
        }
    }

    /// Whether a 5.0 CONNACK has the code. Source: [MQTT-3.2.2-8], table 3-1.
    #[must_use]
    pub const fn is_in_connack(self) -> bool {
        matches!(
            self.byte(),
            0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f
        )
    }

    /// Whether a server may send the code in a DISCONNECT. Source: [MQTT-3.14.2-1], table 3-10.
    #[must_use]
    pub const fn is_in_server_disconnect(self) -> bool {
        matches!(self.byte(), 0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0xa2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_undefined_numbers_are_nothing() {
        let defined = (0..=u8::MAX).filter_map(ReasonCode::from_byte).collect::<Vec<_>>();
        // Section 2.4 lists 43 numbers.
        assert_eq!(defined.len(), 43);
        assert!((0..=u8::MAX).all(|byte| ReasonCode::from_byte(byte).is_none_or(|code| code.byte() == byte)));
        assert_eq!(ReasonCode::from_byte(0x03), None);
        assert_eq!(ReasonCode::from_byte(0xff), None);
    }

    #[test]
    fn below_5_0_only_six_return_codes_exist() {
        // CA-08 [MQTT-3.2.2-6]: 0x89 and 0x9F read as server unavailable.
        let rows = [
            (ReasonCode::Success, Some(0)),
            (ReasonCode::UnsupportedProtocolVersion, Some(1)),
            (ReasonCode::ClientIdNotValid, Some(2)),
            (ReasonCode::ServerBusy, Some(3)),
            (ReasonCode::ConnectionRateExceeded, Some(3)),
            (ReasonCode::BadUserNameOrPassword, Some(4)),
            (ReasonCode::NotAuthorized, Some(5)),
            (ReasonCode::MalformedPacket, None),
            (ReasonCode::ProtocolError, None),
            (ReasonCode::PacketTooLarge, None),
        ];
        for (reason, code) in rows {
            assert_eq!(reason.connack_return_code(), code, "{reason:?}");
        }
    }
}
