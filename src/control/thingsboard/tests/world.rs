//! A broker with two tenants, their users and a clock, without cores and disk.
//!
//! Invariants:
//! - Time passes only when a test says so, or when everybody waits for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use device::{
    Authority, Change, Customer, CustomerId, DeviceId, Margin, Profile, ProfileId, Tenant, TenantId, User,
    UserId,
};
use device::{Dialect, Offer, Rate, Rates};
use platform::Platform;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::doorman::Doorman;
use crate::thingsboard::tokens::Use;
use crate::thingsboard::{Api, ApiSettings, router};

/// When the world begins.
pub(super) const START_MS: i64 = 1_760_000_000_000;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Nobody,
    System,
    /// The administrator of tenant A.
    Admin,
    /// The administrator of tenant B.
    Other,
    /// A user of a customer of tenant A.
    Customer,
}

/// A broker.
pub(super) struct World {
    pub api: Api,
    pub router: Router,
    clock: Arc<AtomicI64>,
}

/// Nobody may fail more often than three times.
#[derive(Default)]
struct Strict(AtomicI64);

impl Doorman for Strict {
    fn shuts_out(&self, _from: IpAddr) -> bool {
        self.0.load(Ordering::SeqCst) >= 3
    }

    fn failed(&self, _from: IpAddr) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn succeeded(&self, _from: IpAddr) {}
}

/// An answer.
#[derive(Debug)]
pub(super) struct Told {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.bytes)))
    }
}

/// Runs a story on a clock that stands still while anybody can go on.
pub(super) fn story<F: Future<Output = ()>>(tell: impl FnOnce(Arc<World>) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(tell(Arc::new(World::new(None))));
}

/// The same where pages of some origins may use the API.
pub(super) fn story_with<F: Future<Output = ()>>(origins: &[&str], tell: impl FnOnce(Arc<World>) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let allowed_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let platform = Platform::alone(Box::new(|_| Ok(None)), Box::new(|| START_MS));
    let settings = ApiSettings { allowed_origins, ..settings() };
    let clock = Arc::new(AtomicI64::new(START_MS));
    runtime.block_on(tell(Arc::new(World::by(platform, settings, clock))));
}

pub(super) fn settings() -> ApiSettings {
    ApiSettings {
        jwt_secret: vec![7; 64],
        token_s: 9_000,
        refresh_s: 604_800,
        webhook: None,
        webhook_ms: 5_000,
        packet_bytes_max: 65_536,
        offer: offer("20:1"),
        gateway_offer: offer("30:1"),
        command_ms: 10_000,
        command_ms_min: 5_000,
        claiming_allowed: true,
        allowed_origins: Vec::new(),
    }
}

/// What devices may say that say at most so many messages.
fn offer(messages: &str) -> Offer {
    let own = Rates { messages: Rate::read(messages).unwrap(), ..Rates::default() };
    Offer { own, inflight_max: 7, ..Offer::default() }
}

pub(super) fn customer_id() -> CustomerId {
    CustomerId::from_bytes([9; 16])
}

fn now(clock: &Arc<AtomicI64>) -> Box<dyn Fn() -> i64 + Send + Sync> {
    let clock = Arc::clone(clock);
    Box::new(move || clock.load(Ordering::SeqCst))
}

impl World {
    pub fn new(webhook: Option<String>) -> Self {
        let clock = Arc::new(AtomicI64::new(START_MS));
        let read = |settings: &str| dialect::ThingsBoard.read_settings(settings);
        let platform = Platform::alone(Box::new(read), now(&clock));
        Self::at(platform, webhook, clock)
    }

    /// The same with other cores.
    pub fn on(platform: Platform, webhook: Option<String>) -> Self {
        Self::at(platform, webhook, Arc::new(AtomicI64::new(START_MS)))
    }

    fn at(platform: Platform, webhook: Option<String>, clock: Arc<AtomicI64>) -> Self {
        Self::by(platform, ApiSettings { webhook, ..settings() }, clock)
    }

