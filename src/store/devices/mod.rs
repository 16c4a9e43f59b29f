//! Records of devices: what stands under which key. The layout is docs/STORE.md.
//!
//! Why beside the records of sessions: they belong to things that outlive clients, and their kinds are capital letters, so
//! that one look at a key says which of the two it is.
//!
//! Invariants:
//! - Every value begins with the version of its layout.

mod facts;
mod field;
mod key;
mod record;
mod registry;
mod row;

pub(crate) use facts::{
    encode_fact, encode_index, encode_numbers, encode_point, encode_swath, ended_created_ms,
};
pub(crate) use key::{
    BELONGINGS, DEVICE_KINDS, DeviceKey, Series, device_of, is_device_key, kind, range_of_device,
    range_of_id, range_of_latest_rows, range_of_rows, row_of, time_of,
};
pub(crate) use record::{
    DeviceRecord, encode_change, judge_device, key_of_change, read_command, read_point, rewrite_device,
};
pub(crate) use registry::{PIECE_BYTES, encode_package, encode_piece, profile_of_device};
pub(crate) use row::{
    LatestOf, ROW_LEN_MAX, RowDraft, RowKind, Without, count_points, set_in, sets_of, without,
};
