//! Read, decide, commit, and again when somebody was faster.

use std::sync::Arc;

use super::port::{Change, CommitError, Op, Store};
use super::state::State;

/// How often a change is decided again before it is given up. Writers of one process take turns, so that only writers of
/// other processes can be faster.
const MAX_ATTEMPTS: u32 = 64;

/// Why a transaction was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactError<E> {
    /// The caller's own decision refused it.
    #[error("{0}")]
    Refused(E),
    /// Others were faster each time. A retry is safe.
    #[error("the state kept changing; try again")]
    Contended,
    /// The store refused it; never [`CommitError::Conflict`].
    #[error(transparent)]
    Store(CommitError),
}

/// Builds a change from the state and commits it; when the state changed meanwhile, builds it again from the new one.
///
/// `build` may run several times and must not act on the world. No operations mean no new version: the state that `build`
/// saw is the answer.
///
/// # Errors
/// See [`TransactError`].
pub async fn transact<T, E>(
    store: &dyn Store,
    author: &str,
    message: &str,
    now_unix_ms: u64,
    mut build: impl FnMut(&State) -> Result<(Vec<Op>, T), E>,
) -> Result<(Arc<State>, T), TransactError<E>> {
    let _turn = store.write_turn().await;
    for _ in 0..MAX_ATTEMPTS {
        let state = store.state();
        let (ops, made) = build(&state).map_err(TransactError::Refused)?;
        if ops.is_empty() {
            return Ok((state, made));
        }
        let change =
            Change { author: author.to_owned(), message: message.to_owned(), unix_ms: now_unix_ms, ops };
        match store.commit(state.version, change).await {
            Ok(state) => return Ok((state, made)),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(TransactError::Store(error)),
        }
    }
    Err(TransactError::Contended)
}
