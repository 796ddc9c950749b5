//! How servers move through their lives: suspended, resumed, retired, and opened stage by stage.
//!
//! What may be used by whom is in the snapshot and decided by data planes; here is who may move what, and what must hold.

mod board;
mod checks;
mod counts;

use std::sync::Arc;

use portcullis_policy::resource::{ChangeClass, Checks, Kind, Name, Right, RolloutPolicySpec, Stage};

pub use board::Board;
pub use checks::Check;

use crate::catalog;
use crate::clock::Clock;
use crate::governance::{Actor, Matter, Rulebook, Scope};
use crate::objects::{Lifecycle, ServerState, Settings, StageReached};
use crate::publish::{Decision, Publisher};
use crate::registry::{Registry, RegistryError};
use crate::store::{Object, State};

/// What becomes of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Nothing of it may be used until it is resumed.
    Suspend,
    /// It goes on from where it was.
    Resume,
    /// Nothing of it may be used again.
    Retire,
}

impl Move {
    /// The rights of which it needs one: whoever applies or approves may stop a server, and only an approval opens it again.
    #[must_use]
    pub const fn needs(self) -> &'static [Right] {
        match self {
            Self::Suspend => &[Right::ResourcesWrite, Right::ApprovalsDecide],
            Self::Resume => OPENS,
            Self::Retire => &[Right::ResourcesWrite],
        }
    }
}

/// How far a server is to be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promotion {
    /// The stage; the next one of its policy when none is given.
    pub to: Option<Stage>,
    /// Although checks fail, or over a stage.
    pub force: bool,
    /// Why, for the history.
    pub message: String,
}

/// What was measured, and whether the server moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// Whether it did. Where it did not, nothing changed.
    pub promoted: bool,
    /// The stage that it was at.
    pub from: Stage,
    /// The stage that it is at now, or would be.
    pub to: Stage,
    /// Every check of the stage that it was at.
    pub checks: Vec<Check>,
    /// The store's version after it.
    pub version: u64,
}

/// Moves servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollout {
    publisher: Publisher,
    board: Arc<Board>,
    clock: Clock,
}

impl Rollout {
    /// Moves servers by what data planes report to this board.
    #[must_use]
    pub const fn new(publisher: Publisher, board: Arc<Board>, clock: Clock) -> Self {
        Self { publisher, board, clock }
    }

    /// Suspends, resumes or retires a server; data planes know within a moment.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], and [`RegistryError::Refused`] where it cannot go there from where it is.
    pub async fn go(
        &self,
        server: &str,
        go: Move,
        by: &Actor,
        message: &str,
    ) -> Result<(Lifecycle, u64), RegistryError> {
        let message = Registry::message(message)?;
        let verb = match go {
            Move::Suspend => "suspend",
            Move::Resume => "resume",
            Move::Retire => "retire",
        };
        let message =
            if message.is_empty() { format!("{verb} McpServer {server}") } else { message.to_owned() };
        let (name, clock, asks) = (server.to_owned(), self.clock.clone(), by.clone());
        let decide = move |state: &State, _: &mut _| -> Result<_, RegistryError> {
            let now = clock.now_unix_ms();
            let (object, mut kept) = found(state, &name, now)?;
            may_move(state, &asks, &object, go.needs(), now)?;
            let next = match go {
                Move::Suspend => Lifecycle::Suspended,
                Move::Retire => Lifecycle::Retired,
                Move::Resume => catalog::decided(state, &object.uid),
            };
            let meant = go != Move::Resume || kept.lifecycle == Lifecycle::Suspended;
            if !meant || !kept.go(next, now) {
                let is = kept.lifecycle.as_str();
                return Err(RegistryError::Refused(match kept.lifecycle {
                    Lifecycle::Retired => format!(
                        "McpServer/{name} is retired, for good: delete it and apply a new resource to bring the server back"
                    ),
                    _ => format!("McpServer/{name} is {is}: it cannot be {}", past(go)),
                }));
            }
            Ok(Decision { ops: vec![put(&kept, &object)?], answer: next, dry_run: false })
        };
        let (version, lifecycle) = self.publisher.transact(by.author(), &message, decide).await?;
        Ok((lifecycle, version))
    }

