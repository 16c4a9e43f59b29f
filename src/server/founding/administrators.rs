//! The first administrators and their password.
//!
//! Why a file beside the store: whoever can read the store can be an administrator anyway, and a password that only stood in
//! a terminal would be lost with it.
//!
//! Invariants:
//! - Somebody who may log in is never touched.
//! - The password is in its file before anybody can log in with it.

use std::fmt;
use std::path::{Path, PathBuf};

use device::{Authority, Margin, TenantId, User, UserId, random_word};
use platform::{Kept, Platform};
use stdx::WallMs;

use super::secret::{Fault, lots, random_bytes, read_secret, write_secret};
use crate::config::ControlPlane;

/// Where the first password stands, in the data directory.
const PASSWORD_FILE: &str = "admin-password";
/// Letters of a password that is made here: 119 bits.
const PASSWORD_LETTERS: usize = 20;

/// Administrators that were just made, and how they log in.
#[derive(Clone)]
pub struct Founded {
    names: [String; 2],
    password: String,
    /// Where it can be read; nowhere without a data directory.
    file: Option<PathBuf>,
    is_new: bool,
}

impl fmt::Debug for Founded {
    // The password stays out of logs: whoever shows it does so on purpose.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Founded")
            .field("names", &self.names)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Founded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names: [admin, tenant_admin], password, file, is_new } = self;
        write!(
            f,
            "first start: {admin} (broker) and {tenant_admin} (devices) log in to the API with the password "
        )?;
        match (is_new, file) {
            (true, Some(file)) => write!(f, "{password}, which is kept in {}", file.display()),
            (true, None) => write!(f, "{password}, until the broker ends"),
            (false, Some(file)) => write!(f, "in {}", file.display()),
            (false, None) => f.write_str("of the configuration"),
        }
    }
}

/// Makes the first administrators, if nobody may log in. `dir` is the data directory, if there is one.
///
/// # Errors
/// One line that says which file cannot be read or written, or what is wrong with it.
pub(crate) fn found_administrators(
    platform: &Platform,
    control: &ControlPlane,
    dir: Option<&Path>,
    now: WallMs,
) -> Result<Option<(Founded, Kept)>, Fault> {
    let tenant = platform.read(|registry| {
        let is_first = registry.users().next().is_none();
        is_first.then(|| registry.tenants().next().map(|tenant| tenant.id)).flatten()
    });
    let Some(tenant) = tenant else { return Ok(None) };
    let founded = first_password(control, dir)?;
    let users = [
        (&control.admin, Authority::SystemAdmin, None),
        (&control.tenant_admin, Authority::TenantAdmin, Some(tenant)),
    ];
    // Hashing is slow on purpose, and whoever waits for the broker waits for it: once is enough for one password.
    let hash = access::hash(founded.password.as_bytes(), random_bytes()?);
    let mut records = Vec::new();
    for (name, authority, tenant) in users {
        records.push(user(name, authority, tenant, &hash, now)?);
    }
    let ((), kept) = platform.change(|registry, changes| {
        for record in records {
            registry.put_user(record, changes).expect("there was nobody, and the two names differ");
        }
    });
    Ok(Some((founded, kept)))
}

fn user(
    name: &str,
    authority: Authority,
    tenant: Option<TenantId>,
    hash: &str,
    now: WallMs,
) -> Result<User, Fault> {
    Ok(User {
        id: UserId::random(&mut lots()?),
        tenant,
        customer: None,
        authority,
        created_ms: i64::try_from(now.0).unwrap_or(i64::MAX),
        name: name.to_lowercase().into(),
        password_hash: hash.into(),
        margin: Margin::default(),
    })
}

/// The password of the configuration, or a new one, which is written down.
fn first_password(control: &ControlPlane, dir: Option<&Path>) -> Result<Founded, Fault> {
    let names = [control.admin.clone(), control.tenant_admin.clone()];
    if let Some(path) = &control.admin_password_file {
        let text = String::from_utf8(read_secret(path)?).map_err(|_| Fault::of(path, "is not UTF-8 text"))?;
        let password = text.trim_end_matches(['\n', '\r']).to_owned();
        if password.is_empty() {
            return Err(Fault::of(path, "holds no password"));
        }
        return Ok(Founded { names, password, file: Some(path.clone()), is_new: false });
    }
    let password = random_word(PASSWORD_LETTERS, &mut lots()?);
    let file = dir.map(|dir| dir.join(PASSWORD_FILE));
    if let Some(file) = &file {
        write_secret(file, format!("{password}\n").as_bytes())?;
    }
    Ok(Founded { names, password, file, is_new: true })
}
