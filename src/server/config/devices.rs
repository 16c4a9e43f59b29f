//! `[devices]`: how the device platform treats devices, and how often they may say something.
//!
//! Why rates are words of the room `device`: dialects read and spend them; here they are only written down.
//!
//! Invariants:
//! - Field names are the keys of the file.

use device::{CommandTerms, HubTerms, Keeping, Rate, Rates, Submit};

/// How devices are treated.
#[derive(Clone, Debug)]
pub struct Devices {
    /// The name of the first tenant.
    pub tenant: String,
    /// How many devices it may have; 0 is no limit.
    pub devices_max: u32,
    /// Profiles that each tenant may have.
    pub profiles_max: u32,
    /// What is kept of telemetry.
    pub telemetry: Keeping,
    /// How long history is kept; 0 is for ever.
    pub history_days: u32,
    /// How long a device may be silent before it counts as inactive.
    pub silence_s: u32,
    /// Seconds without a packet after which a device's connection ends; 0 is never.
    pub session_silence_s: u32,
    /// Connections of one device at one time.
    pub sessions_per_device_max: u32,
    /// Children for which one gateway may speak at one time.
    pub gateway_children_max: u32,
    /// Bytes of packages that may be on their way to devices at one time, on all cores, in parts above 64 KiB.
    pub package_bytes_max: u64,
    /// How long a device may take to acknowledge a command.
    pub command_ack_ms: u32,
    /// How often delivery of a command is tried again.
    pub command_retries_max: u32,
    /// Commands that may wait for one device.
    pub commands_waiting_max: u32,
    /// Commands that have ended and are kept of one device.
    pub commands_kept_max: u32,
    /// When the next of several commands is sent.
    pub command_submit: Submit,
    /// How long the next one waits for an answer to the one before it.
    pub command_answer_ms: u32,
    /// Whether a command that was never acknowledged ends the device's connections instead of failing.
    pub command_closes: bool,
    /// Whether every device that nobody owns may be claimed.
    pub claiming_allowed: bool,
    /// How long an offer to be claimed holds if the device does not say.
    pub claim_duration_s: u32,
    /// Whether what becomes of a device's presence is telemetry of it as well.
    pub presence_in_telemetry: bool,
    /// Whether a device's certificate counts within its term only.
    pub certificate_terms_count: bool,
    /// Keys that are known of one device.
    pub facts_per_device_max: u32,
    /// Bytes of these keys and of their values.
    pub facts_bytes_per_device_max: u64,
    /// Devices of which the broker knows something, on all cores.
    pub known_devices_max: u32,
    /// Whether refused devices count as failed logins of their address, and an address that has too many is shut out.
    pub failed_logins_count: bool,
    /// What a device may say that is no telemetry.
    pub device_messages: Rate,
    /// Messages with telemetry or attributes.
    pub device_telemetry_messages: Rate,
    /// Values in them.
    pub device_telemetry_values: Rate,
    /// What a gateway may say of all its children together, by the same three.
    pub gateway_messages: Rate,
    /// Its messages with telemetry or attributes.
    pub gateway_telemetry_messages: Rate,
    /// Values in them.
    pub gateway_telemetry_values: Rate,
    /// What a gateway may say of itself, by the same three.
    pub gateway_device_messages: Rate,
    /// Its messages with telemetry or attributes.
    pub gateway_device_telemetry_messages: Rate,
    /// Values in them.
    pub gateway_device_telemetry_values: Rate,
    /// What all devices of a tenant may say together, by the same three.
    pub tenant_messages: Rate,
    /// Their messages with telemetry or attributes.
    pub tenant_telemetry_messages: Rate,
    /// Values in them.
    pub tenant_telemetry_values: Rate,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            tenant: "default".to_owned(),
            devices_max: 0,
            profiles_max: 10_000,
            telemetry: Keeping::History,
            history_days: 0,
            silence_s: 600,
            session_silence_s: 600,
            sessions_per_device_max: 1,
            gateway_children_max: 10_000,
            package_bytes_max: 256 << 20,
            command_ack_ms: 10_000,
            command_retries_max: 5,
            commands_waiting_max: 1000,
            commands_kept_max: 1000,
            command_submit: Submit::Burst,
            command_answer_ms: 30_000,
            command_closes: false,
            claiming_allowed: true,
            claim_duration_s: 86_400,
            presence_in_telemetry: false,
            certificate_terms_count: true,
            facts_per_device_max: 4096,
            facts_bytes_per_device_max: 4 << 20,
            known_devices_max: 4_000_000,
            failed_logins_count: false,
            device_messages: Rate::default(),
            device_telemetry_messages: Rate::default(),
            device_telemetry_values: Rate::default(),
            gateway_messages: Rate::default(),
            gateway_telemetry_messages: Rate::default(),
            gateway_telemetry_values: Rate::default(),
            gateway_device_messages: Rate::default(),
            gateway_device_telemetry_messages: Rate::default(),
            gateway_device_telemetry_values: Rate::default(),
            tenant_messages: Rate::default(),
            tenant_telemetry_messages: Rate::default(),
            tenant_telemetry_values: Rate::default(),
        }
    }
}

