//! Devices: what joins a dialect, the registry and a hub to the connections of one core.

mod calls;
mod chains;
mod children;
mod desk;
mod downlinks;
mod end;
mod letters;
mod packages;
mod parting;
mod patience;
mod rates;
mod remarks;
mod renewal;
mod uplinks;
mod verdicts;
mod welcome;

pub(crate) use desk::Desk;
pub(crate) use end::DeviceEnd;
