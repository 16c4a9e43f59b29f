//! Values of records that belong to one device: attributes, telemetry, commands, claim, presence.
//!
//! Invariants:
//! - A value needs nothing but its key to be read.

use device::{
    Claim, Command, CommandId, CommandKind, CommandState, DeviceId, Order, Presence, Sample, Value,
};

use crate::codec::{Garbled, Input, Output};

use super::field::{
    begin, begin_numbered, begun, begun_numbered, flag_of, i64_of, id_of, push_i64, push_some, push_text,
    push_value, some_of, text_of, value_of,
};
use super::key::{StoredName, is_long};

/// Begins a value; it has the name if the key has only a part of it.
fn begin_named(name: &str, number: u64, out: &mut Vec<u8>) {
    begin_numbered(number, out);
    if is_long(name) {
        push_text(out, name);
    }
}

/// An attribute, or the latest value of a key with the number of its write.
pub(crate) fn encode_fact(name: &str, number: u64, at_ms: i64, value: &Value<'_>, out: &mut Vec<u8>) {
    begin_named(name, number, out);
    push_i64(out, at_ms);
    push_value(out, value);
}

pub(super) fn decode_fact<'a>(name: StoredName<'a>, value: &'a [u8]) -> Result<(u64, Sample<'a>), Garbled> {
    let (number, mut input) = begun_numbered(value)?;
    let key = name.read(&mut input)?.into();
    let at_ms = i64_of(&mut input)?;
    Ok((number, Sample { key, value: value_of(&mut input)?, at_ms }))
}

/// A point with the number of its write; its time is in its key.
pub(crate) fn encode_point(name: &str, number: u64, value: &Value<'_>, out: &mut Vec<u8>) {
    begin_named(name, number, out);
    push_value(out, value);
}

/// The number, name and value of a point.
pub(super) fn decode_point<'a>(
    name: StoredName<'a>,
    value: &'a [u8],
) -> Result<(u64, &'a str, Value<'a>), Garbled> {
    let (number, mut input) = begun_numbered(value)?;
    let name = name.read(&mut input)?;
    Ok((number, name, value_of(&mut input)?))
}

/// How far numbers of writes may go.
pub(crate) fn encode_numbers(end: u64, out: &mut Vec<u8>) {
    begin(out);
    out.push_u64(end);
}

pub(super) fn decode_numbers(value: &[u8]) -> Result<u64, Garbled> {
    let mut input = begun(value)?;
    let end = input.u64()?;
    input.end()?;
    Ok(end)
}

/// What says that points are gone: everything is in its key.
pub(crate) fn encode_swath(out: &mut Vec<u8>) {
    begin(out);
}

pub(super) fn decode_swath(value: &[u8]) -> Result<(), Garbled> {
    begun(value)?.end()
}

pub(crate) fn encode_index(device: DeviceId, out: &mut Vec<u8>) {
    begin(out);
    out.extend_from_slice(device.bytes());
}

pub(super) fn decode_index(value: &[u8]) -> Result<DeviceId, Garbled> {
    let mut input = begun(value)?;
    let device = DeviceId::from_bytes(id_of(&mut input)?);
    input.end()?;
    Ok(device)
}

pub(crate) fn encode_claim(claim: &Claim, out: &mut Vec<u8>) {
    begin(out);
    push_i64(out, claim.expires_ms);
    out.extend_from_slice(claim.secret.as_bytes());
}

pub(super) fn decode_claim(value: &[u8]) -> Result<Claim, Garbled> {
    let mut input = begun(value)?;
    let expires_ms = i64_of(&mut input)?;
    let secret =
        std::str::from_utf8(input.rest()).map_err(|_| Garbled("the secret of a claim is not UTF-8"))?;
    Ok(Claim { secret: secret.into(), expires_ms })
}

pub(crate) fn encode_presence(presence: &Presence, out: &mut Vec<u8>) {
    begin(out);
    out.push(u8::from(presence.is_active));
    out.push_u16(presence.connections);
    for time_ms in [presence.connected_ms, presence.disconnected_ms, presence.heard_ms, presence.alarmed_ms] {
        push_i64(out, time_ms);
    }
}

