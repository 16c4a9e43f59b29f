//! The first tenant and its first profile.
//!
//! Why only where there is none: what was changed over the API since must outlive a restart, so the configuration speaks
//! once.
//!
//! Invariants:
//! - A registry with a tenant is left as it is.

use std::io;

use device::{Profile, ProfileId, Tenant, TenantId};
use platform::{Kept, Platform};

use super::secret::lots;
use crate::config::Devices;

/// The name of the profile that devices without a type get.
const PROFILE: &str = "default";

/// Makes the first tenant, if there is none.
///
/// # Errors
/// The kernel gives no random bytes.
pub(crate) fn found_tenant(platform: &Platform, devices: &Devices) -> io::Result<Option<Kept>> {
    if platform.read(|registry| registry.tenants().next().is_some()) {
        return Ok(None);
    }
    let mut lots = lots()?;
    let id = TenantId::random(&mut lots);
    let devices_max = (devices.devices_max > 0).then_some(devices.devices_max);
    let profile = Profile {
        is_default: true,
        keeping: devices.telemetry,
        retention_ms: devices.retention_ms(),
        ..Profile::named(ProfileId::random(&mut lots), id, PROFILE)
    };
    let ((), kept) = platform.change(|registry, changes| {
        registry.put_tenant(Tenant { devices_max, ..Tenant::named(id, &devices.tenant) }, changes);
        registry.put_profile(profile, changes).expect("its tenant was made in the line above");
    });
    Ok(Some(kept))
}
