//! What callers sent with calls that wait: in memory alone, bounded, and forgotten with the decision. Losing it loses nothing but
//! the sight of it: an approval is bound to its hash, and whoever asks again sends it again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The largest input that is kept, in bytes.
pub const MAX_INPUT_BYTES: usize = 16 << 10;
/// How much is kept of all together, in bytes; beyond it the oldest goes.
const MAX_TOTAL_BYTES: usize = 16 << 20;

/// Inputs by the id of the approval.
#[derive(Debug, Default)]
pub(super) struct Payloads(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_id: BTreeMap<String, Bytes>,
    /// The ids, those kept longest first; some may be gone.
    order: VecDeque<String>,
    total: usize,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("calls", &self.by_id.len()).field("bytes", &self.total).finish()
    }
}

impl Payloads {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the input of a call that waits.
    pub(super) fn keep(&self, id: &str, input: &Bytes) {
        if input.is_empty() || input.len() > MAX_INPUT_BYTES {
            return;
        }
        let mut kept = self.kept();
        if kept.by_id.contains_key(id) {
            return;
        }
        kept.total += input.len();
        // A copy: the bytes are a piece of a whole message, which they would hold on to.
        kept.by_id.insert(id.to_owned(), Bytes::copy_from_slice(input));
        kept.order.push_back(id.to_owned());
        while kept.total > MAX_TOTAL_BYTES {
            let Some(oldest) = kept.order.pop_front() else { return };
            kept.drop_one(&oldest);
        }
    }

    /// The input of a call.
    pub(super) fn get(&self, id: &str) -> Option<Bytes> {
        self.kept().by_id.get(id).cloned()
    }

    /// Forgets all but what these calls sent.
    pub(super) fn retain(&self, waits: impl Fn(&str) -> bool) {
        let mut kept = self.kept();
        let gone: Vec<String> = kept.by_id.keys().filter(|id| !waits(id)).cloned().collect();
        gone.iter().for_each(|id| kept.drop_one(id));
        let Kept { by_id, order, .. } = &mut *kept;
        order.retain(|id| by_id.contains_key(id));
    }
}

impl Kept {
    fn drop_one(&mut self, id: &str) {
        if let Some(input) = self.by_id.remove(id) {
            self.total = self.total.saturating_sub(input.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_kept_within_their_bounds_and_the_oldest_goes_first() {
        let payloads = Payloads::default();
        let large = Bytes::from(vec![b'x'; MAX_INPUT_BYTES]);
        payloads.keep("too-large", &Bytes::from(vec![b'x'; MAX_INPUT_BYTES + 1]));
        payloads.keep("nothing", &Bytes::new());
        assert_eq!((payloads.get("too-large"), payloads.get("nothing")), (None, None));
        let fit = MAX_TOTAL_BYTES / MAX_INPUT_BYTES;
        for at in 0..=fit {
            payloads.keep(&format!("c-{at}"), &large);
        }
        assert!(payloads.get("c-0").is_none());
        assert!(payloads.get("c-1").is_some() && payloads.get(&format!("c-{fit}")).is_some());
        payloads.retain(|id| id == "c-2");
        assert!(payloads.get("c-1").is_none() && payloads.get("c-2").is_some());
        assert_eq!(payloads.kept().total, MAX_INPUT_BYTES);
        assert_eq!(payloads.kept().order.len(), 1);
    }
}
