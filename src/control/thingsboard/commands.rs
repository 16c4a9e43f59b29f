//! Asking something of a device, and waiting for its answer.
//!
//! Why waiting begins before the order: an answer may be there before the order's own reply is.
//!
//! Invariants:
//! - A request waits no longer than the command is worth doing, and a little for the last news of it.
//! - Everybody who waits holds a place behind a gate.
//! - No two commands that are on their way to be stored, or are stored, have one id: whoever orders watches the id until it is
//!   stored, also when he has gone away, and nobody else can meanwhile.
//!
//! Source: sections 4.1.2 and 4.1.4 of the vectors.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use device::{CommandId, CommandKind, CommandState, Device, DeviceId, HubCall, HubReply, Order, Report};
use platform::Platform;
use serde_json::{Value, json};

use super::asked::{Object, Payload, id, spelled};
use super::caller::Caller;
use super::clock::chance;
use super::house::Api;
use super::refusal::Refusal;
use super::routes::{Route, post};
use super::shape::{Answer, empty_answer, json_answer, text_answer};

/// The longest time that a request waits, in milliseconds: a day.
const WAIT_MS_MAX: i64 = 86_400_000;
/// How long after its end the news of it may take, in milliseconds.
const GRACE_MS: i64 = 500;
/// Bytes of a request.
pub(super) const COMMAND_BYTES_MAX: usize = 65_536;

pub(super) fn routes() -> Vec<Route> {
    let example = r#"{"method":"setGpio","params":{"pin":7,"on":true},"timeout":5000}"#;
    let with = |route: Route| route.body(example).limit(COMMAND_BYTES_MAX);
    let one_way = "Asks something of a device that it does not answer.";
    let two_way = "Asks something of a device; the answer is the device's.";
    vec![
        with(post("/api/rpc/oneway/{deviceId}", one_way, one_way_2)),
        with(post("/api/rpc/twoway/{deviceId}", two_way, two_way_2)),
        with(post("/api/plugins/rpc/oneway/{deviceId}", one_way, one_way_1)),
        with(post("/api/plugins/rpc/twoway/{deviceId}", two_way, two_way_1)),
    ]
}

/// Which statuses say that there was no answer.
#[derive(Clone, Copy)]
struct Edition {
    unsent: StatusCode,
    unanswered: StatusCode,
}

const FIRST: Edition = Edition { unsent: StatusCode::CONFLICT, unanswered: StatusCode::REQUEST_TIMEOUT };
const SECOND: Edition =
    Edition { unsent: StatusCode::GATEWAY_TIMEOUT, unanswered: StatusCode::GATEWAY_TIMEOUT };

async fn one_way_1(State(api): State<Api>, caller: Caller, Path(id): Path<String>, body: Payload) -> Answer {
    order(&api, &caller, &id, &body, (CommandKind::OneWay, FIRST)).await
}

async fn two_way_1(State(api): State<Api>, caller: Caller, Path(id): Path<String>, body: Payload) -> Answer {
    order(&api, &caller, &id, &body, (CommandKind::TwoWay, FIRST)).await
}

async fn one_way_2(State(api): State<Api>, caller: Caller, Path(id): Path<String>, body: Payload) -> Answer {
    order(&api, &caller, &id, &body, (CommandKind::OneWay, SECOND)).await
}

async fn two_way_2(State(api): State<Api>, caller: Caller, Path(id): Path<String>, body: Payload) -> Answer {
    order(&api, &caller, &id, &body, (CommandKind::TwoWay, SECOND)).await
}

async fn order(
    api: &Api,
    caller: &Caller,
    device: &str,
    body: &Payload,
    (kind, edition): (CommandKind, Edition),
) -> Answer {
    let params = spelled(&body.bytes, "params");
    let body = Object::read(&body.bytes).map_err(|_| Refusal::bad("Invalid request body"))?;
    let device = device_for_command(api, caller, device)?;
    let order = read(api, &body, params, kind)?;
    if order.is_persistent {
        check_kept(api.platform())?;
    }
    let place = api.limits().answers.enter().await?;
    let watching = api.platform().watch(device.id, order.id).ok_or_else(|| known(order.id))?;
    if body.get("requestUUID").is_some() {
        check_new(api, order.id).await?;
    }
    let (command, expires_ms) = (order.id, order.expires_ms);
    if order.is_persistent {
        let api = api.clone();
        let ordered = tokio::spawn(async move {
            let _until_it_is_stored = (place, watching);
            hand_over(&api, device.id, order).await
        });
        ordered.await.map_err(|died| Refusal::fault(died.to_string()))??;
        return json_answer(json!({"rpcId": command.to_string()}));
    }
    hand_over(api, device.id, order).await?;
    let left_ms = expires_ms.saturating_sub(api.now_ms()).clamp(0, WAIT_MS_MAX) + GRACE_MS;
    let patience = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
    let until = tokio::time::Instant::now() + patience;
    let mut was_sent = false;
    loop {
        let report = tokio::time::timeout_at(until, watching.reports().recv_async()).await;
        let Ok(Ok(report)) = report else { return unanswered(edition, was_sent) };
        match judge(report, kind, &mut was_sent) {
            None => {}
            Some(End::Unanswered) => return unanswered(edition, was_sent),
            Some(End::Answered(answer)) => return answer,
        }
    }
}

