//! Who asks, and what they may see.
//!
//! Why the user is looked up with every request: somebody who was deleted, or whose password was changed, is out at once.
//!
//! Invariants:
//! - Nothing of another tenant is found; it looks as if it did not exist.
//! - A customer's user sees the customer's devices and no others.
//!
//! Source: section 13.1 of the vectors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use device::{Authority, CustomerId, Device, DeviceId, TenantId, User, UserId};

use super::asked::id;
use super::house::Api;
use super::refusal::Refusal;
use super::tokens::{Claims, Use};

/// Who asks.
pub(crate) struct Caller {
    pub user: User,
    pub claims: Claims,
}

/// From where somebody asks.
pub(super) struct Peer(pub IpAddr);

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let token = bearer(&parts.headers).ok_or_else(|| Refusal::stranger("Authentication failed"))?;
        let claims = api.tokens().read(token, Use::Access, api.now_ms())?;
        let user = api.user_of(&claims)?;
        Ok(Self { user, claims })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())))
    }
}

impl Caller {
    /// The tenant in whose name they ask.
    pub fn tenant(&self) -> Result<TenantId, Refusal> {
        self.user.tenant.ok_or_else(Refusal::forbidden)
    }

    /// Their tenant, if all of it is theirs.
    pub fn admin(&self) -> Result<TenantId, Refusal> {
        match self.user.authority {
            Authority::TenantAdmin => self.tenant(),
            Authority::SystemAdmin | Authority::CustomerUser => Err(Refusal::forbidden()),
        }
    }

    /// Whether they look after the whole broker.
    pub fn system(&self) -> Result<(), Refusal> {
        match self.user.authority {
            Authority::SystemAdmin => Ok(()),
            Authority::TenantAdmin | Authority::CustomerUser => Err(Refusal::forbidden()),
        }
    }

    /// The customer whose devices are all that they see.
    pub fn customer(&self) -> Option<CustomerId> {
        match self.user.authority {
            // Without a customer there is nothing to see; an id that nobody has says so.
            Authority::CustomerUser => Some(self.user.customer.unwrap_or(CustomerId::from_bytes([0; 16]))),
            Authority::SystemAdmin | Authority::TenantAdmin => None,
        }
    }

    /// Whether they may see a device of their tenant.
    pub fn may_see(&self, device: &Device) -> bool {
        self.customer().is_none_or(|customer| device.customer == Some(customer))
    }
}

impl Api {
    /// The user of a token, if they are still who they were.
    pub fn user_of(&self, claims: &Claims) -> Result<User, Refusal> {
        let id = UserId::parse(&claims.user_id).ok_or_else(|| Refusal::stranger("Invalid token"))?;
        let user = self.read(|registry| registry.user(id).cloned());
        user.filter(|user| claims.fits(user)).ok_or_else(Refusal::expired)
    }

    /// A device that the caller may see.
    pub fn device_of(&self, caller: &Caller, text: &str) -> Result<Device, Refusal> {
        let device = self.device_in(caller.tenant()?, text)?;
        if caller.may_see(&device) { Ok(device) } else { Err(Refusal::forbidden()) }
    }

    /// A device of a tenant.
    pub fn device_in(&self, tenant: TenantId, text: &str) -> Result<Device, Refusal> {
        let id = id(text, DeviceId::parse)?;
        let device = self.read(|registry| registry.device(id).cloned());
        device.filter(|device| device.tenant == tenant).ok_or_else(|| Refusal::missing("Device", id))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let names = [HeaderName::from_static("x-authorization"), AUTHORIZATION];
    let shown = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
    let mut shown = shown.filter(|value| !value.trim().is_empty());
    shown.next()?.strip_prefix("Bearer ").map(str::trim)
}
