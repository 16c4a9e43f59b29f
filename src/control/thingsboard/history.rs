//! Telemetry, read: the latest values and history, as it is or aggregated.
//!
//! Why the answer is written while the points are read: a million points become a few hundred, and nothing but those is held.
//!
//! Invariants:
//! - An answer has at most [`ANSWER_BYTES_MAX`] bytes and [`POINTS_MAX`] points of a key.
//!
//! Source: ranks 11 to 13 of section 13.2 of the vectors.

use std::ops::ControlFlow;

use axum::extract::{Path, State};
use device::{
    Aggregation, Aggregator, DeviceId, Fact, HubCall, HubReply, INTERVALS_MAX, TooManyIntervals, Value,
    write_text,
};
use platform::{Archive, ArchiveFault, Points};

use super::asked::Asked;
use super::calendar;
use super::caller::Caller;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, get};
use super::shape::{Answer, json_answer, text_answer};

/// Points of a key in one answer.
const POINTS_MAX: usize = 100_000;
/// Points of a key if nobody says how many.
const POINTS_USUAL: usize = 100;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

const QUERY: &[&str] = &[
    "keys",
    "startTs",
    "endTs",
    "interval",
    "intervalType",
    "timeZone",
    "agg",
    "limit",
    "orderBy",
    "useStrictDataTypes",
];

pub(super) fn routes() -> Vec<Route> {
    vec![
        get(
            "/api/plugins/telemetry/DEVICE/{deviceId}/values/timeseries",
            "The latest telemetry; with startTs and endTs the history between them.",
            values,
        )
        .query(QUERY),
        get(
            "/api/plugins/telemetry/DEVICE/{deviceId}/values/timeseries/history",
            "The history between startTs and endTs; agg is MIN, MAX, AVG, SUM, COUNT or NONE.",
            values,
        )
        .query(QUERY),
        get(
            "/api/plugins/telemetry/DEVICE/{deviceId}/keys/timeseries",
            "The keys of the latest telemetry.",
            keys,
        ),
    ]
}

async fn values(State(api): State<Api>, caller: Caller, Path(id): Path<String>, asked: Asked) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let spelling =
        if asked.flag("useStrictDataTypes") == Some(true) { Spelling::Typed } else { Spelling::Text };
    match (asked.number("startTs")?, asked.number("endTs")?) {
        (Some(from_ms), Some(to_ms)) => {
            let query = Query::read(&asked, (from_ms, to_ms), spelling)?;
            let found = api.archive(move |archive| query.answer(device, archive)).await?;
            text_answer(found.unwrap_or_else(|| Ok("{}".to_owned()))?)
        }
        // A time without the other is none.
        (Some(_), None) | (None, _) => latest(&api, device, asked.list("keys", "key"), spelling).await,
    }
}

async fn keys(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    let device = api.device_of(&caller, &id)?.id;
    let known = latest_facts(&api, device, None).await?;
    json_answer(known.iter().map(|fact| fact.key.as_ref()).collect())
}

/// How values are written.
#[derive(Clone, Copy)]
enum Spelling {
    /// All as texts, as this API has always done.
    Text,
    /// As what they are.
    Typed,
}

impl Spelling {
    fn write(self, value: &Value<'_>, out: &mut String) {
        match (self, value) {
            (Self::Typed, value) => value.write_json(out),
            (Self::Text, Value::Text(text)) => write_text(text, out),
            (Self::Text, value) => write_text(&value.to_json(), out),
        }
    }
}

async fn latest(api: &Api, device: DeviceId, keys: Option<Vec<Box<str>>>, spelling: Spelling) -> Answer {
    let known = latest_facts(api, device, keys.clone()).await?;
    let mut out = Members::new();
    for fact in &known {
        out.begin(&fact.key);
        out.point(fact.at_ms, &fact.value, spelling);
        out.end();
    }
    for key in keys.iter().flatten().filter(|key| known.iter().all(|fact| *fact.key != ***key)) {
        out.begin(key);
        out.text.push_str(&format!("{{\"ts\":{},\"value\":null}}", api.now_ms()));
        out.end();
    }
    text_answer(out.finish())
}

async fn latest_facts(
    api: &Api,
    device: DeviceId,
    keys: Option<Vec<Box<str>>>,
) -> Result<Vec<Fact>, Refusal> {
    match api.ask(device, HubCall::Latest { keys }).await? {
        HubReply::Facts(facts) => Ok(facts),
        _no_other_answer => Err(Refusal::fault("A core gave another answer")),
    }
}

/// Into what intervals points fall.
enum Intervals {
    /// Of so many milliseconds.
    Of(i64),
    /// That end at these times.
    Until(Vec<i64>),
}

impl Intervals {
    /// Reads the parameters; none if there are no intervals, which is no aggregation.
    fn read(asked: &Asked, from_ms: i64) -> Result<Option<Self>, Refusal> {
        if let Some(ends) = calendar::ends(asked, from_ms)? {
            // One more than there may be shows that there are too many.
            let most = usize::try_from(INTERVALS_MAX).unwrap_or_default() + 1;
            return Ok(Some(Self::Until(ends.take(most).collect())));
        }
        let interval_ms: i64 = asked.number("interval")?.unwrap_or_default();
        Ok((interval_ms > 0).then_some(Self::Of(interval_ms)))
    }

    fn aggregator(&self, what: Aggregation, times: (i64, i64)) -> Result<Aggregator, TooManyIntervals> {
        match self {
            Self::Of(interval_ms) => Aggregator::new(what, times, *interval_ms),
            Self::Until(ends) => Aggregator::until(what, times, ends.iter().copied()),
        }
    }
}

