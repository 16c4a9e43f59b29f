//! Commands that were kept: how far they are, and taking them back.
//!
//! Invariants:
//! - A command is found only by whoever may see its device.
//! - Of a list only what is on the page that is asked for becomes JSON, unless the list is sorted by what only JSON tells.
//!
//! Source: rank 22 of section 13.2 and section 4.1.3 of the vectors.

use axum::extract::{Path, State};
use device::{Command, CommandId, CommandKind, CommandState, Device, HubCall};
use serde_json::{Value, json};

use super::asked::{Asked, id};
use super::caller::Caller;
use super::house::Api;
use super::pages::{Cut, Page, Rank, rank};
use super::refusal::Refusal;
use super::routes::{Route, delete, get};
use super::shape::{Answer, empty_answer, entity, json_answer, tenant_entity};

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/api/rpc/persistent/{rpcId}", "A persistent command and how far it is.", one),
        delete("/api/rpc/persistent/{rpcId}", "Takes a persistent command back.", remove),
        get("/api/rpc/persistent/device/{deviceId}", "The persistent commands of a device.", of_device)
            .query(&["pageSize", "page", "sortProperty", "sortOrder", "rpcStatus"]),
    ]
}

async fn one(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let (device, command) = found(&api, &caller, &text).await?;
    json_answer(command_json(&device, &command))
}

async fn remove(State(api): State<Api>, caller: Caller, Path(text): Path<String>) -> Answer {
    let (device, command) = found(&api, &caller, &text).await?;
    api.ask(device.id, HubCall::DeleteCommand(command.order.id)).await?;
    empty_answer()
}

async fn of_device(State(api): State<Api>, caller: Caller, Path(text): Path<String>, asked: Asked) -> Answer {
    let device = api.device_of(&caller, &text)?;
    let page = Page::read(&asked)?;
    let status = asked.get("rpcStatus").map(state_named).transpose()?;
    let id = device.id;
    let commands = api.archive(move |archive| archive.commands(id)).await?.unwrap_or_default();
    let wanted = commands.iter().enumerate().filter(|(_, command)| {
        status.is_none_or(|status| status == command.state) && page.finds(&[&command.order.method])
    });
    let mut found = Vec::new();
    for (place, command) in wanted {
        let rank = match page.sort.as_deref() {
            None => Rank::None,
            Some("createdTime") => Rank::Time(command.created_ms),
            Some("name" | "title" | "email") => Rank::Text(command.order.method.clone()),
            Some(other) => rank(&command_json(&device, command), other)?,
        };
        found.push((rank, (command.order.id.bytes(), place)));
    }
    let Cut { items, total } = page.cut(found);
    let shown = items.into_iter().map(|(_, place)| command_json(&device, &commands[place]));
    json_answer(page.answer(shown.collect(), total))
}

fn state_named(name: &str) -> Result<CommandState, Refusal> {
    let known = CommandState::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(name));
    known.ok_or_else(|| Refusal::bad(format!("Invalid value '{name}' of parameter 'rpcStatus'")))
}

async fn found(api: &Api, caller: &Caller, text: &str) -> Result<(Device, Command), Refusal> {
    let id = id(text, CommandId::parse)?;
    let missing = || Refusal::missing("Rpc", id);
    let known = api.archive(move |archive| archive.command(id)).await?.flatten();
    let (device, command) = known.ok_or_else(missing)?;
    let device = api.read(|registry| registry.device(device).cloned());
    let tenant = caller.tenant()?;
    let device = device.filter(|device| device.tenant == tenant).ok_or_else(missing)?;
    if caller.may_see(&device) { Ok((device, command)) } else { Err(Refusal::forbidden()) }
}

fn command_json(device: &Device, command: &Command) -> Value {
    let as_json =
        |text: &Option<Box<str>>| text.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let order = &command.order;
    json!({
        "id": entity("RPC", order.id),
        "createdTime": command.created_ms,
        "tenantId": tenant_entity(Some(device.tenant)),
        "deviceId": entity("DEVICE", device.id),
        "expirationTime": order.expires_ms,
        "request": {
            "id": order.id.to_string(),
            "tenantId": tenant_entity(Some(device.tenant)),
            "deviceId": entity("DEVICE", device.id),
            "oneway": order.kind == CommandKind::OneWay,
            "expirationTime": order.expires_ms,
            "body": {"method": order.method, "params": order.params},
            "persisted": order.is_persistent,
            "retries": order.retries,
            "additionalInfo": as_json(&order.additional),
        },
        "response": as_json(&command.response),
        "status": command.state.name(),
        "additionalInfo": as_json(&order.additional),
    })
}
