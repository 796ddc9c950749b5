//! What a statement says whatever the arguments and the time will be: so that a list hides what no call could ever get.
//!
//! The conditions are cut where they read either. What is left are conditions that can be evaluated now; the rest is unknown,
//! and unknown is carried through `&&`, `||`, `!` and `if`. Two unknowns that exclude each other are not seen through: then
//! the list shows something that every call is denied, and never hides what a call could get.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::PolicySet;
use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, Effect, Expr, Policy, PolicyID, PrincipalConstraint,
    ResourceConstraint, StaticPolicy, Template, UnaryOp,
};

use crate::read::Statement;
use crate::reads::{self, Parts};

/// The statements of a slice, as far as they can be evaluated now.
#[derive(Debug, Default)]
pub(crate) struct Foreseen {
    /// Statements that read neither, and what is left of those that do.
    pub(crate) set: PolicySet,
    pub(crate) parts: Parts,
    /// What the policies of the set read.
    pub(crate) needs: Vec<(String, Parts)>,
    whole: Vec<(usize, String)>,
    cut: Vec<(usize, Tree)>,
}

/// A condition, cut where it reads arguments or time.
#[derive(Debug)]
enum Tree {
    /// A policy of the set.
    Leaf(String),
    Unknown,
    Not(Box<Tree>),
    All(Box<Tree>, Box<Tree>),
    Any(Box<Tree>, Box<Tree>),
    If(Box<Tree>, Box<Tree>, Box<Tree>),
}

/// What is known of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
    Error(String),
}

impl Foreseen {
    pub(crate) fn new<'a>(statements: impl Iterator<Item = &'a Arc<Statement>>) -> Self {
        let mut foreseen = Self::default();
        for statement in statements {
            let id = statement.cedar.id().to_string();
            if !statement.reads.parts.varies() {
                if foreseen.set.add(statement.cedar.clone()).is_ok() {
                    foreseen.needs(id.clone(), statement.reads.parts);
                    foreseen.whole.push((statement.policy, id));
                }
                continue;
            }
            let mut leaves = 0;
            let mut cut = |expr: &Expr, foreseen: &mut Self| foreseen.cut(expr, &id, &mut leaves);
            let trees = statement.clauses.iter().map(|clause| match clause {
                Clause::When(expr) => cut(expr, &mut foreseen),
                Clause::Unless(expr) => Tree::Not(Box::new(cut(expr, &mut foreseen))),
            });
            let tree = trees.reduce(|first, next| Tree::All(Box::new(first), Box::new(next)));
            foreseen.cut.extend(tree.map(|tree| (statement.policy, tree)));
        }
        foreseen
    }

    fn needs(&mut self, id: String, parts: Parts) {
        self.parts = self.parts.with(parts);
        self.needs.push((id, parts));
    }

    fn cut(&mut self, expr: &Expr, statement: &str, leaves: &mut usize) -> Tree {
        let parts = reads::parts_of(expr);
        if !parts.varies() {
            let id = format!("{statement}.{leaves}");
            *leaves = leaves.saturating_add(1);
            if leaf(&id, expr).is_some_and(|policy| self.set.add(policy).is_ok()) {
                self.needs(id.clone(), parts);
                return Tree::Leaf(id);
            }
            return Tree::Unknown;
        }
        let mut cut = |expr: &Expr| Box::new(self.cut(expr, statement, leaves));
        match expr {
            Expr::UnaryOp { op: UnaryOp::Not, expr } => Tree::Not(cut(expr)),
            Expr::BinaryOp { op: BinaryOp::And, left, right } => Tree::All(cut(left), cut(right)),
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => Tree::Any(cut(left), cut(right)),
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                Tree::If(cut(cond), cut(then_expr), cut(else_expr))
            }
            _ => Tree::Unknown,
        }
    }

    /// The policies that deny whatever comes, from what the policies of the set said; what is not named did not apply.
    pub(crate) fn denies(&self, said: &HashMap<String, Truth>) -> Vec<(usize, Truth)> {
        let of = |id: &String| said.get(id).cloned().unwrap_or(Truth::False);
        let whole = self.whole.iter().map(|(policy, id)| (*policy, of(id)));
        let cut = self.cut.iter().map(|(policy, tree)| (*policy, tree.truth(&of)));
        whole.chain(cut).filter(|(_, truth)| matches!(truth, Truth::True | Truth::Error(_))).collect()
    }
}

impl Tree {
    /// As Cedar evaluates: left to right, and what decides ends it.
    fn truth(&self, of: &dyn Fn(&String) -> Truth) -> Truth {
        match self {
            Self::Leaf(id) => of(id),
            Self::Unknown => Truth::Unknown,
            Self::Not(tree) => match tree.truth(of) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                other => other,
            },
            Self::All(left, right) => junction(left, right, of, &Truth::False),
            Self::Any(left, right) => junction(left, right, of, &Truth::True),
            Self::If(cond, then, otherwise) => match cond.truth(of) {
                Truth::True => then.truth(of),
                Truth::False => otherwise.truth(of),
                Truth::Unknown => {
                    let (then, otherwise) = (then.truth(of), otherwise.truth(of));
                    if then == otherwise { then } else { Truth::Unknown }
                }
                error => error,
            },
        }
    }
}

/// `&&` is decided by false, `||` by true. An unknown on the left may decide, so that an error on the right may never be met.
fn junction(left: &Tree, right: &Tree, of: &dyn Fn(&String) -> Truth, decides: &Truth) -> Truth {
    match left.truth(of) {
        Truth::Unknown => match right.truth(of) {
            right if right == *decides => right,
            _ => Truth::Unknown,
        },
        left @ (Truth::True | Truth::False) if left != *decides => right.truth(of),
        left => left,
    }
}

/// A policy that holds where an expression does.
fn leaf(id: &str, expr: &Expr) -> Option<cedar_policy::Policy> {
    let template = Template::new(
        PolicyID::from(id),
        Effect::Forbid,
        PrincipalConstraint::Any,
        ActionConstraint::Any,
        ResourceConstraint::Any,
    );
    let template = template.try_with_clauses([Clause::When(Arc::new(expr.clone()))]).ok()?;
    cedar_policy::Policy::from_pst(Policy::Static(StaticPolicy::try_from(template).ok()?)).ok()
}