    fn by(platform: Platform, settings: ApiSettings, clock: Arc<AtomicI64>) -> Self {
        let ((), _kept_in_memory) = platform.change(|registry, changes| {
            for (number, name) in [(1, "A"), (2, "B")] {
                let id = TenantId::from_bytes([number; 16]);
                registry.put_tenant(Tenant::named(id, name), changes);
                let profile = Profile::named(ProfileId::from_bytes([number; 16]), id, "default");
                registry.put_profile(profile, changes).unwrap();
            }
            let tenant = TenantId::from_bytes([1; 16]);
            let customer = Customer {
                id: customer_id(),
                tenant,
                created_ms: 1,
                title: "C".into(),
                margin: Margin::default(),
            };
            registry.put_customer(customer, changes).unwrap();
            for who in [Who::System, Who::Admin, Who::Other, Who::Customer] {
                registry.put_user(user(who), changes).unwrap();
            }
            changes.retain(|change| matches!(change, Change::User(_)));
        });
        let api = Api::new(platform, settings, Arc::new(Strict::default()), now(&clock));
        Self { router: router(api.clone()), api, clock }
    }

    pub fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn token(&self, who: Who) -> String {
        self.api.tokens().make(&user(who), Use::Access, "session", self.api.now_ms()).unwrap()
    }

    pub async fn send(&self, who: Who, call: &str, kind: &str, body: Vec<u8>) -> Told {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header("content-type", kind);
        request = request.header("content-length", body.len());
        if who != Who::Nobody {
            request = request.header("x-authorization", format!("Bearer {}", self.token(who)));
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Told { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// Asks with headers and no body.
    pub async fn send_with(&self, who: Who, call: &str, headers: &[(&str, &str)]) -> Told {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = request.header("x-authorization", format!("Bearer {}", self.token(who)));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Told { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// Asks with a body that is JSON, or nothing if it is null.
    pub async fn ask(&self, who: Who, call: &str, body: Value) -> Told {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(who, call, "application/json", body).await
    }

    /// Asks, and compares: what is expected must be in the answer, and more may be.
    pub async fn expect(&self, who: Who, call: &str, body: Value, status: u16, expected: Value) -> Value {
        let told = self.ask(who, call, body).await;
        let json = told.json();
        assert_eq!(told.status, status, "{who:?} {call}: {json}");
        assert!(includes(&json, &expected), "{who:?} {call}: {json} without {expected}");
        json
    }

    /// A device of tenant A with its own name as token.
    pub async fn device(&self, name: &str) -> String {
        let call = format!("POST /api/device?accessToken={name}");
        let json = self.expect(Who::Admin, &call, json!({"name": name}), 200, json!({"name": name})).await;
        id_of(&json)
    }
}

pub(super) fn id_of(json: &Value) -> String {
    json["id"]["id"].as_str().unwrap().to_owned()
}

pub(super) fn device_id(text: &str) -> DeviceId {
    DeviceId::parse(text).unwrap()
}

pub(super) fn user(who: Who) -> User {
    let (number, tenant, customer, authority) = match who {
        Who::Nobody | Who::System => (1, None, None, Authority::SystemAdmin),
        Who::Admin => (2, Some(1), None, Authority::TenantAdmin),
        Who::Other => (3, Some(2), None, Authority::TenantAdmin),
        Who::Customer => (4, Some(1), Some(customer_id()), Authority::CustomerUser),
    };
    User {
        id: UserId::from_bytes([number; 16]),
        tenant: tenant.map(|number| TenantId::from_bytes([number; 16])),
        customer,
        authority,
        created_ms: 1,
        name: format!("{who:?}@example.com").to_lowercase().into(),
        password_hash: Box::default(),
        margin: Margin::default(),
    }
}

/// Whether a value has all of another; `"*"` stands for anything.
pub(super) fn includes(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (_, Value::String(any)) if any == "*" => true,
        (Value::Object(value), Value::Object(expected)) => expected
            .iter()
            .all(|(name, expected)| value.get(name).is_some_and(|value| includes(value, expected))),
        (Value::Array(value), Value::Array(expected)) => {
            value.len() == expected.len()
                && value.iter().zip(expected).all(|(one, other)| includes(one, other))
        }
        (value, expected) => value == expected,
    }
}

pub(super) const OK: u16 = StatusCode::OK.as_u16();

#[test]
fn a_part_is_included_and_another_value_is_not() {
    let whole = json!({"a": [1, {"b": 2, "c": 3}], "d": null});
    assert!(includes(&whole, &json!({"a": ["*", {"b": 2}]})));
    for other in [json!({"a": [1]}), json!({"a": [1, {"b": 3}]}), json!({"e": null})] {
        assert!(!includes(&whole, &other), "{other}");
    }
}
