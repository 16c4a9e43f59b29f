//! Claims: a device lets whoever knows its secret own it, for a while.
//!
//! Why the first claim wins: a device that is claimed again and again must not be able to change what its owner has read
//! off its label.
//!
//! Invariants:
//! - One wrong secret ends the claim; the device must make a new one.

use subtle::ConstantTimeEq;

/// How long a claim holds if the device does not say, in milliseconds.
pub const CLAIM_MS: i64 = 86_400_000;

/// What a device offers.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// What must be known; may be empty.
    pub secret: Box<str>,
    /// Until when, in Unix milliseconds.
    pub expires_ms: i64,
}

/// What comes of redeeming a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redeemed {
    /// It is theirs.
    Granted,
    /// There is no claim, or no longer.
    NoClaim,
    /// The secret is another; the claim is gone.
    WrongSecret,
}

impl Claim {
    /// What a device offers; `duration_ms` of nothing, zero or less is [`CLAIM_MS`].
    #[must_use]
    pub fn new(secret: &str, duration_ms: Option<i64>, now_ms: i64) -> Self {
        let duration_ms = duration_ms.filter(|duration| *duration > 0).unwrap_or(CLAIM_MS);
        Self { secret: secret.into(), expires_ms: now_ms.saturating_add(duration_ms) }
    }

    /// Whether it holds no more.
    #[must_use]
    pub const fn is_over(&self, now_ms: i64) -> bool {
        self.expires_ms <= now_ms
    }
}

impl std::fmt::Debug for Claim {
    // Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

/// Offers a claim; what is offered already and holds stays. Returns whether it changed.
pub(crate) fn offer(standing: &mut Option<Claim>, claim: Claim, now_ms: i64) -> bool {
    if standing.as_ref().is_some_and(|standing| !standing.is_over(now_ms)) {
        return false;
    }
    *standing = Some(claim);
    true
}

/// Redeems a claim, which is gone afterwards in any case.
pub(crate) fn redeem(standing: &mut Option<Claim>, secret: &str, now_ms: i64) -> Redeemed {
    match standing.take() {
        Some(claim) if claim.is_over(now_ms) => Redeemed::NoClaim,
        None => Redeemed::NoClaim,
        Some(claim) if bool::from(claim.secret.as_bytes().ct_eq(secret.as_bytes())) => Redeemed::Granted,
        Some(_) => Redeemed::WrongSecret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_claim_wins_until_it_is_over() {
        let mut standing = None;
        assert!(offer(&mut standing, Claim::new("a", Some(100), 0), 0));
        assert!(!offer(&mut standing, Claim::new("b", Some(100), 50), 50));
        assert_eq!(redeem(&mut standing.clone(), "b", 60), Redeemed::WrongSecret);
        assert_eq!(redeem(&mut standing.clone(), "a", 99), Redeemed::Granted);
        assert_eq!(redeem(&mut standing.clone(), "a", 100), Redeemed::NoClaim);
        assert!(offer(&mut standing, Claim::new("b", None, 100), 100));
        assert_eq!(redeem(&mut standing, "b", 100 + CLAIM_MS - 1), Redeemed::Granted);
    }

    #[test]
    fn one_wrong_secret_ends_a_claim() {
        let mut standing = Some(Claim::new("a", None, 0));
        assert_eq!(redeem(&mut standing, "x", 1), Redeemed::WrongSecret);
        assert_eq!(redeem(&mut standing, "a", 2), Redeemed::NoClaim);
    }

    #[test]
    fn a_duration_that_is_none_is_a_day() {
        for duration in [None, Some(0), Some(-5)] {
            assert_eq!(Claim::new("", duration, 7).expires_ms, 7 + 86_400_000);
        }
        assert_eq!(Claim::new("", Some(i64::MAX), 7).expires_ms, i64::MAX);
    }
}
