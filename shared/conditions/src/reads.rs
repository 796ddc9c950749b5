//! What of the context a statement reads, and how: found by walking its conditions.

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp, Var};

use crate::shape::{MAX_DEPTH, Node, Scalar, Shape};

/// What a statement reads beside the principal and the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a part of the context, read or not")]
pub(crate) struct Parts {
    pub(crate) time: bool,
    pub(crate) clock: bool,
    pub(crate) environment: bool,
    pub(crate) network: bool,
    pub(crate) era: bool,
    pub(crate) clients: bool,
    pub(crate) annotations: bool,
    pub(crate) arguments: bool,
}

impl Parts {
    pub(crate) const fn with(self, other: Self) -> Self {
        Self {
            time: self.time || other.time,
            clock: self.clock || other.clock,
            environment: self.environment || other.environment,
            network: self.network || other.network,
            era: self.era || other.era,
            clients: self.clients || other.clients,
            annotations: self.annotations || other.annotations,
            arguments: self.arguments || other.arguments,
        }
    }

    /// Whether a list, which knows neither time nor arguments, cannot evaluate it.
    pub(crate) const fn varies(self) -> bool {
        self.time || self.clock || self.arguments
    }

    fn note(&mut self, attribute: &str) {
        match attribute {
            "time" => self.time = true,
            "hour" | "minute" | "weekday" => self.clock = true,
            "environment" => self.environment = true,
            "network" => self.network = true,
            "era" => self.era = true,
            "clients" => self.clients = true,
            "annotations" => self.annotations = true,
            "arguments" => self.arguments = true,
            // No part of the schema: validation says so, with its place.
            _ => {}
        }
    }
}

/// What a statement reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    pub(crate) parts: Parts,
    pub(crate) shape: Shape,
}

/// A way of reading that is not offered. `of` is the word in the text that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misread {
    pub(crate) of: &'static str,
    pub(crate) message: String,
}

/// What the conditions of a statement read.
pub(crate) fn of_clauses(clauses: &[Clause]) -> (Reads, Vec<Misread>) {
    let mut walk = Walk::default();
    // Twice: what the first pass learns of one argument tells the second what it is compared with.
    for learned in [false, true] {
        walk.learned = learned;
        walk.misread.clear();
        for clause in clauses {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            walk.visit(expr, Some(&Ty::Scalar(Scalar::Bool)));
        }
    }
    (walk.reads, walk.misread)
}

/// What one expression reads, without the shape of arguments.
pub(crate) fn parts_of(expr: &Expr) -> Parts {
    let mut walk = Walk::default();
    walk.visit(expr, None);
    walk.reads.parts
}

/// What is known of the type of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ty {
    Scalar(Scalar),
    Set(Option<Scalar>),
    /// An entity or a record: nothing that arguments hold.
    Other,
}

#[derive(Default)]
struct Walk {
    reads: Reads,
    misread: Vec<Misread>,
    /// Whether this is the second pass, in which a type that nothing gave away is text.
    learned: bool,
}