/// Has the home of a device take an order.
async fn hand_over(api: &Api, device: DeviceId, order: Order) -> Result<(), Refusal> {
    let command = order.id;
    match api.ask(device, HubCall::Order(order)).await? {
        HubReply::Ordered(_) => Ok(()),
        HubReply::TooManyCommands => Err(Refusal::too_many("Too many commands wait for the device")),
        HubReply::KnownCommand => Err(known(command)),
        _no_other_answer => Err(Refusal::fault("A core gave another answer")),
    }
}

/// An id that somebody has chosen may be that of a command that is stored, whoever's it is.
async fn check_new(api: &Api, id: CommandId) -> Result<(), Refusal> {
    let is_known = api.archive(move |archive| archive.has_command(id)).await?.unwrap_or_default();
    if is_known { Err(known(id)) } else { Ok(()) }
}

fn known(id: CommandId) -> Refusal {
    Refusal::bad(format!("A command with requestUUID '{id}' is there already"))
}

/// A persistent command is asked for again by its id, which a broker that keeps nothing cannot answer.
fn check_kept(platform: &Platform) -> Result<(), Refusal> {
    let forgetful = "Persistent commands need a store, and this broker keeps nothing on disk";
    platform.archive().map(drop).ok_or_else(|| Refusal::bad(forgetful))
}

fn unanswered(edition: Edition, was_sent: bool) -> Answer {
    Err(Refusal::bare(if was_sent { edition.unanswered } else { edition.unsent }))
}

/// What a piece of news means for whoever waits.
enum End {
    Answered(Answer),
    Unanswered,
}

fn judge(report: Report, kind: CommandKind, was_sent: &mut bool) -> Option<End> {
    match (report.state, kind) {
        (CommandState::Queued, _) => None,
        // Whoever wants no answer does not wait for an acknowledgement either.
        (CommandState::Sent | CommandState::Delivered, CommandKind::OneWay) => {
            Some(End::Answered(empty_answer()))
        }
        (CommandState::Sent | CommandState::Delivered | CommandState::Timeout, _) => {
            *was_sent = true;
            None
        }
        (CommandState::Successful, _) => Some(End::Answered(answered(report))),
        (CommandState::Failed, _) if !*was_sent => {
            let why = report.response.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            let why = why.map_or(Value::Null, |mut why| why["error"].take());
            Some(End::Answered(json_answer(json!({"result": "INVALID_ARGUMENTS", "error": why}))))
        }
        (CommandState::Expired | CommandState::Failed | CommandState::Deleted, _) => Some(End::Unanswered),
    }
}

fn answered(report: Report) -> Answer {
    let response = report.response.unwrap_or_default().into_string();
    // An empty answer is no JSON, and is an answer all the same.
    match (report.is_garbled, response.as_str()) {
        (true, "{\"error\":\"\"}") => empty_answer(),
        (true, _) => Err(Refusal::bare(StatusCode::NOT_ACCEPTABLE)),
        (false, _) => text_answer(response),
    }
}

/// As [`Api::device_of`], with the words that this call has for it.
fn device_for_command(api: &Api, caller: &Caller, text: &str) -> Result<Device, Refusal> {
    let tenant = caller.tenant()?;
    let id = id(text, DeviceId::parse)?;
    let device = api.read(|registry| registry.device(id).cloned()).filter(|device| device.tenant == tenant);
    let unknown = || Refusal::plain(StatusCode::NOT_FOUND, "Device with requested id wasn't found!");
    let device = device.ok_or_else(unknown)?;
    if caller.may_see(&device) { Ok(device) } else { Err(Refusal::bare(StatusCode::FORBIDDEN)) }
}

fn read(api: &Api, body: &Object, params: Box<str>, kind: CommandKind) -> Result<Order, Refusal> {
    let (now_ms, settings) = (api.now_ms(), api.settings());
    let method = body.text("method")?.ok_or_else(|| Refusal::fault("The method is missing"))?;
    let timeout_ms = body.whole("timeout")?.unwrap_or(settings.command_ms).max(settings.command_ms_min);
    let expires_ms = body.whole("expirationTime")?.unwrap_or(now_ms.saturating_add(timeout_ms));
    let wanted = body.text("requestUUID")?.map(|text| id(text, CommandId::parse)).transpose()?;
    let retries = body.whole("retries")?.map(|retries| u32::try_from(retries).unwrap_or_default());
    Ok(Order {
        id: wanted.unwrap_or_else(|| CommandId::random(&mut chance)),
        method: method.into(),
        params,
        kind,
        is_persistent: body.flag("persistent"),
        expires_ms,
        retries,
        additional: body.get("additionalInfo").map(|additional| additional.to_string().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_forgotten_is_not_taken_as_kept() {
        let forgetful = Platform::new(Box::new(|_| Ok(None)));
        let told = "Persistent commands need a store, and this broker keeps nothing on disk";
        assert_eq!(check_kept(&forgetful), Err(Refusal::bad(told)));
        assert_eq!(check_kept(&Platform::alone(Box::new(|_| Ok(None)), Box::new(|| 0))), Ok(()));
    }
}
