//! Who a client is by what it shows.
//!
//! Why the order of look-ups: a credential that names a client id as well is the more precise one, and must not be passed
//! by with its wrong password by way of a less precise one.
//!
//! Invariants:
//! - A token is a token whatever client id and password come with it.
//! - A wrong password is never tried against another record.
//!
//! Source: the login rules of the device API.

use super::shelf::Registry;
use crate::credential::{Credential, Fingerprint, Match, Probe};
use crate::ids::DeviceId;
use crate::record::Device;

impl Registry {
    /// The device that shows these; what is absent is empty.
    #[must_use]
    pub fn log_in(&self, client_id: &str, user_name: &str, password: &[u8]) -> Option<DeviceId> {
        if user_name.is_empty() {
            let device = self.device_showing(Probe::of_names(client_id, ""))?;
            return (judge(device, client_id, "", password)? == Match::Valid).then_some(device.id);
        }
        if let Some(device) = self.device_showing(Probe::of_names(client_id, user_name)) {
            match judge(device, client_id, user_name, password) {
                Some(Match::Valid) => return Some(device.id),
                Some(Match::WrongPassword) => return None,
                Some(Match::Other) | None => {}
            }
        }
        let device = self.device_showing(Probe::of(user_name))?;
        let is_theirs = match &device.credential {
            Credential::Token(_) => true,
            Credential::Basic(_) => judge(device, client_id, user_name, password) == Some(Match::Valid),
            Credential::Certificate(_) => false,
        };
        is_theirs.then_some(device.id)
    }

    /// Whether a device goes by these names, and only the password is another one.
    #[must_use]
    pub fn has_other_password(&self, client_id: &str, user_name: &str, password: &[u8]) -> bool {
        let probes = [Probe::of_names(client_id, user_name), Probe::of(user_name)];
        let devices = probes.into_iter().filter_map(|probe| self.device_showing(probe));
        devices
            .filter_map(|device| judge(device, client_id, user_name, password))
            .any(|outcome| outcome == Match::WrongPassword)
    }

    /// The device whose certificate it is.
    #[must_use]
    pub fn log_in_with_certificate(&self, fingerprint: &Fingerprint) -> Option<DeviceId> {
        let device = self.device_showing(Probe::Digest(*fingerprint))?;
        matches!(device.credential, Credential::Certificate(_)).then_some(device.id)
    }
}

/// Compares, if the device has a credential of names.
fn judge(device: &Device, client_id: &str, user_name: &str, password: &[u8]) -> Option<Match> {
    match &device.credential {
        Credential::Basic(basic) => Some(basic.matches(client_id, user_name, password)),
        Credential::Token(_) | Credential::Certificate(_) => None,
    }
}
