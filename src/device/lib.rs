//! The waist of meaning: what the broker knows of devices, whatever dialect they speak.
//!
//! Why a waist: a device maker's firmware, a dashboard and a script should not have to know each other's words. Dialects
//! turn packets into the few verbs of this room and back; everything behind them (registry, attributes, commands) exists
//! once.
//!
//! Invariants:
//! - Nothing here knows a core, a socket or a session, and nothing knows a dialect.
//! - Time and randomness come in as values; what must be written down goes out as [`Change`]s.

mod aggregate;
mod allowance;
mod attributes;
mod call;
mod chain;
mod change;
mod checksum;
mod claim;
mod command;
mod credential;
mod dialect;
mod hub;
mod ids;
mod package;
mod presence;
mod profile;
mod provision;
mod rate;
mod record;
mod registry;
mod shared;
mod speech;
mod spent;
mod typing;
mod value;

pub use aggregate::{Aggregation, Aggregator, INTERVALS_MAX, TooManyIntervals};
pub use allowance::{Allowance, Cost, DeviceAllowance, Scarce, Short, TenantAllowances, Whose, Within};
pub use attributes::Facts;
pub use call::{Fact, HubCall, HubReply, News};
pub use chain::{ChainRefusal, Chained, Foreseen, ShownChain};
pub use change::{Change, Scope};
pub use checksum::Algorithm;
pub use claim::{CLAIM_MS, Claim, Redeemed};
pub use command::{Command, CommandKind, CommandState, CommandTerms, Order, Submit};
pub use credential::{
    BasicCredential, CertificateCredential, Credential, Fingerprint, Match, NoCredential, Probe, fingerprint,
};
pub use dialect::{
    Dialect, DoorQuirks, Guest, Habits, Hello, Interpreter, Introduction, Kin, Offer, Rates, Shown,
    Unspeakable, Welcome,
};
pub use hub::{Addressed, Hub, HubCounters, HubTerms, NotOrdered, Outcome, Refusal, Report};
pub use ids::{Chance, CommandId, CustomerId, DeviceId, PackageId, ProfileId, TenantId, UserId, random_word};
pub use package::{
    Assignment, Chunk, Content, Label, NoChunk, Package, PackageKind, WrongChecksum, unassign,
};
pub use presence::{Presence, Turn};
pub use profile::{ChainRule, Keeping, Profile, ProvisionKey, Provisioning, Terms, Transport, Untold};
pub use provision::{CredentialWanted, PROVISIONED_STAY_MS, ProvisionReply, ProvisionRequest};
pub use rate::{BadRate, Bucket, Rate, TooMuch};
pub use record::{Authority, Customer, DEVICE_BYTES_MAX, Device, Margin, Rare, Role, Tenant, User};
pub use registry::{Clash, NAME_CHARS_MAX, NewDevice, PROFILES_MAX, Registry, check_name};
pub use shared::SharedRegistry;
pub use speech::{
    Answer, ChunkWanted, Cookie, Downlink, Ear, Forward, Remark, Said, Speech, Subject, Uplink, Utterance,
    Wanted,
};
pub use spent::DeviceAllowances;
pub use typing::{PLAIN_DIGITS_MAX, Typing, Untypable};
pub use value::{Sample, Value, write_members, write_text};