impl Walk {
    fn visit(&mut self, expr: &Expr, expected: Option<&Ty>) {
        if let Some(path) = context_path(expr) {
            return self.path(&path, expected);
        }
        match expr {
            Expr::GetAttr { expr, .. } => self.visit(expr, Some(&Ty::Other)),
            Expr::HasAttr { expr, attrs } => {
                let Some(mut path) = context_path(expr) else { return self.visit(expr, Some(&Ty::Other)) };
                path.extend(attrs.iter().map(|attr| &**attr));
                self.presence(&path);
            }
            Expr::UnaryOp { op, expr } => self.visit(expr, operand(*op).as_ref()),
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::Like { expr, .. } => self.visit(expr, Some(&Ty::Scalar(Scalar::Text))),
            Expr::Is { expr, in_expr, .. } => {
                self.visit(expr, Some(&Ty::Other));
                if let Some(of) = in_expr {
                    self.visit(of, Some(&Ty::Other));
                }
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                self.visit(cond, Some(&Ty::Scalar(Scalar::Bool)));
                let of = expected.cloned().or_else(|| self.ty(then_expr)).or_else(|| self.ty(else_expr));
                self.visit(then_expr, of.as_ref());
                self.visit(else_expr, of.as_ref());
            }
            Expr::Set(items) => {
                let of = match expected {
                    Some(Ty::Set(Some(of))) => Some(Ty::Scalar(*of)),
                    _ => items.iter().find_map(|item| self.ty(item)),
                };
                items.iter().for_each(|item| self.visit(item, of.as_ref()));
            }
            Expr::Record(members) => members.values().for_each(|member| self.visit(member, None)),
            _ => {}
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        let (for_left, for_right) = self.operands(op, left, right);
        self.visit(left, for_left.as_ref());
        self.visit(right, for_right.as_ref());
    }

    fn operands(&self, op: BinaryOp, left: &Expr, right: &Expr) -> (Option<Ty>, Option<Ty>) {
        let both = |ty: Ty| (Some(ty.clone()), Some(ty));
        let scalar = |of: Scalar| both(Ty::Scalar(of));
        match op {
            BinaryOp::And | BinaryOp::Or => scalar(Scalar::Bool),
            BinaryOp::Eq | BinaryOp::NotEq => (self.ty(right), self.ty(left)),
            BinaryOp::Less | BinaryOp::LessEq | BinaryOp::Greater | BinaryOp::GreaterEq => {
                let known = self.ty(left).or_else(|| self.ty(right));
                match known {
                    Some(ty @ Ty::Scalar(Scalar::Datetime | Scalar::Duration)) => both(ty),
                    _ => scalar(Scalar::Long),
                }
            }
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul => scalar(Scalar::Long),
            BinaryOp::In => both(Ty::Other),
            BinaryOp::Contains => {
                let of = match (self.ty(right), self.ty(left)) {
                    (Some(Ty::Scalar(of)), _) | (None, Some(Ty::Set(Some(of)))) => Some(of),
                    // A set of entities holds no argument.
                    (_, Some(Ty::Other)) | (Some(Ty::Other), _) => return both(Ty::Other),
                    _ => None,
                };
                (Some(Ty::Set(of)), of.map(Ty::Scalar))
            }
            BinaryOp::ContainsAll | BinaryOp::ContainsAny => {
                let known = [self.ty(left), self.ty(right)].into_iter().flatten().find_map(|ty| match ty {
                    Ty::Set(Some(of)) => Some(of),
                    _ => None,
                });
                both(Ty::Set(known))
            }
            BinaryOp::GetTag | BinaryOp::HasTag => (Some(Ty::Other), Some(Ty::Scalar(Scalar::Text))),
            BinaryOp::IsInRange => scalar(Scalar::Ip),
            BinaryOp::Offset => (Some(Ty::Scalar(Scalar::Datetime)), Some(Ty::Scalar(Scalar::Duration))),
            BinaryOp::DurationSince => scalar(Scalar::Datetime),
            BinaryOp::DecimalLessThan
            | BinaryOp::DecimalLessEq
            | BinaryOp::DecimalGreater
            | BinaryOp::DecimalGreaterEq => scalar(Scalar::Decimal),
            _ => (None, None),
        }
    }

    /// The type of an expression, as far as it says.
    fn ty(&self, expr: &Expr) -> Option<Ty> {
        if let Some(path) = context_path(expr) {
            return match path.split_first() {
                Some((&"arguments", rest)) => match self.reads.shape.get(rest)? {
                    Node::Scalar(scalar) => Some(Ty::Scalar(*scalar)),
                    Node::Set(of) => Some(Ty::Set(*of)),
                    Node::Present => None,
                    Node::Record(_) => Some(Ty::Other),
                },
                Some((attribute, _)) => attribute_type(path.last().copied().unwrap_or(attribute)),
                None => Some(Ty::Other),
            };
        }
        match expr {
            Expr::Literal(Literal::Bool(_)) | Expr::HasAttr { .. } | Expr::Like { .. } | Expr::Is { .. } => {
                Some(Ty::Scalar(Scalar::Bool))
            }
            Expr::Literal(Literal::Long(_)) => Some(Ty::Scalar(Scalar::Long)),
            Expr::Literal(Literal::String(_)) => Some(Ty::Scalar(Scalar::Text)),
            Expr::GetAttr { attr, .. } => attribute_type(attr),
            Expr::UnaryOp { op, .. } => Some(Ty::Scalar(unary_result(*op)?)),
            Expr::BinaryOp { op, .. } => Some(Ty::Scalar(binary_result(*op))),
            Expr::IfThenElse { then_expr, else_expr, .. } => {
                self.ty(then_expr).or_else(|| self.ty(else_expr))
            }
            Expr::Set(items) => match items.iter().find_map(|item| self.ty(item)) {
                Some(Ty::Scalar(of)) => Some(Ty::Set(Some(of))),
                Some(_) => Some(Ty::Other),
                None => Some(Ty::Set(None)),
            },
            Expr::Literal(_) | Expr::Var(_) | Expr::Record(_) => Some(Ty::Other),
            _ => None,
        }
    }

    fn presence(&mut self, path: &[&str]) {
        let Some((attribute, rest)) = path.split_first() else { return };
        self.reads.parts.note(attribute);
        if *attribute == "arguments" && !rest.is_empty() {
            self.note(rest, Node::Present);
        }
    }

    fn path(&mut self, path: &[&str], expected: Option<&Ty>) {
        let Some((attribute, rest)) = path.split_first() else {
            return self.refuse(
                "context",
                "the context as a whole cannot be compared or passed on: name one of its attributes, as in context.hour".to_owned(),
            );
        };
        self.reads.parts.note(attribute);
        if *attribute != "arguments" {
            return;
        }
        if rest.is_empty() {
            return self.refuse(
                "arguments",
                "the arguments as a whole cannot be compared or passed on: name one member, as in context.arguments.amount".to_owned(),
            );
        }
        let node = match expected {
            Some(Ty::Scalar(scalar)) => Node::Scalar(*scalar),
            Some(Ty::Set(of)) => Node::Set(*of),
            Some(Ty::Other) => {
                return self.refuse(
                    "arguments",
                    format!(
                        "context.arguments.{} is compared with an entity or an object, and arguments hold neither: compare it with a text, a number, true, false, or an attribute such as principal.team",
                        rest.join(".")
                    ),
                );
            }
            None if self.learned => Node::Scalar(Scalar::Text),
            None => Node::Present,
        };
        // In the second pass a type from the first stands.
        let learned = matches!(self.reads.shape.get(rest), Some(known) if *known != Node::Present);
        if !(expected.is_none() && learned) {
            self.note(rest, node);
        }
    }

    fn note(&mut self, path: &[&str], node: Node) {
        if path.len() > MAX_DEPTH {
            return self.refuse(
                "arguments",
                format!("a condition may look {MAX_DEPTH} members deep into arguments, no deeper"),
            );
        }
        if self.reads.shape.note(path, node).is_err() {
            self.refuse(
                "arguments",
                format!(
                    "context.arguments.{} is read both as an object and as a plain value: it can be one of them",
                    path.join(".")
                ),
            );
        }
    }

    fn refuse(&mut self, of: &'static str, message: String) {
        let misread = Misread { of, message };
        if !self.misread.contains(&misread) {
            self.misread.push(misread);
        }
    }
}

/// `context.a.b` as `[a, b]`.
fn context_path(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Var(Var::Context) => Some(Vec::new()),
        Expr::GetAttr { expr, attr } => {
            let mut path = context_path(expr)?;
            path.push(attr);
            Some(path)
        }
        _ => None,
    }
}

