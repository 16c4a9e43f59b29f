//! ThingsBoard's HTTP API, as far as devices are concerned: for people, scripts and devices without MQTT.
//!
//! Why a folder of its own beside the control plane's plain pages: it belongs to one dialect, and goes when that goes.

mod asked;
mod attempts;
mod attributes;
mod beside;
mod calendar;
mod caller;
mod claims;
mod clock;
mod commands;
mod credentials;
mod customers;
mod device_api;
mod device_pages;
mod device_shape;
mod devices;
mod document;
mod farewells;
mod history;
mod house;
mod limits;
mod login;
mod names;
mod packages;
mod pages;
mod persistent;
mod polls;
mod profile_shape;
mod profiles;
mod refusal;
mod responder;
mod rollout;
mod routes;
mod seat;
mod settings;
mod shape;
mod telemetry;
#[cfg(test)]
mod tests;
mod tokens;
mod users;

pub(crate) use house::Api;
pub(crate) use routes::router;
pub use settings::ApiSettings;
