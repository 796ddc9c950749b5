//! One administrative change: decided, compiled, committed and published before its author is answered.

use std::sync::Arc;

use portcullis_policy::compile::CompileError;

use super::candidate::Candidate;
use super::prepare::{PrepareError, Workbench};
use super::published::Published;
use super::since::At;
use super::{Inner, Publisher};
use crate::objects::Parsed;
use crate::store::{Change, CommitError, Op, State};

/// How often a change is decided again when others were faster.
const MAX_ATTEMPTS: u32 = 32;

/// What a transaction's builder decided.
pub(crate) struct Decision<T> {
    /// What to store; nothing changes when empty.
    pub(crate) ops: Vec<Op>,
    /// What to answer.
    pub(crate) answer: T,
    /// Judge only: compile what would result, store nothing.
    pub(crate) dry_run: bool,
}

/// Decides what to store, in the background, where it may block.
pub(crate) trait Decide<T, E>:
    FnMut(&State, &mut Parsed) -> Result<Decision<T>, E> + Send + 'static
{
}
impl<T, E, F> Decide<T, E> for F where F: FnMut(&State, &mut Parsed) -> Result<Decision<T>, E> + Send + 'static
{}

/// Why a change was not made; nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransactError<E> {
    /// The author's own decision refused it.
    #[error("{0}")]
    Refused(E),
    /// What would result does not compile.
    #[error("what would result cannot be served ({} reasons)", .0.len())]
    Compile(Vec<CompileError>),
    /// Others were faster each time. A retry is safe.
    #[error("the state kept changing; try again")]
    Contended,
    /// The store refused it; never [`CommitError::Conflict`].
    #[error(transparent)]
    Store(CommitError),
    /// A fault of Portcullis itself.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What one attempt came to.
enum Attempt<T> {
    /// There is nothing to store: nothing differs, or it was to be judged only. Then what would be published; none where the
    /// digest stays.
    Nothing { answer: T, would_be: Option<Published> },
    /// It can be stored, and then published as this; as it is when the digest stays.
    Ready { ops: Vec<Op>, answer: T, prepared: Option<Published> },
}

/// What a change would come to.
#[derive(Debug)]
pub(crate) struct Rehearsed<T> {
    /// The version of the store that it was judged against.
    pub(crate) version: u64,
    /// What the author would be answered.
    pub(crate) answer: T,
    /// What is in force; none before anything is.
    pub(crate) before: Option<Arc<Published>>,
    /// What would be; none where that is the same.
    pub(crate) after: Option<Published>,
}

impl Publisher {
    /// Decides and compiles what would result, and stores nothing.
    pub(crate) async fn rehearse<T: Send + 'static, E: Send + 'static>(
        &self,
        mut decide: impl Decide<T, E>,
    ) -> Result<Rehearsed<T>, TransactError<E>> {
        let bench = Arc::clone(&self.0.bench).lock_owned().await;
        let (mut bench, state) = self.catch_up(bench).await;
        let (inner, base, unix_ms) = (Arc::clone(&self.0), Arc::clone(&state), self.0.clock.now_unix_ms());
        let mut judged = move |state: &State, parsed: &mut Parsed| {
            decide(state, parsed).map(|decision| Decision { dry_run: true, ..decision })
        };
        let step = self.0.background.run(move || {
            let before = inner.published.borrow().clone();
            (attempt(&inner, &mut bench, &base, unix_ms, &mut judged), before)
        });
        match step.await {
            Ok((outcome, before)) => {
                let (answer, after) = match outcome? {
                    Attempt::Nothing { answer, would_be } => (answer, would_be),
                    Attempt::Ready { answer, prepared, .. } => (answer, prepared),
                };
                Ok(Rehearsed { version: state.version, answer, before, after })
            }
            Err(error) => {
                drop(self.cleared_bench().await);
                Err(TransactError::Internal(error.to_string()))
            }
        }
    }

    /// Decides, compiles what would result, commits, publishes; and again from the start when others were faster.
    ///
    /// Answers the version of the store after it.
    pub(crate) async fn transact<T: Send + 'static, E: Send + 'static>(
        &self,
        author: &str,
        message: &str,
        mut decide: impl Decide<T, E>,
    ) -> Result<(u64, T), TransactError<E>> {
        let _turn = self.0.store.write_turn().await;
        for _ in 0..MAX_ATTEMPTS {
            let bench = Arc::clone(&self.0.bench).lock_owned().await;
            let (mut bench, state) = self.catch_up(bench).await;
            let unix_ms = self.0.clock.now_unix_ms();
            let (inner, base) = (Arc::clone(&self.0), Arc::clone(&state));
            let step = self.0.background.run(move || {
                let outcome = attempt(&inner, &mut bench, &base, unix_ms, &mut decide);
                (outcome, bench, decide)
            });
            let (outcome, bench, returned) = match step.await {
                Ok(stepped) => stepped,
                Err(error) => {
                    drop(self.cleared_bench().await);
                    return Err(TransactError::Internal(error.to_string()));
                }
            };
            decide = returned;
            let (ops, answer, prepared) = match outcome? {
                Attempt::Nothing { answer, .. } => return Ok((state.version, answer)),
                Attempt::Ready { ops, answer, prepared } => (ops, answer, prepared),
            };
            let change = Change { author: author.to_owned(), message: message.to_owned(), unix_ms, ops };
            match self.0.store.commit(state.version, change).await {
                Ok(committed) => {
                    // A change that came to nothing made no version: then there is nothing new to publish either.
                    if committed.version > state.version {
                        self.publish(prepared, committed.version);
                    }
                    drop(bench);
                    return Ok((committed.version, answer));
                }
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(TransactError::Store(error)),
            }
        }
        Err(TransactError::Contended)
    }
}

fn attempt<T, E>(
    inner: &Inner,
    bench: &mut Workbench,
    base: &State,
    unix_ms: u64,
    decide: &mut impl Decide<T, E>,
) -> Result<Attempt<T>, TransactError<E>> {
    let Decision { ops, answer, dry_run } =
        decide(base, &mut bench.parsed).map_err(TransactError::Refused)?;
    if ops.is_empty() {
        return Ok(Attempt::Nothing { answer, would_be: None });
    }
    let candidate = Candidate::after(base, &ops);
    let current = inner.published.borrow().clone();
    let at = At { version: base.version.saturating_add(1), unix_ms };
    let prepared =
        bench.prepare(&candidate, at, &inner.key, current.as_deref()).map_err(|error| match error {
            PrepareError::Compile(errors) => TransactError::Compile(errors),
            error => TransactError::Internal(error.to_string()),
        })?;
    if dry_run {
        return Ok(Attempt::Nothing { answer, would_be: prepared });
    }
    Ok(Attempt::Ready { ops, answer, prepared })
}
