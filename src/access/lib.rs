//! Who may come in and do what: access rules, passwords and tokens, as files say it. Pure: text and names in, verdicts out.
//!
//! Invariants:
//! - Everything fails closed: a file that is not understood gives no rules, and what nothing allows is forbidden.

mod acl;
mod password;
mod rule;
mod token;

pub use acl::{Acl, AclFault};
pub use password::{PasswordFault, Passwords, hash};
pub use rule::{Access, Identity};
pub use token::{Bearer, KeyFault, TokenFault, TokenRights, TokenTerms, Tokens};
