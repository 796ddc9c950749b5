//! All policies of a snapshot: read, indexed, and joined with principals and targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cedar_policy::{ActionConstraint, Entities, PolicyId};

use crate::cache::Cache;
use crate::facts::{Annotations, PrincipalFacts, TargetFacts, TargetKind};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::read::{self, Statement, Validators};
use crate::scope::{Actions, Ask, Bits, Index};
use crate::slice::{Ground, Slice};
use crate::source::Source;
use crate::vocabulary::{Made, Vocabulary};
use crate::{Known, Policy};

/// How many pairs of a principal and a target are kept ready.
const MAX_SLICES: usize = 16_384;

/// How many combinations of statements are kept ready.
const MAX_PLANS: usize = 4_096;

/// All policies of a snapshot, ready to be evaluated. It keeps bounded caches within: make one for each snapshot, and share it.
#[derive(Debug)]
pub struct Compiled {
    vocabulary: Arc<Vocabulary>,
    known: Arc<[Known]>,
    statements: Vec<Arc<Statement>>,
    principals: Index,
    resources: Index,
    actions: Actions,
    /// Numbers for principals and targets.
    next: AtomicU64,
    slices: Cache<(u64, u64), Arc<Slice>>,
    plans: Cache<Bits, Result<Arc<Plan>, String>>,
}

/// A principal, and which policies can apply to it. Belongs to the [`Compiled`] that made it.
#[derive(Debug)]
pub struct Caller {
    of: Arc<Vocabulary>,
    number: u64,
    made: Made,
    meets: Bits,
}

/// A tool, prompt or resource, and which policies can apply to it. Belongs to the [`Compiled`] that made it.
#[derive(Debug)]
pub struct Target {
    of: Arc<Vocabulary>,
    /// `None`: there are too many of its kind to keep anything ready for each.
    number: Option<u64>,
    kind: TargetKind,
    made: Made,
    meets: Bits,
    environment: Arc<str>,
    annotations: Annotations,
}

/// An entity that a policy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mention<'a> {
    /// The policy's name.
    pub policy: &'a str,
    /// The entity's type: `Team`, `Tool`, `Zone`, …
    pub kind: &'a str,
    /// Its id: `support-team`, `crm/refund`, …
    pub id: &'a str,
}