    /// Opens a server to the next stage of its policy, if the checks of the present one hold. Where an approval rule is about
    /// openings of its rollout, nobody forces it on alone but whom the rule lets decide alone.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], and [`RegistryError::Refused`] where there is no stage to go to. A check that fails is no
    /// error: the answer says so.
    pub async fn promote(
        &self,
        server: &str,
        promotion: Promotion,
        by: &Actor,
    ) -> Result<Promoted, RegistryError> {
        let message = Registry::message(promotion.message.trim())?.to_owned();
        if promotion.force && message.is_empty() {
            return Err(RegistryError::invalid(
                "--message",
                "to go on although checks fail needs a message that says why",
            ));
        }
        let (name, clock, board) = (server.to_owned(), self.clock.clone(), Arc::clone(&self.board));
        let Promotion { to, force, .. } = promotion;
        let asks = by.clone();
        let decide = move |state: &State, _: &mut _| {
            let now = clock.now_unix_ms();
            may_move(state, &asks, &found(state, &name, now)?.0, OPENS, now)?;
            let decision = decide(state, &board, &name, to, force, now)?;
            if decision.forced {
                may_force(state, &asks, &found(state, &name, now)?.0, now)?;
            }
            Ok(decision.decision)
        };
        let message = if message.is_empty() { format!("promote McpServer {server}") } else { message };
        let (version, promoted) = self.publisher.transact(by.author(), &message, decide).await?;
        Ok(Promoted { version, ..promoted })
    }
}

/// How far a server goes on, and whether only because somebody forces it.
struct Decided {
    decision: Decision<Promoted>,
    forced: bool,
}

fn decide(
    state: &State,
    board: &Board,
    name: &str,
    to: Option<Stage>,
    force: bool,
    now: u64,
) -> Result<Decided, RegistryError> {
    let refuse = |why: String| RegistryError::Refused(format!("McpServer/{name} {why}"));
    let (object, mut kept) = found(state, name, now)?;
    let policy = Settings::of(state, &object)
        .rollout()
        .ok_or_else(|| refuse("has no rollout policy: once approved it is open to all".to_owned()))?;
    match kept.lifecycle {
        Lifecycle::Approved => {}
        Lifecycle::Suspended | Lifecycle::Retired => {
            return Err(refuse(format!("is {}", kept.lifecycle.as_str())));
        }
        Lifecycle::Discovered | Lifecycle::Pending => {
            let is = kept.lifecycle.as_str();
            return Err(refuse(format!("is {is}: decide first what waits of it (`approvals list`)")));
        }
    }
    let from = kept.stage_under(Some(&policy));
    let Some(next) = policy.after(from) else {
        return Err(refuse("is at the stage general: there is none after it".to_owned()));
    };
    let to = to.unwrap_or(next);
    if to <= from {
        return Err(refuse(format!("is at the stage {from}: it is open to {to} already")));
    }
    if to == Stage::Limited && policy.limited.is_none() {
        return Err(refuse("has a policy without the stage limited".to_owned()));
    }
    if to != next && !force {
        return Err(refuse(format!("comes to {next} first: --force skips a stage")));
    }
    let checks = checks(state, board, &object, &kept, from, &policy, now);
    let holds = checks.iter().all(|check| check.passed);
    let mut ops = Vec::new();
    let forced = force && (!holds || to != next);
    if holds || force {
        kept.stage = Some(StageReached { stage: to, since_unix_ms: now, forced });
        ops.push(put(&kept, &object)?);
    }
    let answer = Promoted { promoted: holds || force, from, to, checks, version: 0 };
    Ok(Decided { decision: Decision { ops, answer, dry_run: false }, forced })
}

