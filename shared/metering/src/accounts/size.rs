//! How large a lease is. The rule is small enough to be checked by hand, and changes nothing but sizes: that no budget is overshot does
//! not rest on it.
//!
//! A holder asks to have `want` free units in hand. It gets, including what it has:
//!
//! - at most a 64th of the limit, divided by the number of planes: so all planes together keep at most 1.6 % of a budget idle, and
//!   what else lies idle for a moment (a refund, an answer on its way) fits below 3 %;
//! - at most half of what is left, divided by the number of planes: so leases shrink as a budget runs out, and planes that hold more are
//!   told so and give it back;
//! - but at least what one waiting call needs, and at least one unit: so nobody is denied while there is enough for one call.

/// The most free units that are counted in one hand; a data plane keeps them in 48 bits.
const MOST: u64 = 1 << 46;

/// The most free units that one plane of a fleet should keep of a limit of which so much is left.
pub(super) fn cap(limit: u64, left: u64, fleet: u32) -> u64 {
    let fleet = u64::from(fleet.max(1));
    (limit / 64 / fleet).min(left / 2 / fleet).clamp(1, MOST)
}

/// How many units a holder gets, which has `free` units in hand, wants `want`, and has a call waiting that needs `need`.
pub(super) fn grant(want: u64, need: u64, free: u64, limit: u64, left: u64, fleet: u32) -> u64 {
    let aim = want.min(cap(limit, left, fleet)).max(need.min(MOST));
    let more = aim.saturating_sub(free).min(left);
    // Less than the waiting call needs would lie idle while others could use it.
    if free.saturating_add(more) < need { 0 } else { more }
}
