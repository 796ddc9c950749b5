//! The one place where this room asks the predicate: at the endpoint that holds most, whatever the name there.

use crate::access::{Rules, ServerRules};
use crate::compile::model::{Candidate, Principal};
use crate::decide::judge::{self, Refusal, Silent};
use crate::view::Place;

/// Whether grants reach a tool or a prompt somewhere, and the place of the grant.
pub(super) fn definition<'a>(rules: &'a Rules, candidate: &'a Candidate) -> Result<u32, Refusal<'a>> {
    judge::definition(rules, &Place::All, candidate, &mut Silent).map(|(_, grant)| grant)
}

/// Whether grants reach a server at all: what its resources need beside a pattern.
pub(super) fn server<'a>(rules: &'a Rules, of: &'a ServerRules) -> Result<u32, Refusal<'a>> {
    judge::server(rules, &Place::All, &of.offer.server, &mut Silent)
}

/// Whether the key opens anything at this time.
pub(super) fn alive(principal: &Principal, now_unix_ms: u64) -> Result<(), Refusal<'static>> {
    principal.alive(now_unix_ms)
}
