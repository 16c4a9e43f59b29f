//! Where the system whose API this is does something that no client needs, or that one could do without: one switch each.
//!
//! Why switches in a profile and none for the whole server: whoever moves a fleet has devices of one kind that rely on one
//! of them, and a profile is what devices of one kind have in common.
//!
//! Invariants:
//! - What is not named has its default; those that devices rely on are on, all others are off.
//! - No switch but `shared_from_gateways` lets anybody do more than without it.
//!
//! Source: the items marked as quirks in the vectors, sections 2 to 11, and section 16 for the defaults.

use serde::Deserialize;

/// The member `quirks` of a profile's settings.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Quirks {
    /// On: JSON is read as leniently as Gson reads it. Section 2.4.
    pub lenient_json: bool,
    /// On: what a device asked for is sent to it although it has not subscribed. Section 10.4.
    pub delivers_unsubscribed: bool,
    /// On: with QoS 1. Section 10.4.
    pub qos1_unsubscribed: bool,
    /// On: below 5.0 a topic that means nothing is acknowledged; off: it ends the connection. Section 2.1.
    pub acks_unknown_topics: bool,
    /// An empty array of telemetry is never acknowledged. Section 2.3.
    pub empty_arrays_unacknowledged: bool,
    /// A time or a number of a call that is none ends the connection, in 5.0 with 0x8B. Section 2.6.
    pub broken_numbers_end: bool,
    /// What is said on a gateway's topics by a device that is none is not acknowledged. Section 2.1.
    pub gateway_topics_unacknowledged: bool,
    /// Whole doubles from 10,000,000 on become longs. Appendix A.
    pub rereads_doubles: bool,
    /// Only the filters that stand in the table are granted. Section 10.1.
    pub exact_filters: bool,
    /// The last request decides in which spelling all are answered. Section 2.9.
    pub last_request_decides: bool,
    /// Changes of attributes go to the default topic although a profile's own was subscribed to. Section 2.8.
    pub pushes_to_default_topic: bool,
    /// What is said too often ends the connection. Section 11.4.
    pub rate_limits_end: bool,
    /// A message of QoS 2 is answered with PUBACK. Section 2.2.
    pub qos2_puback: bool,
    /// CONNACK says that there is a session whenever a clean one was not asked for. Section 1.1.
    pub echoes_session: bool,
    /// In 5.0 a DISCONNECT is answered with one. Section 1.7.
    pub echoes_disconnect: bool,
    /// What a gateway says of attributes in Protobuf, and calls shared, is written to the server's shared ones. Section 3.1.
    pub shared_from_gateways: bool,
    /// A download that fails ends the connection. Section 7.4.
    pub download_errors_end: bool,
    /// Errors of software are told on the topic of firmware. Section 7.4.
    pub one_download_error_topic: bool,
    /// A part of a package may be asked for with more before and behind its topic. Section 2.1.
    pub unanchored_downloads: bool,
    /// A call of an unknown method is answered when a minute has passed. Section 4.2.
    pub unknown_calls_time_out: bool,
    /// `getSessionLimits` is known by the long topic only. Section 4.2.1.
    pub limits_on_v1_only: bool,
    /// Every SUBSCRIBE to commands repeats those that are not answered. Section 4.1.3.
    pub repeats_commands: bool,
    /// Protobuf telemetry of values and no time is kept as one value. Section 2.10.
    pub untimed_values_whole: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            lenient_json: true,
            delivers_unsubscribed: true,
            qos1_unsubscribed: true,
            acks_unknown_topics: true,
            empty_arrays_unacknowledged: false,
            broken_numbers_end: false,
            gateway_topics_unacknowledged: false,
            rereads_doubles: false,
            exact_filters: false,
            last_request_decides: false,
            pushes_to_default_topic: false,
            rate_limits_end: false,
            qos2_puback: false,
            echoes_session: false,
            echoes_disconnect: false,
            shared_from_gateways: false,
            download_errors_end: false,
            one_download_error_topic: false,
            unanchored_downloads: false,
            unknown_calls_time_out: false,
            limits_on_v1_only: false,
            repeats_commands: false,
            untimed_values_whole: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_is_misspelled_is_told_and_what_is_absent_is_the_default() {
        let read = |text: &str| serde_json::from_str::<Quirks>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(Quirks::default()));
        let off = Quirks { lenient_json: false, rate_limits_end: true, ..Quirks::default() };
        assert_eq!(read("{\"lenientJson\":false,\"rateLimitsEnd\":true}"), Ok(off));
        assert!(read("{\"lenient\":true}").is_err_and(|why| why.contains("unknown field `lenient`")));
    }
}
