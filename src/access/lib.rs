//! Who may come in and do what: access rules, passwords and tokens, as files say it. Pure: text and names in, verdicts out.
//!
//! Invariants:
//! - Everything fails closed: a file that is not understood gives no rules, and what nothing allows is forbidden.

mod acl;
mod callback;
mod certificate;
mod edit;
mod password;
mod recent;
mod rule;
mod token;

pub use acl::{Acl, AclFault, Ground};
pub use callback::{Opinion, OpinionFault, Visitor, letter};
pub use certificate::{CertificateName, NameFault, certificate_name};
pub use edit::{UserFault, check_user, with_user, without_user};
pub use password::{PasswordFault, Passwords, hash};
pub use recent::{Recent, Tag};
pub use rule::{Access, Identity};
pub use token::{Bearer, KeyFault, TokenFault, TokenRights, TokenTerms, Tokens};