/// Whether somebody may go on although checks fail, or over a stage. It is one person's word: where a rule wants more than that
/// for what opens this server, the way is a policy that asks for less, which others approve.
fn may_force(state: &State, by: &Actor, server: &Object, now: u64) -> Result<(), RegistryError> {
    let Some(identity) = by.judged(state, now)? else { return Ok(()) };
    let book = Rulebook::of(state);
    let matter = Matter::of_server(server).class(ChangeClass::RolloutOpening);
    let Some(rule) = book.rule(&matter) else { return Ok(()) };
    rule.must_name(&identity).map_err(RegistryError::Denied)?;
    if rule.spec.required > 1 || rule.spec.four_eyes {
        return Err(RegistryError::Refused(format!(
            "ApprovalRule/{} wants others to agree to what opens McpServer/{}, and --force is one person's word: apply a \
             RolloutPolicy that asks for less, which waits for them, and promote once it is approved",
            rule.name, server.name
        )));
    }
    Ok(())
}

fn checks(
    state: &State,
    board: &Board,
    server: &Object,
    kept: &ServerState,
    from: Stage,
    policy: &RolloutPolicySpec,
    now: u64,
) -> Vec<Check> {
    let Some(asked) = policy.checks(from) else {
        return vec![checks::skipped(Checks::default().window)];
    };
    let window = u64::try_from(asked.window.0.as_millis()).unwrap_or(u64::MAX);
    // Where it is not known when the stage began, it has only just begun.
    let since = kept.stage.as_ref().map_or(now, |reached| reached.since_unix_ms);
    // A twin with synthetic data says nothing of how the server itself does, once that serves callers.
    let seen = board.window(server.uid, from == Stage::Sandbox, since, window, now);
    checks::judge(asked, &seen, &drifted(state, server))
}

/// The definitions of a server that differ from what was approved.
fn drifted(state: &State, server: &Object) -> Vec<String> {
    let stored = catalog::stored_definitions(state, &server.uid);
    let differs = stored.iter().filter(|(_, stored)| match (&stored.approved, &stored.offered) {
        (Some(approved), Some(offered)) => approved.pin != offered.fingerprint,
        _ => false,
    });
    differs.map(|(_, stored)| format!("{} {:?}", stored.kind.as_str(), stored.name)).collect()
}

fn found(state: &State, name: &str, now: u64) -> Result<(Arc<Object>, ServerState), RegistryError> {
    let missing = || RegistryError::NotFound(format!("McpServer/{name}"));
    let object = state.get(Kind::McpServer.as_str(), name).ok_or_else(missing)?;
    let parsed: Name = name.parse().map_err(|_| missing())?;
    Ok((Arc::clone(object), catalog::server_state(state, &object.uid, &parsed, now)))
}

/// What opens a server is an approval.
const OPENS: &[Right] = &[Right::ApprovalsDecide];

/// Whether somebody may say what becomes of this server; they need one of the rights.
fn may_move(
    state: &State,
    by: &Actor,
    server: &Object,
    rights: &[Right],
    now: u64,
) -> Result<(), RegistryError> {
    let Some(identity) = by.judged(state, now)? else { return Ok(()) };
    let what = format!("move McpServer/{}", server.name);
    let scope = Scope::of_object(Kind::McpServer, server);
    if rights.iter().any(|right| identity.rights.allows(*right, &scope)) {
        return Ok(());
    }
    let within = if identity.has_one_of(rights) { ", which your roles limit to other resources" } else { "" };
    Err(RegistryError::Denied(identity.denied(rights, &format!("{what}{within}"))))
}

fn put(kept: &ServerState, server: &Object) -> Result<crate::store::Op, RegistryError> {
    kept.put(server.uid).map_err(|error| RegistryError::Internal(error.to_string()))
}

const fn past(go: Move) -> &'static str {
    match go {
        Move::Suspend => "suspended",
        Move::Resume => "resumed",
        Move::Retire => "retired",
    }
}