/// A question about history.
struct Query {
    keys: Vec<Box<str>>,
    times: (i64, i64),
    aggregation: Option<(Aggregation, Intervals)>,
    limit: usize,
    newest_first: bool,
    spelling: Spelling,
}

impl Query {
    fn read(asked: &Asked, times: (i64, i64), spelling: Spelling) -> Result<Self, Refusal> {
        let keys = asked
            .list("keys", "key")
            .ok_or_else(|| Refusal::bad("Required request parameter 'keys' is not present"))?;
        let aggregation = match asked.get("agg") {
            None | Some("NONE") => None,
            Some(name) => {
                let unknown = || Refusal::bad(format!("'{name}' is no aggregation"));
                let what = Aggregation::named(name).ok_or_else(unknown)?;
                Intervals::read(asked, times.0)?.map(|intervals| (what, intervals))
            }
        };
        if let Some((what, intervals)) = &aggregation
            && let Err(too_many) = intervals.aggregator(*what, times)
        {
            return Err(Refusal::bad(format!(
                "Incorrect TsKvQuery. Number of intervals is to high - {}. Please increase 'interval' parameter value for \
                 your query or reduce the time range of the query.",
                too_many.0
            )));
        }
        let limit = asked.number("limit")?.unwrap_or(POINTS_USUAL);
        if limit == 0 || limit > POINTS_MAX {
            return Err(Refusal::bad(format!("Incorrect TsKvQuery. Limit must be from 1 to {POINTS_MAX}.")));
        }
        let newest_first = asked.get("orderBy").is_none_or(|order| !order.eq_ignore_ascii_case("ASC"));
        Ok(Self { keys, times, aggregation, limit, newest_first, spelling })
    }

    fn answer(
        &self,
        device: DeviceId,
        archive: &dyn Archive,
    ) -> Result<Result<String, Refusal>, ArchiveFault> {
        let mut out = Members::new();
        for key in &self.keys {
            out.begin(key);
            match &self.aggregation {
                None => self.copy(device, key, archive, &mut out)?,
                Some((what, intervals)) => {
                    let Ok(aggregator) = intervals.aggregator(*what, self.times) else { continue };
                    self.aggregate(aggregator, (device, key), archive, &mut out)?;
                }
            }
            out.end();
            if out.text.len() > ANSWER_BYTES_MAX {
                let told = format!("The answer has more than {ANSWER_BYTES_MAX} bytes: ask for less of it");
                return Ok(Err(Refusal::bad(told)));
            }
        }
        Ok(Ok(out.finish()))
    }

    fn copy(
        &self,
        device: DeviceId,
        key: &str,
        archive: &dyn Archive,
        out: &mut Members,
    ) -> Result<(), ArchiveFault> {
        let mut left = self.limit;
        archive.points(self.points(device, key, self.newest_first), &mut |at_ms, value| {
            out.point(at_ms, &value, self.spelling);
            left -= 1;
            if left == 0 || out.text.len() > ANSWER_BYTES_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    fn aggregate(
        &self,
        mut aggregator: Aggregator,
        (device, key): (DeviceId, &str),
        archive: &dyn Archive,
        out: &mut Members,
    ) -> Result<(), ArchiveFault> {
        archive.points(self.points(device, key, false), &mut |at_ms, value| {
            aggregator.push(at_ms, &value);
            ControlFlow::Continue(())
        })?;
        for (at_ms, value) in aggregator.finish() {
            out.point(at_ms, &value, self.spelling);
        }
        Ok(())
    }

    fn points<'q>(&self, device: DeviceId, key: &'q str, newest_first: bool) -> Points<'q> {
        Points { device, key, from_ms: self.times.0, to_ms: self.times.1, newest_first }
    }
}

/// Writes `{"key":[points],..}`; a key without points is left out.
struct Members {
    text: String,
    /// Where the key that is being written begins, and where its points do.
    began: (usize, usize),
}

impl Members {
    fn new() -> Self {
        Self { text: "{".to_owned(), began: (0, 0) }
    }

    fn begin(&mut self, key: &str) {
        let start = self.text.len();
        if start > 1 {
            self.text.push(',');
        }
        write_text(key, &mut self.text);
        self.text.push_str(":[");
        self.began = (start, self.text.len());
    }

    fn point(&mut self, at_ms: i64, value: &Value<'_>, spelling: Spelling) {
        if self.text.len() > self.began.1 {
            self.text.push(',');
        }
        self.text.push_str("{\"ts\":");
        self.text.push_str(&at_ms.to_string());
        self.text.push_str(",\"value\":");
        spelling.write(value, &mut self.text);
        self.text.push('}');
    }

    fn end(&mut self) {
        if self.text.len() == self.began.1 {
            self.text.truncate(self.began.0);
        } else {
            self.text.push(']');
        }
    }

    fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// The newest point of a key outside of a time.
pub(super) fn newest_before(
    archive: &dyn Archive,
    (device, key): (DeviceId, &str),
    from_ms: i64,
) -> Result<Option<(i64, Value<'static>)>, ArchiveFault> {
    let points = Points { device, key, from_ms: i64::MIN, to_ms: from_ms, newest_first: true };
    let mut newest = None;
    archive.points(points, &mut |at_ms, value| {
        newest = Some((at_ms, value.into_owned()));
        ControlFlow::Break(())
    })?;
    Ok(newest)
}

/// For tests: what a query is answered from an archive.
#[cfg(test)]
pub(super) fn aggregated(archive: &dyn Archive, device: DeviceId, query: &str) -> String {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let asked = Asked(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    let times = (asked.number("startTs").unwrap().unwrap(), asked.number("endTs").unwrap().unwrap());
    Query::read(&asked, times, Spelling::Typed).unwrap().answer(device, archive).unwrap().unwrap()
}
