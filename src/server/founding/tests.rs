//! The first start, and those after it.
//!
//! Invariants:
//! - Files are looked at as an operator finds them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use access::Passwords;
use device::{Authority, Keeping};
use platform::Platform;
use stdx::WallMs;

use super::{found_administrators, found_tenant, token_secret};
use crate::config::{ControlPlane, Devices};

fn founded() -> Platform {
    let platform = Platform::new(Box::new(|_settings| Ok(None)));
    let devices = Devices { tenant: "acme".into(), devices_max: 7, history_days: 2, ..Devices::default() };
    let devices = Devices { telemetry: Keeping::Latest, ..devices };
    assert!(found_tenant(&platform, &devices).unwrap().is_some());
    platform
}

/// Whether a password opens both accounts.
fn opens(platform: &Platform, password: &str) -> bool {
    platform.read(|registry| {
        let mut hashes: Vec<_> = registry.users().map(|user| &user.password_hash).collect();
        assert_eq!(hashes.len(), 2);
        hashes.dedup();
        assert_eq!(hashes.len(), 1, "a start waits for one hash and no more");
        let line = |user: &device::User| format!("{}:{}\n", user.name, user.password_hash);
        let text: String = registry.users().map(line).collect();
        let passwords = Passwords::parse(&text).unwrap();
        registry.users().all(|user| passwords.verify(&user.name, password.as_bytes()))
    })
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_tenant_and_its_profile_are_as_configured_and_made_once() {
    let platform = founded();
    platform.read(|registry| {
        let tenant = registry.tenants().next().unwrap();
        assert_eq!((&*tenant.name, tenant.devices_max), ("acme", Some(7)));
        let profile = registry.default_profile(tenant.id).unwrap();
        assert_eq!((&*profile.name, profile.keeping), ("default", Keeping::Latest));
        assert_eq!(profile.retention_ms, Some(2 * 86_400_000));
    });
    assert!(found_tenant(&platform, &Devices::default()).unwrap().is_none());
    assert_eq!(platform.read(|registry| registry.tenants().count()), 1);
}

#[test]
fn a_new_password_opens_both_accounts_and_stands_in_a_file_of_its_owner() {
    let (platform, dir) = (founded(), tempfile::tempdir().unwrap());
    let control = ControlPlane { admin: "Root@X".into(), ..ControlPlane::default() };
    let found = || found_administrators(&platform, &control, Some(dir.path()), WallMs(5)).unwrap();
    let (first, _kept) = found().unwrap();
    let path = dir.path().join("admin-password");
    let written = fs::read_to_string(&path).unwrap();
    let password = written.trim_end();
    assert_eq!((password.len(), mode(&path)), (20, 0o600));
    assert!(opens(&platform, password) && !opens(&platform, "another"));
    let told = first.to_string();
    assert!(told.contains(password) && told.contains("Root@X"), "{told}");
    assert!(told.ends_with(&format!("which is kept in {}", path.display())), "{told}");
    assert!(!format!("{first:?}").contains(password));
    platform.read(|registry| {
        let authority = |name| registry.user_named(name).map(|user| (user.authority, user.tenant.is_some()));
        assert_eq!(authority("root@x"), Some((Authority::SystemAdmin, false)));
        assert_eq!(authority("tenant@thingsboard.org"), Some((Authority::TenantAdmin, true)));
    });
    assert!(found().is_none(), "nobody is made twice");
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
}

#[test]
fn a_password_of_the_configuration_is_neither_told_nor_written() {
    let (platform, dir) = (founded(), tempfile::tempdir().unwrap());
    let path = dir.path().join("given");
    fs::write(&path, "open sesame\n").unwrap();
    let control = ControlPlane { admin_password_file: Some(path.clone()), ..ControlPlane::default() };
    let (founded, _kept) =
        found_administrators(&platform, &control, Some(dir.path()), WallMs(0)).unwrap().unwrap();
    assert!(opens(&platform, "open sesame"));
    assert!(!founded.to_string().contains("sesame"), "{founded}");
    assert!(!dir.path().join("admin-password").exists());
    let other = self::founded();
    for (content, complaint) in [("\n", "holds no password"), ("", "holds no password")] {
        fs::write(&path, content).unwrap();
        let refused = found_administrators(&other, &control, None, WallMs(0)).err().unwrap().to_string();
        assert_eq!(refused, format!("{}: {complaint}", path.display()));
    }
    fs::remove_file(&path).unwrap();
    let refused = found_administrators(&other, &control, None, WallMs(0)).err().unwrap().to_string();
    assert!(refused.contains("given: cannot be read: No such file"), "{refused}");
    assert_eq!(other.read(|registry| registry.users().count()), 0);
}

#[test]
fn the_secret_of_tokens_outlives_the_process_where_there_is_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = token_secret(Some(dir.path())).unwrap();
    let path = dir.path().join("token-secret");
    assert_eq!((first.len(), mode(&path)), (64, 0o600));
    assert_eq!(token_secret(Some(dir.path())).unwrap(), first);
    assert_ne!(token_secret(None).unwrap(), token_secret(None).unwrap());
    fs::write(&path, "short").unwrap();
    assert!(token_secret(Some(dir.path())).unwrap_err().to_string().contains("is too short"));
}
