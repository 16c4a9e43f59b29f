//! What counts as one address.
//!
//! Why /64: a household or a rented server is given that many IPv6 addresses at once, so counting each of them by itself
//! would count nothing.
//!
//! Invariants:
//! - An IPv4 address is one address, also when it is written as IPv6.

use std::net::IpAddr;

/// Shelves that a table is spread over, each with a lock of its own.
pub(super) const SHELVES: usize = 16;

/// An IPv4 address or the first half of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Address(u128);

impl Address {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(four) => Self(four.to_ipv6_mapped().to_bits()),
            IpAddr::V6(six) => Self(six.to_bits() >> 64 << 64),
        }
    }

    /// The shelf on which it lies.
    pub(super) fn shelf(self) -> usize {
        let hash = stdx::stable_hash(&self.0.to_be_bytes());
        usize::try_from(hash).expect("usize has 64 bits") % SHELVES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_one_and_an_ipv6_network_of_64_bits_is_one() {
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        assert_ne!(address("::1"), address("0.0.0.0"));
    }
}
