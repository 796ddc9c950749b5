//! The statements that can apply to a call, put together so that as few evaluations as possible answer for all of them.

use std::sync::{Arc, OnceLock};

use cedar_policy::PolicySet;

use crate::Known;
use crate::Mode;
use crate::foresee::Foreseen;
use crate::outcome::{Cause, Denied, Outcome};
use crate::read::Statement;
use crate::reads::Parts;
use crate::shape::Shape;

/// Statements that are evaluated with one context, because they expect the same of the arguments.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) set: PolicySet,
    pub(crate) members: Vec<Arc<Statement>>,
    pub(crate) parts: Parts,
    pub(crate) shape: Shape,
}

/// The statements of a slice.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In their order.
    pub(crate) statements: Vec<Arc<Statement>>,
    pub(crate) groups: Vec<Group>,
    pub(crate) parts: Parts,
    known: Arc<[Known]>,
    foreseen: OnceLock<Foreseen>,
}

impl Plan {
    /// # Errors
    /// A sentence, when statements cannot be put together; never with statements that were read together.
    pub(crate) fn new(statements: Vec<Arc<Statement>>, known: Arc<[Known]>) -> Result<Self, String> {
        let mut groups: Vec<Group> = Vec::new();
        for statement in &statements {
            let fits = |group: &mut Group| group.shape.merge(&statement.reads.shape).is_ok();
            let at = groups.iter_mut().position(fits);
            let group = match at.and_then(|at| groups.get_mut(at)) {
                Some(group) => group,
                None => groups.push_mut(Group {
                    set: PolicySet::new(),
                    members: Vec::new(),
                    parts: Parts::default(),
                    shape: statement.reads.shape.clone(),
                }),
            };
            group.set.add(statement.cedar.clone()).map_err(|error| error.to_string())?;
            group.parts = group.parts.with(statement.reads.parts);
            group.members.push(Arc::clone(statement));
        }
        let parts = statements.iter().fold(Parts::default(), |parts, next| parts.with(next.reads.parts));
        Ok(Self { statements, groups, parts, known, foreseen: OnceLock::new() })
    }

    /// What can be said before arguments and time are known. Only what is enforced hides anything.
    pub(crate) fn foreseen(&self) -> &Foreseen {
        self.foreseen.get_or_init(|| {
            Foreseen::new(
                self.statements.iter().filter(|statement| self.mode(statement.policy) == Mode::Enforce),
            )
        })
    }

    fn mode(&self, policy: usize) -> Mode {
        self.known.get(policy).map_or(Mode::Enforce, |known| known.mode)
    }

    /// The names of the policies, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Known> {
        let mut last = None;
        self.statements.iter().filter_map(move |statement| {
            (last.replace(statement.policy) != Some(statement.policy))
                .then(|| self.known.get(statement.policy))?
        })
    }

    /// Puts together what the statements said, by policy.
    pub(crate) fn outcome(&self, mut found: Vec<(usize, Cause)>) -> Outcome {
        found.sort_by_key(|(policy, _)| *policy);
        found.dedup_by_key(|(policy, _)| *policy);
        let mut outcome = Outcome::default();
        for (policy, cause) in found {
            let name = self.known.get(policy).map_or_else(|| Arc::from("?"), |known| Arc::clone(&known.name));
            let denied = Denied { policy: name, cause };
            match self.mode(policy) {
                Mode::Shadow => outcome.shadow.push(denied),
                Mode::Enforce if outcome.denied.is_none() => outcome.denied = Some(denied),
                Mode::Enforce => {}
            }
        }
        outcome
    }
}
