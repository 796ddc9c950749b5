//! Who makes a change: an administrator, bound by their rights, or the process itself.

use std::sync::Arc;

use super::access::AccessError;
use super::identity::Identity;
use crate::store::State;

/// Who makes a change. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Actor {
    author: Arc<str>,
    identity: Option<Arc<Identity>>,
}

impl Actor {
    /// This process itself, as history is to name it. No rights bind it: never for what comes from outside.
    #[must_use]
    pub fn trusted(author: &str) -> Self {
        Self { author: author.into(), identity: None }
    }

    /// As history names them.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.author
    }

    /// The identity as it is in this state, which may have less than when it asked; none for the process itself.
    ///
    /// # Errors
    /// [`AccessError::Denied`] when its token ended meanwhile.
    pub(crate) fn judged(&self, state: &State, now_unix_ms: u64) -> Result<Option<Identity>, AccessError> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let again = identity.again(state, now_unix_ms);
        again
            .map(Some)
            .ok_or_else(|| AccessError::Denied(format!("the token of {} ended meanwhile", self.author)))
    }
}

impl From<Arc<Identity>> for Actor {
    fn from(identity: Arc<Identity>) -> Self {
        Self { author: identity.author().into(), identity: Some(identity) }
    }
}
