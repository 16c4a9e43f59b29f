//! Names of things that last: sixteen bytes each, written like a UUID.
//!
//! Why bytes and not numbers: ids are chosen by whoever creates a thing, on any core and at any time, and a client of the
//! HTTP API expects UUIDs. As bytes they need no alignment, which keeps records small.
//!
//! Invariants:
//! - An id that was made here is a UUID of version 4.

use std::fmt;

/// Where randomness comes from. In production it must be fit for secrets; a test passes a seeded one.
pub type Chance<'c> = &'c mut dyn FnMut() -> u64;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// A new id.
            #[must_use]
            pub fn random(chance: Chance<'_>) -> Self {
                Self(random(chance))
            }

            /// Reads an id as it is written, in either case.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(&self.0, f)
            }
        }
    )* };
}

ids! {
    /// A tenant: whose devices they are.
    TenantId;
    /// A customer of a tenant, who may own devices.
    CustomerId;
    /// Somebody who may log in to the HTTP API.
    UserId;
    /// A device profile.
    ProfileId;
    /// A device.
    DeviceId;
    /// A firmware or software package.
    PackageId;
    /// A command.
    CommandId;
}

/// Random letters and digits, for tokens and names.
#[must_use]
pub fn random_word(letters: usize, chance: Chance<'_>) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..letters)
        .map(|_| {
            let index = (u128::from(chance()) * 62) >> 64;
            char::from(ALPHABET[usize::try_from(index).expect("below 62")])
        })
        .collect()
}

fn random(chance: Chance<'_>) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&chance().to_be_bytes());
    bytes[8..].copy_from_slice(&chance().to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn write(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let is_spaced = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        });
    if !is_spaced {
        return None;
    }
    let number = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use stdx::Prng;

    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is_written() {
        let mut prng = Prng::new(1);
        let id = DeviceId::random(&mut || prng.next_u64());
        let text = id.to_string();
        assert_eq!((text.len(), &text[14..15]), (36, "4"));
        assert_eq!(DeviceId::parse(&text), Some(id));
        assert_eq!(DeviceId::parse(&text.to_uppercase()), Some(id));
        for broken in ["", &text[1..], &text.replace('-', "0"), "784f394c-42b6-435a-983c-b7beff2784fg"] {
            assert_eq!(DeviceId::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_word_has_letters_and_digits_from_both_ends_of_the_alphabet() {
        let mut prng = Prng::new(2);
        let word = random_word(2000, &mut || prng.next_u64());
        assert_eq!(word.len(), 2000);
        assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(word.contains('A') && word.contains('9'));
    }
}
