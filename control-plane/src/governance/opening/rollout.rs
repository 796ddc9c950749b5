//! Whether a server's rollout opens: more callers at a stage, a stage less, or less asked before it is left.

use portcullis_policy::resource::{Checks, RolloutPolicySpec, Stage};

/// Whether a policy, or none, in place of another opens a server that is at this stage. One that is open to all cannot be opened
/// further.
pub(super) fn opens(before: &RolloutPolicySpec, after: Option<&RolloutPolicySpec>, at: Stage) -> bool {
    if at == Stage::General {
        return false;
    }
    let Some(after) = after else { return true };
    let sandbox = match (&before.sandbox, &after.sandbox) {
        (Some(was), Some(is)) => asks_less(&was.checks, &is.checks),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let limited = match (&before.limited, &after.limited) {
        (Some(was), Some(is)) => {
            is.teams.iter().any(|team| !was.teams.contains(team))
                || is.keys.iter().any(|key| !was.keys.contains(key))
                || is.percent.unwrap_or(0) > was.percent.unwrap_or(0)
                || asks_less(&was.checks, &is.checks)
        }
        (Some(_), None) => true,
        // A stage more is a step more, but for the server that is at it with nobody let in.
        (None, Some(_)) => at == Stage::Limited,
        (None, None) => false,
    };
    sandbox || limited
}

/// Whether checks hold where those before did not.
fn asks_less(was: &Checks, is: &Checks) -> bool {
    // A shorter window is over sooner and sees less; a longer one has more time for the same number of calls.
    is.window.0 < was.window.0
        || (is.window.0 > was.window.0 && was.min_calls.is_some())
        || is.min_calls.unwrap_or(0) < was.min_calls.unwrap_or(0)
        || takes_more(was.max_error_rate, is.max_error_rate)
        || takes_more(was.max_denials, is.max_denials)
        || (was.no_drift && !is.no_drift)
}

/// Whether a bound, which there is none of where it is left out, takes more than before.
fn takes_more<T: Ord>(was: Option<T>, is: Option<T>) -> bool {
    match (was, is) {
        (Some(was), Some(is)) => is > was,
        (Some(_), None) => true,
        (None, _) => false,
    }
}