/// The types of the schema's own attributes, by their names, which mean the same wherever they stand.
fn attribute_type(name: &str) -> Option<Ty> {
    Some(match name {
        "time" => Ty::Scalar(Scalar::Datetime),
        "hour" | "minute" | "weekday" => Ty::Scalar(Scalar::Long),
        "network" => Ty::Scalar(Scalar::Ip),
        "readOnlyHint" | "destructiveHint" | "idempotentHint" | "openWorldHint" => Ty::Scalar(Scalar::Bool),
        "groups" | "dataClasses" => Ty::Set(Some(Scalar::Text)),
        "clients" => Ty::Other,
        "environment" | "era" | "kind" | "subject" | "key" | "team" | "customer" | "zone" | "server"
        | "name" | "hosting" | "tier" => Ty::Scalar(Scalar::Text),
        _ => return None,
    })
}

/// What an operator wants.
const fn operand(op: UnaryOp) -> Option<Ty> {
    Some(match op {
        UnaryOp::Not => Ty::Scalar(Scalar::Bool),
        UnaryOp::Neg => Ty::Scalar(Scalar::Long),
        UnaryOp::IsEmpty => Ty::Set(None),
        UnaryOp::IsIPv4 | UnaryOp::IsIPV6 | UnaryOp::IsLoopback | UnaryOp::IsMulticast => {
            Ty::Scalar(Scalar::Ip)
        }
        UnaryOp::ToDate | UnaryOp::ToTime => Ty::Scalar(Scalar::Datetime),
        UnaryOp::ToMilliseconds
        | UnaryOp::ToSeconds
        | UnaryOp::ToMinutes
        | UnaryOp::ToHours
        | UnaryOp::ToDays => Ty::Scalar(Scalar::Duration),
        _ => Ty::Scalar(Scalar::Text),
    })
}

/// What an operator gives.
const fn unary_result(op: UnaryOp) -> Option<Scalar> {
    Some(match op {
        UnaryOp::Decimal => Scalar::Decimal,
        UnaryOp::Ip => Scalar::Ip,
        UnaryOp::Datetime | UnaryOp::ToDate => Scalar::Datetime,
        UnaryOp::Duration | UnaryOp::ToTime => Scalar::Duration,
        UnaryOp::Not
        | UnaryOp::IsEmpty
        | UnaryOp::IsIPv4
        | UnaryOp::IsIPV6
        | UnaryOp::IsLoopback
        | UnaryOp::IsMulticast => Scalar::Bool,
        UnaryOp::Neg
        | UnaryOp::ToMilliseconds
        | UnaryOp::ToSeconds
        | UnaryOp::ToMinutes
        | UnaryOp::ToHours
        | UnaryOp::ToDays => Scalar::Long,
        _ => return None,
    })
}

const fn binary_result(op: BinaryOp) -> Scalar {
    match op {
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul => Scalar::Long,
        BinaryOp::Offset => Scalar::Datetime,
        BinaryOp::DurationSince => Scalar::Duration,
        _ => Scalar::Bool,
    }
}

#[cfg(test)]
mod tests;
