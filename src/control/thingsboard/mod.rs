//! ThingsBoard's HTTP API, as far as devices are concerned.

mod settings;

pub use settings::ApiSettings;