impl Compiled {
    /// Reads, validates and indexes policies.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, in the order in which they were given.
    pub fn new(policies: &[Policy<'_>]) -> Result<Self, Vec<Problem>> {
        let vocabulary = Vocabulary::new().map(Arc::new).map_err(|error| {
            vec![Source { policy: "", text: "" }.problem(0, format!("the schema of conditions: {error}"))]
        })?;
        // What is said first of a call does not depend on the order of the documents.
        let mut order: Vec<&Policy<'_>> = policies.iter().collect();
        order.sort_by_key(|policy| policy.name);
        let number = |policy: &Policy<'_>| order.binary_search_by_key(&policy.name, |known| known.name);
        let mut validators = Validators::new(&vocabulary);
        let mut statements = Vec::new();
        let mut problems = Vec::new();
        for policy in policies {
            let source = Source { policy: policy.name, text: policy.cedar };
            match read::policy(number(policy).unwrap_or_default(), source, &mut validators) {
                Ok(read) => statements.extend(read),
                Err(found) => problems.extend(found),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        statements.sort_by_key(|statement| statement.policy);
        for (at, statement) in statements.iter_mut().enumerate() {
            statement.cedar = statement.cedar.new_id(PolicyId::new(at.to_string()));
        }
        let known = |policy: &&Policy<'_>| Known { name: Arc::from(policy.name), mode: policy.mode };
        let asks = |of: fn(&Statement) -> Ask| statements.iter().map(of).collect::<Vec<_>>().into_iter();
        let actions: Vec<ActionConstraint> =
            statements.iter().map(|it| it.cedar.action_constraint()).collect();
        Ok(Self {
            known: order.iter().map(known).collect(),
            principals: Index::new(asks(|it| it.cedar.principal_constraint().into())),
            resources: Index::new(asks(|it| it.cedar.resource_constraint().into())),
            actions: Actions::new(&vocabulary.actions(), &actions),
            statements: statements.into_iter().map(Arc::new).collect(),
            vocabulary,
            next: AtomicU64::new(0),
            slices: Cache::new(MAX_SLICES),
            plans: Cache::new(MAX_PLANS),
        })
    }

    /// Whether there are no policies at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// What decides whether two requests of one principal can see different lists: whether any policy reads the caller's
    /// network, and whether any reads the era.
    #[must_use]
    pub fn list_reads(&self) -> (bool, bool) {
        let any = |of: fn(&Statement) -> bool| self.statements.iter().any(|statement| of(statement));
        (any(|it| it.reads.parts.network), any(|it| it.reads.parts.era))
    }

    /// The entities that policies name, so that references can be checked.
    pub fn mentions(&self) -> impl Iterator<Item = Mention<'_>> {
        self.statements.iter().flat_map(|statement| {
            let policy = self.known.get(statement.policy).map_or("", |known| &*known.name);
            statement.mentions.iter().map(move |uid| Mention {
                policy,
                kind: uid.type_name().basename(),
                id: uid.id().unescaped(),
            })
        })
    }

    /// What the policies need to know of a principal: a few microseconds, so make it on first use and keep it.
    #[must_use]
    pub fn caller(&self, facts: &PrincipalFacts<'_>) -> Caller {
        let made = self.vocabulary.principal(facts);
        let meets = self.principals.matching(&made.uid, &made.ancestors);
        Caller { of: Arc::clone(&self.vocabulary), number: self.number(), made, meets }
    }

    /// What the policies need to know of a target: a few microseconds, so make it once for each tool and prompt. Resources are
    /// made for each request.
    #[must_use]
    pub fn target(&self, facts: &TargetFacts<'_>) -> Target {
        let made = self.vocabulary.target(facts);
        let by_scope = self.resources.matching(&made.uid, &made.ancestors);
        let action = self.vocabulary.action(facts.kind);
        let meets = by_scope.both(&self.actions.matching(&action, self.statements.len()));
        Target {
            of: Arc::clone(&self.vocabulary),
            number: (facts.kind != TargetKind::Resource).then(|| self.number()),
            kind: facts.kind,
            made,
            meets,
            environment: Arc::from(facts.environment),
            annotations: facts.annotations,
        }
    }

    /// The policies that can apply to both; `None` when no policy can. A caller or a target of another `Compiled` gets a slice
    /// that denies everything.
    #[must_use]
    pub fn slice(&self, caller: &Caller, target: &Target) -> Option<Arc<Slice>> {
        if !Arc::ptr_eq(&caller.of, &self.vocabulary) || !Arc::ptr_eq(&target.of, &self.vocabulary) {
            let why = "the principal or the target belongs to another snapshot".to_owned();
            return Some(Arc::new(Slice { ground: Err(why) }));
        }
        if !caller.meets.meets(&target.meets) {
            return None;
        }
        let make = || Arc::new(Slice { ground: self.ground(caller, target) });
        Some(match target.number {
            Some(number) => self.slices.get_or_make((caller.number, number), |_| make()),
            None => make(),
        })
    }

    fn ground(&self, caller: &Caller, target: &Target) -> Result<Ground, String> {
        let plan = self.plans.get_or_make(caller.meets.both(&target.meets), |bits| {
            let statements = bits.iter().filter_map(|at| self.statements.get(at).cloned());
            Plan::new(statements.collect(), Arc::clone(&self.known)).map(Arc::new)
        })?;
        let unheld = || "the attributes of the principal or of the target cannot be held".to_owned();
        let entities = [&caller.made, &target.made].map(|made| made.entity.clone());
        let entities = entities.into_iter().collect::<Option<Vec<_>>>().ok_or_else(unheld)?;
        Ok(Ground {
            plan,
            entities: Entities::from_entities(entities, None).map_err(|error| error.to_string())?,
            principal: caller.made.uid.clone(),
            action: self.vocabulary.action(target.kind),
            resource: target.made.uid.clone(),
            environment: Arc::clone(&target.environment),
            annotations: target.annotations,
            vocabulary: Arc::clone(&self.vocabulary),
        })
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.slices.len()
    }
}

impl Caller {
    /// A number that no other caller of the same `Compiled` has.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether no policy can apply to it, whatever it asks for.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.meets.is_empty()
    }
}

impl Target {
    /// Whether no policy can apply to it, whoever asks.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.meets.is_empty()
    }
}
