//! The one place where this room asks the predicate: at the endpoint that holds most, whatever the name there, and from
//! wherever and with whatever program a call could come. Who reaches something reaches it in some circumstances.

use crate::access::{Rules, ServerRules};
use crate::circumstances::Circumstances;
use crate::compile::model::{Candidate, Principal};
use crate::decide::judge::{self, Asker, Ground, Refusal, Step, Steps};
use crate::resource::Name;
use crate::standpoint::Holder;
use crate::view::Place;

/// Takes what is not known of a call for what lets it through: here nobody calls yet.
pub(super) struct Anyhow;

impl Steps for Anyhow {
    fn step(&mut self, _: Step, _: bool, _: Ground<'_>, _: impl FnOnce() -> String) {}

    fn unknown(&mut self, _: Step, _: Ground<'_>, _: impl FnOnce() -> String) -> bool {
        true
    }

    fn shadow(&mut self, _: &Name) {}
}

/// Whoever holds such a key, with whatever arguments and at whatever time.
pub(super) const fn asker<'a>(rules: &'a Rules, place: &'a Place, holder: Holder<'a>) -> Asker<'a> {
    let Holder { keyed, caller } = holder;
    Asker { rules, place, keyed, caller, listing: true, circumstances: Circumstances::at(0) }
}

/// Whether grants reach a tool or a prompt somewhere, and the place of the grant.
pub(super) fn definition<'a>(
    rules: &'a Rules,
    holder: Holder<'a>,
    candidate: &'a Candidate,
) -> Result<u32, Refusal<'a>> {
    let asker = asker(rules, &Place::All, holder);
    judge::definition(&asker, candidate, &mut Anyhow).map(|(_, grant)| grant)
}

/// Whether grants reach a server at all: what its resources need beside a pattern.
pub(super) fn server<'a>(
    rules: &'a Rules,
    holder: Holder<'a>,
    of: &'a ServerRules,
) -> Result<u32, Refusal<'a>> {
    judge::server(&asker(rules, &Place::All, holder), &of.offer.server, &mut Anyhow)
}

/// Whether the key opens anything at this time.
pub(super) fn alive(principal: &Principal, now_unix_ms: u64) -> Result<(), Refusal<'static>> {
    principal.alive(now_unix_ms)
}
