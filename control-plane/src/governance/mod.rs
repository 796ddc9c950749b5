//! Who may do what: administrators, their rights, and who has to agree to what.
//!
//! Everything here is judged from a [`State`](crate::store::State) alone, so that it can be judged again inside the
//! transaction that it is about. The room stands on `store` and `objects` and knows none of those above it: `catalog`,
//! `approvals` and `registry` ask it, `admin` enforces what each request needs.

mod access;
mod actor;
mod authorship;
mod identity;
mod rights;
mod rules;
mod tokens;

pub use access::AccessError;
pub use actor::Actor;
pub use identity::{ADMIN_TOKEN, AdminToken, Identity};
pub use rights::{Rights, Scope};
pub use tokens::{AdminTokenInfo, AdminTokens, MAX_ADMIN_TOKENS, NewAdminToken, TokenRequest, TokensError};

pub(crate) use access::{Touched, authorise};
pub(crate) use authorship::{AUTHORSHIP, authors, with_authors};
pub(crate) use rules::{Ballot, Matter, Rule, Rulebook};
