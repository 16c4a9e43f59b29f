//! Fields that records of devices have in common: ids, options, texts, values.
//!
//! Invariants:
//! - What was written is read back, and nothing else is read.

use device::Value;

use crate::codec::{Garbled, Input, Output};

/// The version of all values but those below.
const VERSION: u8 = 1;
/// The version of values that begin with the number of their write.
const NUMBERED: u8 = 2;

const FALSE: u8 = 0;
const TRUE: u8 = 1;
const LONG: u8 = 2;
const DOUBLE: u8 = 3;
const TEXT: u8 = 4;
const JSON: u8 = 5;

/// Begins a value.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.push(VERSION);
}

/// A value without its version.
pub(super) fn begun(value: &[u8]) -> Result<Input<'_>, Garbled> {
    let mut input = Input(value);
    if input.u8()? != VERSION {
        return Err(Garbled("a record of another version"));
    }
    Ok(input)
}

/// Begins a value that says in which order it was written among others; zero is before all of them.
pub(super) fn begin_numbered(number: u64, out: &mut Vec<u8>) {
    if number == 0 {
        return begin(out);
    }
    out.push(NUMBERED);
    out.push_u64(number);
}

/// The number of a value, and the rest of it.
pub(super) fn begun_numbered(value: &[u8]) -> Result<(u64, Input<'_>), Garbled> {
    let mut input = Input(value);
    match input.u8()? {
        VERSION => Ok((0, input)),
        NUMBERED => match input.u64()? {
            0 => Err(Garbled("a write has no number")),
            number => Ok((number, input)),
        },
        _unknown => Err(Garbled("a record of another version")),
    }
}

pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push_bytes(text.as_bytes());
}

pub(super) fn push_i64(out: &mut Vec<u8>, number: i64) {
    out.push_u64(number.cast_unsigned());
}

pub(super) fn i64_of(input: &mut Input<'_>) -> Result<i64, Garbled> {
    Ok(input.u64()?.cast_signed())
}

pub(super) fn id_of(input: &mut Input<'_>) -> Result<[u8; 16], Garbled> {
    Ok(input.take(16)?.try_into().expect("sixteen bytes"))
}

/// A byte that says whether there is one, and then it.
pub(super) fn push_some<T>(out: &mut Vec<u8>, some: Option<T>, push: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(some.is_some()));
    if let Some(some) = some {
        push(out, some);
    }
}

pub(super) fn some_of<'a, T>(
    input: &mut Input<'a>,
    read: impl FnOnce(&mut Input<'a>) -> Result<T, Garbled>,
) -> Result<Option<T>, Garbled> {
    if flag_of(input)? { read(input).map(Some) } else { Ok(None) }
}

pub(super) fn flag_of(input: &mut Input<'_>) -> Result<bool, Garbled> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _unknown => Err(Garbled("a flag is neither set nor clear")),
    }
}

pub(super) fn text_of(input: &mut Input<'_>) -> Result<Box<str>, Garbled> {
    Ok(input.text()?.into())
}

/// A typed value, to the end of the record.
pub(super) fn push_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Long(number) => {
            out.push(LONG);
            push_i64(out, *number);
        }
        Value::Double(number) => {
            out.push(DOUBLE);
            out.push_u64(number.to_bits());
        }
        Value::Text(text) => {
            out.push(TEXT);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Json(text) => {
            out.push(JSON);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

pub(super) fn value_of<'a>(input: &mut Input<'a>) -> Result<Value<'a>, Garbled> {
    let text =
        |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Garbled("the text of a value is not UTF-8"));
    let value = match input.u8()? {
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        LONG => Value::Long(i64_of(input)?),
        DOUBLE => Value::Double(f64::from_bits(input.u64()?)),
        TEXT => Value::Text(text(input.rest())?.into()),
        JSON => Value::Json(text(input.rest())?.into()),
        _unknown => return Err(Garbled("a value of no known kind")),
    };
    input.end()?;
    Ok(value)
}
