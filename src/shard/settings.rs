//! What a shard is set up with.
//!
//! Invariants:
//! - All shards of a broker share one [`Settings`].

use std::sync::Arc;

use broker::{CoreId, Level, Limits};
use device::{Dialect, HubTerms, Offer, SharedRegistry};
use stdx::WallMs;
use wire::Wardrobe;

use crate::doorkeeper::Doorkeeper;

/// When acknowledgements to clients of a listener leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// When what they promise is synced to disk.
    #[default]
    Fsync,
    /// At once; the store syncs now and then.
    Interval,
    /// At once; the listener asks nothing of the store.
    Memory,
}

/// What all shards of a broker have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The limits.
    pub limits: Limits,
    /// The dialect of each listener, by [`crate::ListenerId`].
    pub dialects: Vec<&'static dyn Dialect>,
    /// What connections of each listener wear, by [`crate::ListenerId`]; nothing for those beyond the end.
    pub wardrobes: Arc<[Wardrobe]>,
    /// The durability of each listener, by [`crate::ListenerId`]; the default for those beyond the end. Without a journal
    /// nothing waits.
    pub durabilities: Vec<Durability>,
    /// What `$SYS/broker/store/durability` says.
    pub durability_shown: String,
    /// Seconds between `$SYS` publications; 0 is never.
    pub sys_interval_s: u32,
    /// What `$SYS/broker/version` says.
    pub version: String,
    /// Who lets clients in and says what they may do; none lets everybody in and allows everything.
    pub doorkeeper: Option<Arc<dyn Doorkeeper>>,
    /// What the store calls each listener, by [`crate::ListenerId`]: a name that means the same listener after a restart with
    /// another configuration. Those beyond the end are called by their number.
    pub listener_names: Vec<Arc<str>>,
    /// Whether shards write down their changes for a store.
    pub journal_is_on: bool,
    /// Notices below this level are not made.
    pub notice_level: Level,
    /// What is known of devices; none where no listener's dialect has any.
    pub registry: Option<Arc<dyn SharedRegistry>>,
    /// What each listener offers to devices, by [`crate::ListenerId`]; the default for those beyond the end.
    pub offers: Vec<Arc<Offer>>,
    /// What each listener offers to gateways; as to other devices for those beyond the end.
    pub gateway_offers: Vec<Arc<Offer>>,
    /// How hubs treat devices.
    pub hub: HubTerms,
    /// Children for which one gateway may speak at one time; one more is refused with 0x97.
    pub gateway_children_max: usize,
    /// Whether a device's certificate counts within its term only; one that makes a device always does.
    pub certificate_terms_count: bool,
    /// Bytes of packages that may be on their way to devices of one core at one time, in parts above 64 KiB; for more, devices
    /// wait. One part may be larger.
    pub package_bytes_max: usize,
    /// Randomness that is fit for secrets, for the credentials of new devices; none is for trials, whose seeds are.
    pub chance: Option<fn() -> u64>,
}

/// What one shard is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This core.
    pub core: CoreId,
    /// How many cores there are.
    pub cores: u16,
    /// Seeds map hashes and generated client ids; secret and different per process outside tests.
    pub seed: u64,
    /// What all shards share.
    pub settings: Arc<Settings>,
    /// The wall clock at the shard's birth.
    pub wall: WallMs,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            dialects: Vec::new(),
            wardrobes: Arc::new([]),
            durabilities: Vec::new(),
            durability_shown: "memory".into(),
            sys_interval_s: 10,
            version: env!("CARGO_PKG_VERSION").into(),
            doorkeeper: None,
            listener_names: Vec::new(),
            journal_is_on: false,
            notice_level: Level::Info,
            registry: None,
            offers: Vec::new(),
            gateway_offers: Vec::new(),
            hub: HubTerms::default(),
            gateway_children_max: 10_000,
            certificate_terms_count: true,
            package_bytes_max: 256 << 20,
            chance: None,
        }
    }
}