pub(super) fn decode_presence(value: &[u8]) -> Result<Presence, Garbled> {
    let mut input = begun(value)?;
    let is_active = flag_of(&mut input)?;
    let connections = input.u16()?;
    let mut time_ms = || i64_of(&mut input);
    let (connected_ms, disconnected_ms) = (time_ms()?, time_ms()?);
    let (heard_ms, alarmed_ms) = (time_ms()?, time_ms()?);
    input.end()?;
    Ok(Presence { connections, is_active, connected_ms, disconnected_ms, heard_ms, alarmed_ms })
}

pub(crate) fn encode_command(command: &Command, out: &mut Vec<u8>) {
    let Command { order, number, state, created_ms, ack_due_ms, missed, response, is_garbled } = command;
    begin(out);
    out.push(bits_of_state(*state));
    let is_two_way = order.kind == CommandKind::TwoWay;
    out.push(u8::from(is_two_way) | u8::from(order.is_persistent) << 1 | u8::from(*is_garbled) << 2);
    out.push_u32(number.cast_unsigned());
    push_i64(out, *created_ms);
    push_i64(out, order.expires_ms);
    out.push_u32(*missed);
    push_some(out, *ack_due_ms, push_i64);
    push_some(out, order.retries, |out, retries| out.push_u32(retries));
    push_text(out, &order.method);
    push_text(out, &order.params);
    push_some(out, order.additional.as_deref(), push_text);
    push_some(out, response.as_deref(), push_text);
}

pub(super) fn decode_command(id: CommandId, value: &[u8]) -> Result<Command, Garbled> {
    let mut input = begun(value)?;
    let state = state_of(input.u8()?)?;
    let flags = input.u8()?;
    if flags > 7 {
        return Err(Garbled("a command has unknown flags"));
    }
    let kind = if flags & 1 == 0 { CommandKind::OneWay } else { CommandKind::TwoWay };
    let (is_persistent, is_garbled) = (flags & 2 != 0, flags & 4 != 0);
    let number = input.u32()?.cast_signed();
    let (created_ms, expires_ms) = (i64_of(&mut input)?, i64_of(&mut input)?);
    let missed = input.u32()?;
    let ack_due_ms = some_of(&mut input, i64_of)?;
    let retries = some_of(&mut input, Input::u32)?;
    let (method, params) = (text_of(&mut input)?, text_of(&mut input)?);
    let (additional, response) = (some_of(&mut input, text_of)?, some_of(&mut input, text_of)?);
    input.end()?;
    let order = Order { id, method, params, kind, is_persistent, expires_ms, retries, additional };
    Ok(Command { order, number, state, created_ms, ack_due_ms, missed, response, is_garbled })
}

/// When a command was asked, if it has ended.
pub(crate) fn ended_created_ms(value: &[u8]) -> Result<Option<i64>, Garbled> {
    let mut input = begun(value)?;
    let state = state_of(input.u8()?)?;
    let kind = if input.u8()? & 1 == 0 { CommandKind::OneWay } else { CommandKind::TwoWay };
    let _number = input.u32()?;
    let created_ms = i64_of(&mut input)?;
    Ok(state.ends(kind).then_some(created_ms))
}

const STATES: [CommandState; 8] = [
    CommandState::Queued,
    CommandState::Sent,
    CommandState::Delivered,
    CommandState::Successful,
    CommandState::Timeout,
    CommandState::Expired,
    CommandState::Failed,
    CommandState::Deleted,
];

fn bits_of_state(state: CommandState) -> u8 {
    let place = STATES.iter().position(|known| *known == state).expect("all states stand there");
    u8::try_from(place).expect("there are eight")
}

fn state_of(bits: u8) -> Result<CommandState, Garbled> {
    STATES.get(usize::from(bits)).copied().ok_or(Garbled("a command is in no known state"))
}
