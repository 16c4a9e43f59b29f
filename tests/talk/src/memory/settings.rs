//! The overrides of a talk file's header, by the names of the configuration file.

use std::str::FromStr;

use broker::Limits;
use shard::Settings;

use crate::script::Header;

/// The settings of a script.
///
/// # Errors
/// An override that has no field, or a value that does not fit.
pub fn settings(header: &Header) -> Result<Settings, String> {
    let mut settings = Settings { journal_is_on: true, ..Settings::default() };
    for (section, key, value) in &header.settings {
        match (section.as_str(), key.as_str()) {
            ("limits", key) => set_limit(&mut settings.limits, key, value)?,
            ("sys", "interval_s") => settings.sys_interval_s = read(key, value)?,
            _ => return Err(format!("the memory runner knows no {section}.{key}")),
        }
    }
    Ok(settings)
}

fn read<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.replace('_', "").parse().map_err(|_| format!("{value} does not fit {key}"))
}

macro_rules! set_field {
    ($limits:ident, $key:ident, $value:ident: $($name:ident)*) => {
        match $key {
            $(stringify!($name) => $limits.$name = read($key, $value)?,)*
            _ => return Err(format!("no limit is called {}", $key)),
        }
    };
}

fn set_limit(limits: &mut Limits, key: &str, value: &str) -> Result<(), String> {
    set_field!(limits, key, value:
        connections_max takeovers_per_minute_max connect_timeout_s pre_auth_bytes_max questions_open_max packet_bytes_max
        topic_levels_max client_id_bytes_max
        subscriptions_per_client_max receive_maximum inflight_max inflight_3x_max queue_messages_max queue_bytes_max
        queue_bytes_total_max queue_memory_messages queue_memory_bytes queue_memory_bytes_total_max unwritten_bytes_max
        queue_qos0_messages_max out_bytes_high out_bytes_max topic_alias_max topic_alias_out_max session_expiry_max_s
        keep_alive_max_s sessions_max retained_messages_max retained_bytes_max retained_bytes_per_client_max
        held_bytes_max qos_max retain_available
        wildcard_available subscription_id_available shared_available queue_qos0_offline queue_drops_oldest
        payload_format_checked strict_strings strict_client_id_v31
    );
    Ok(())
}
