//! Calls that are answered at once: what a device may ask a server without anybody else's help.
//!
//! Why an unknown method is told at once: a device that waits a minute for nothing is awake for a minute.
//!
//! Invariants:
//! - An answer is JSON.
//!
//! Source: section 4.2 of the vectors.

use device::{Offer, Rates, write_text};

/// The method by which a device asks what it may say.
pub(super) const LIMITS: &str = "getSessionLimits";

/// How long a call of an unknown method waits, where it does.
pub(super) const WAIT_MS: u32 = 60_000;

/// The answer to a method that is known here.
pub(super) fn answer(method: &str, offer: &Offer, is_gateway: bool, now_ms: i64) -> Option<String> {
    match method {
        LIMITS => Some(limits(offer, is_gateway)),
        "getCurrentTime" => Some(format!("{{\"time\":{now_ms}}}")),
        "ping" => Some("\"pong\"".to_owned()),
        "getServerInfo" => {
            Some(format!("{{\"name\":\"RingMQ\",\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION")))
        }
        _unknown => None,
    }
}

/// What a device may send: the largest packet, how many messages, how often.
fn limits(offer: &Offer, is_gateway: bool) -> String {
    let mut out = format!(
        "{{\"maxPayloadSize\":{},\"maxInflightMessages\":{},\"rateLimits\":",
        offer.packet_bytes_max, offer.inflight_max
    );
    write_rates(&offer.own, &mut out);
    if is_gateway {
        out.push_str(",\"gatewayRateLimits\":");
        write_rates(&offer.children, &mut out);
    }
    out.push('}');
    out
}

fn write_rates(rates: &Rates, out: &mut String) {
    let members = [
        ("{\"messages\":", &rates.messages),
        (",\"telemetryMessages\":", &rates.telemetry_messages),
        (",\"telemetryDataPoints\":", &rates.telemetry_values),
    ];
    for (name, rate) in members {
        out.push_str(name);
        if rate.text().is_empty() {
            out.push_str("null");
        } else {
            write_text(rate.text(), out);
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use device::Rate;

    use super::*;

    #[test]
    fn limits_are_told_as_clients_read_them() {
        let mut offer = Offer::default();
        assert_eq!(
            answer("getSessionLimits", &offer, false, 0).as_deref(),
            Some(
                "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,\"rateLimits\":\
                 {\"messages\":null,\"telemetryMessages\":null,\"telemetryDataPoints\":null}}"
            )
        );
        offer.own.messages = Rate::read("20:1,600:60").unwrap();
        offer.children.telemetry_values = Rate::read("40:1").unwrap();
        assert_eq!(
            answer("getSessionLimits", &offer, true, 0).as_deref(),
            Some(
                "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,\"rateLimits\":\
                 {\"messages\":\"20:1,600:60\",\"telemetryMessages\":null,\"telemetryDataPoints\":null},\
                 \"gatewayRateLimits\":\
                 {\"messages\":null,\"telemetryMessages\":null,\"telemetryDataPoints\":\"40:1\"}}"
            )
        );
    }

    #[test]
    fn the_time_is_told_and_what_is_unknown_is_not_known() {
        let offer = Offer::default();
        assert_eq!(answer("getCurrentTime", &offer, false, 1_760).as_deref(), Some("{\"time\":1760}"));
        assert_eq!(answer("ping", &offer, false, 0).as_deref(), Some("\"pong\""));
        assert!(answer("getServerInfo", &offer, false, 0).is_some_and(|info| info.contains("RingMQ")));
        assert_eq!(answer("reboot", &offer, false, 0), None);
    }
}
