//! How long what a gateway says was on its way: as its connectors tell, told of the gateway itself once a minute.
//!
//! Why with a message and without a clock of its own: a gateway that says nothing has nothing to tell, and an interpreter
//! is not woken. What was gathered when the connection ends is lost.
//!
//! Invariants:
//! - At most [`CONNECTORS_MAX`] connectors are told apart; others are not gathered.
//!
//! Source: section 8.8 of the vectors.

use std::collections::BTreeMap;
use std::fmt::Write;

use device::{Sample, Value, write_text};

use super::json::{Malformed, Members};

/// How often the gateway's record is written, in milliseconds.
const REPORT_MS: i64 = 60_000;

/// The most connectors of one gateway.
const CONNECTORS_MAX: usize = 64;

/// The key under which it is told.
const KEY: &str = "gatewayMetrics";

/// What was gathered for a gateway.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// Since when; none if nothing is gathered.
    since_ms: Option<i64>,
    connectors: BTreeMap<Box<str>, Connector>,
}

#[derive(Clone, Copy, Debug)]
struct Connector {
    gateway: Span,
    transport: Span,
}

/// Milliseconds of several messages.
#[derive(Clone, Copy, Debug)]
struct Span {
    sum: i128,
    count: i64,
    min: i64,
    max: i64,
}

impl Latencies {
    /// One moment's metadata: `connector`, `receivedTs` and `publishedTs`, all of which must be there.
    pub fn gather(&mut self, metadata: &str, now_ms: i64) -> Result<(), Malformed> {
        let members = Members::read(metadata)?;
        let absent = || Malformed::because("`metadata` has no `connector`, `receivedTs` or `publishedTs`");
        let connector = members.text("connector")?.ok_or_else(absent)?;
        let received_ms = members.whole("receivedTs")?.ok_or_else(absent)?;
        let published_ms = members.whole("publishedTs")?.ok_or_else(absent)?;
        self.since_ms.get_or_insert(now_ms);
        let gateway_ms = published_ms.saturating_sub(received_ms);
        let transport_ms = now_ms.saturating_sub(published_ms);
        let has_room = self.connectors.len() < CONNECTORS_MAX;
        match self.connectors.get_mut(&*connector) {
            Some(known) => {
                known.gateway.add(gateway_ms);
                known.transport.add(transport_ms);
            }
            None if has_room => {
                let new = Connector { gateway: Span::of(gateway_ms), transport: Span::of(transport_ms) };
                self.connectors.insert(connector.into(), new);
            }
            None => {}
        }
        Ok(())
    }

    /// What to tell of the gateway, if it is time.
    pub fn report(&mut self, now_ms: i64) -> Option<Sample<'static>> {
        let since_ms = self.since_ms?;
        if now_ms.saturating_sub(since_ms) < REPORT_MS {
            return None;
        }
        self.since_ms = None;
        let mut out = String::from("{");
        for (name, Connector { gateway, transport }) in std::mem::take(&mut self.connectors) {
            if out.len() > 1 {
                out.push(',');
            }
            write_text(&name, &mut out);
            let spans = [("Gw", gateway), ("Transport", transport)];
            for (index, (what, span)) in spans.into_iter().enumerate() {
                let opening = if index == 0 { ":{" } else { "," };
                let (average, min, max) = (span.average(), span.min, span.max);
                write!(
                    out,
                    "{opening}\"avg{what}Latency\":{average},\"min{what}Latency\":{min},\"max{what}Latency\":{max}"
                )
                .expect("a string takes all text");
            }
            out.push('}');
        }
        out.push('}');
        Some(Sample { key: KEY.into(), value: Value::Json(out.into()), at_ms: now_ms })
    }
}

impl Span {
    fn of(ms: i64) -> Self {
        Self { sum: i128::from(ms), count: 1, min: ms, max: ms }
    }

    fn add(&mut self, ms: i64) {
        self.sum += i128::from(ms);
        self.count += 1;
        self.min = self.min.min(ms);
        self.max = self.max.max(ms);
    }

    fn average(self) -> i64 {
        i64::try_from(self.sum / i128::from(self.count)).expect("between the least and the most")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(connector: &str, received_ms: i64, published_ms: i64) -> String {
        format!(
            "{{\"connector\":\"{connector}\",\"receivedTs\":{received_ms},\"publishedTs\":{published_ms}}}"
        )
    }

    #[test]
    fn a_minute_is_told_at_once_and_then_gathered_anew() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.report(1_000_000), None, "nothing was gathered");
        for (connector, received_ms, published_ms, now_ms) in
            [("modbus-1", 0, 4, 12), ("modbus-1", 10, 19, 59), ("b", 0, 1, 1)]
        {
            latencies.gather(&metadata(connector, received_ms, published_ms), now_ms).unwrap();
        }
        assert_eq!(latencies.report(60_011), None);
        let told = latencies.report(60_012).unwrap();
        assert_eq!((&*told.key, told.at_ms), ("gatewayMetrics", 60_012));
        assert_eq!(
            told.value.to_json(),
            "{\"b\":{\"avgGwLatency\":1,\"minGwLatency\":1,\"maxGwLatency\":1,\
             \"avgTransportLatency\":0,\"minTransportLatency\":0,\"maxTransportLatency\":0},\
             \"modbus-1\":{\"avgGwLatency\":6,\"minGwLatency\":4,\"maxGwLatency\":9,\
             \"avgTransportLatency\":24,\"minTransportLatency\":8,\"maxTransportLatency\":40}}"
        );
        assert_eq!(latencies.report(200_000), None);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let mut latencies = Latencies::default();
        for text in [
            "{}",
            "[]",
            "{\"connector\":\"a\",\"receivedTs\":1}",
            "{\"connector\":1,\"receivedTs\":1,\"publishedTs\":1}",
        ] {
            assert!(latencies.gather(text, 0).is_err(), "{text}");
        }
        assert_eq!(latencies.report(100_000), None);
    }

    #[test]
    fn connectors_do_not_gather_without_end_and_times_that_are_far_off_do_no_harm() {
        let mut latencies = Latencies::default();
        for number in 0..1000 {
            latencies.gather(&metadata(&number.to_string(), i64::MIN, i64::MAX), 0).unwrap();
        }
        assert_eq!(latencies.connectors.len(), CONNECTORS_MAX);
        assert!(latencies.report(REPORT_MS).is_some());
    }
}