impl Devices {
    /// How each hub of so many cores treats devices.
    pub(crate) fn hub_terms(&self, cores: usize) -> HubTerms {
        HubTerms {
            commands: CommandTerms {
                ack_ms: self.command_ack_ms.into(),
                retries_max: self.command_retries_max,
                waiting_max: stdx::widen(self.commands_waiting_max),
                submit: self.command_submit,
                answer_ms: self.command_answer_ms.into(),
                closes: self.command_closes,
            },
            silence_ms: i64::from(self.silence_s) * 1000,
            sessions_max: stdx::widen(self.sessions_per_device_max),
            facts_per_device_max: stdx::widen(self.facts_per_device_max),
            facts_bytes_per_device_max: usize::try_from(self.facts_bytes_per_device_max)
                .unwrap_or(usize::MAX),
            devices_max: stdx::widen(self.known_devices_max).div_ceil(cores.max(1)),
            claim_ms: i64::from(self.claim_duration_s) * 1000,
            claiming_allowed: self.claiming_allowed,
            presence_in_telemetry: self.presence_in_telemetry,
        }
    }

    /// The part of each of so many cores in the bytes of packages that are on their way.
    pub(crate) fn package_bytes_share(&self, cores: usize) -> usize {
        usize::try_from(self.package_bytes_max).unwrap_or(usize::MAX).div_ceil(cores.max(1))
    }

    /// Limits of a device that is no gateway.
    pub(crate) fn device_rates(&self) -> Rates {
        Rates {
            messages: self.device_messages.clone(),
            telemetry_messages: self.device_telemetry_messages.clone(),
            telemetry_values: self.device_telemetry_values.clone(),
        }
    }

    /// Limits of what a gateway says of all its children together.
    pub(crate) fn gateway_rates(&self) -> Rates {
        Rates {
            messages: self.gateway_messages.clone(),
            telemetry_messages: self.gateway_telemetry_messages.clone(),
            telemetry_values: self.gateway_telemetry_values.clone(),
        }
    }

    /// Limits of what a gateway says of itself.
    pub(crate) fn gateway_device_rates(&self) -> Rates {
        Rates {
            messages: self.gateway_device_messages.clone(),
            telemetry_messages: self.gateway_device_telemetry_messages.clone(),
            telemetry_values: self.gateway_device_telemetry_values.clone(),
        }
    }

    /// Limits of what all devices of a tenant say together.
    pub(crate) fn tenant_rates(&self) -> Rates {
        Rates {
            messages: self.tenant_messages.clone(),
            telemetry_messages: self.tenant_telemetry_messages.clone(),
            telemetry_values: self.tenant_telemetry_values.clone(),
        }
    }

    /// How long history is kept, in milliseconds; none is for ever.
    pub(crate) fn retention_ms(&self) -> Option<u64> {
        const DAY_MS: u64 = 86_400_000;
        (self.history_days > 0).then(|| u64::from(self.history_days) * DAY_MS)
    }
}
