//! The shape of the arguments that a policy reads, found out from how it reads them.
//!
//! Arguments are free JSON; Cedar wants types. The policy itself says what it expects (`> 100` a whole number, `like` a text),
//! so each policy gets a record type of exactly the members that it names, every one optional. What a caller sends in another
//! form cannot be evaluated, and therefore denies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How deep a policy may look into arguments.
pub(crate) const MAX_DEPTH: usize = 16;

/// One value without members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Long,
    Text,
    Decimal,
    Ip,
    Datetime,
    Duration,
}

impl Scalar {
    /// For a person who sent something else.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Long => "a whole number of 64 bits",
            Self::Text => "a text",
            Self::Decimal => "a number with at most four decimal places",
            Self::Ip => "an IP address or range as a text",
            Self::Datetime => "a date or time (RFC 3339) as a text",
            Self::Duration => "a duration such as \"1h30m\" as a text",
        }
    }

    fn schema(self) -> Value {
        let extension = |name: &str| json!({ "type": "Extension", "name": name });
        match self {
            Self::Bool => json!({ "type": "Boolean" }),
            Self::Long => json!({ "type": "Long" }),
            Self::Text => json!({ "type": "String" }),
            Self::Decimal => extension("decimal"),
            Self::Ip => extension("ipaddr"),
            Self::Datetime => extension("datetime"),
            Self::Duration => extension("duration"),
        }
    }
}

/// What a policy expects of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// That it is there or not.
    Present,
    /// A value.
    Scalar(Scalar),
    /// A list of values, taken as a set; of what, when the policy says so.
    Set(Option<Scalar>),
    /// An object.
    Record(Shape),
}

/// The members of an object that a policy reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) members: BTreeMap<String, Node>,
}

/// Two readings of one member that cannot both be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clash;

impl Shape {
    /// Notes that the member at a path is read as `node`. Two scalar readings are no clash here: the first stands, and
    /// validation names the place of the second.
    pub(crate) fn note(&mut self, path: &[&str], node: Node) -> Result<(), Clash> {
        let Some((first, rest)) = path.split_first() else { return Ok(()) };
        let slot = self.members.entry((*first).to_owned()).or_insert(Node::Present);
        if rest.is_empty() {
            return match (&*slot, node) {
                (_, Node::Present)
                | (Node::Set(Some(_)), Node::Set(_))
                | (Node::Scalar(_), Node::Scalar(_) | Node::Set(_))
                | (Node::Set(_), Node::Scalar(_))
                | (Node::Record(_), Node::Record(_)) => Ok(()),
                (Node::Present, node) | (Node::Set(None), node @ Node::Set(_)) => {
                    *slot = node;
                    Ok(())
                }
                (Node::Record(_), _) | (_, Node::Record(_)) => Err(Clash),
            };
        }
        if *slot == Node::Present {
            *slot = Node::Record(Self::default());
        }
        match slot {
            Node::Record(inner) => inner.note(rest, node),
            _ => Err(Clash),
        }
    }

    /// What is known of the member at a path.
    pub(crate) fn get(&self, path: &[&str]) -> Option<&Node> {
        let (first, rest) = path.split_first()?;
        let node = self.members.get(*first)?;
        match node {
            _ if rest.is_empty() => Some(node),
            Node::Record(inner) => inner.get(rest),
            _ => None,
        }
    }

    /// Whether the value at a path, or anything below it, is looked at, and not only whether it is there.
    pub(crate) fn looks_at(&self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        match self.members.get(first) {
            None | Some(Node::Present) => false,
            Some(Node::Record(inner)) => inner.looks_at(rest),
            Some(_) => true,
        }
    }

    /// Takes in what another policy reads. `Err` leaves `self` as it was: the two need contexts of their own.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), Clash> {
        let mut merged = self.clone();
        merged.take_in(other)?;
        *self = merged;
        Ok(())
    }

    fn take_in(&mut self, other: &Self) -> Result<(), Clash> {
        for (name, theirs) in &other.members {
            let Some(ours) = self.members.get_mut(name) else {
                self.members.insert(name.clone(), theirs.clone());
                continue;
            };
            match (&mut *ours, theirs) {
                (_, Node::Present) => {}
                (Node::Present, _) => *ours = theirs.clone(),
                (Node::Record(inner), Node::Record(theirs)) => inner.take_in(theirs)?,
                (ours, theirs) if ours == theirs => {}
                _ => return Err(Clash),
            }
        }
        Ok(())
    }

    /// The record type in Cedar's JSON schema.
    pub(crate) fn schema(&self) -> Value {
        let attributes: serde_json::Map<String, Value> =
            self.members.iter().map(|(name, node)| (name.clone(), node.schema())).collect();
        json!({ "type": "Record", "attributes": attributes })
    }
}

impl Node {
    fn schema(&self) -> Value {
        let mut of = match self {
            Self::Present => Scalar::Bool.schema(),
            Self::Scalar(scalar) => scalar.schema(),
            Self::Set(of) => json!({ "type": "Set", "element": of.unwrap_or(Scalar::Text).schema() }),
            Self::Record(shape) => shape.schema(),
        };
        if let Some(members) = of.as_object_mut() {
            members.insert("required".to_owned(), Value::Bool(false));
        }
        of
    }

    /// For a person who sent something else.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Present => "anything".to_owned(),
            Self::Scalar(scalar) => scalar.expected().to_owned(),
            Self::Set(None) => "a list".to_owned(),
            Self::Set(Some(of)) => format!("a list in which each item is {}", of.expected()),
            Self::Record(_) => "an object".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
