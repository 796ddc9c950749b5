//! The names of the schema, and entities made of facts.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, SchemaFragment};

use crate::facts::{PrincipalFacts, TargetFacts, TargetKind};

/// The schema, except the type of arguments.
pub(crate) const SCHEMA: &str = include_str!("schema.cedarschema");

/// The kinds of entities, each parsed once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) schema: SchemaFragment,
    principal: EntityTypeName,
    tool: EntityTypeName,
    prompt: EntityTypeName,
    resource: EntityTypeName,
    team: EntityTypeName,
    customer: EntityTypeName,
    group: EntityTypeName,
    zone: EntityTypeName,
    server: EntityTypeName,
    data_class: EntityTypeName,
    key: EntityTypeName,
    client: EntityTypeName,
    action: EntityTypeName,
}

/// An entity, and all that it is in.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) uid: EntityUid,
    pub(crate) ancestors: Vec<EntityUid>,
    /// `None`: its attributes cannot be held, and nothing that reads it can be evaluated.
    pub(crate) entity: Option<Entity>,
}

impl Vocabulary {
    /// # Errors
    /// Never with the schema of this crate, which a test reads; said as a sentence all the same.
    pub(crate) fn new() -> Result<Self, String> {
        let (schema, _) = SchemaFragment::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
        let of = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
        Ok(Self {
            schema,
            principal: of("Principal")?,
            tool: of("Tool")?,
            prompt: of("Prompt")?,
            resource: of("Resource")?,
            team: of("Team")?,
            customer: of("Customer")?,
            group: of("Group")?,
            zone: of("Zone")?,
            server: of("Server")?,
            data_class: of("DataClass")?,
            key: of("Key")?,
            client: of("Client")?,
            action: of("Action")?,
        })
    }

    pub(crate) fn action(&self, kind: TargetKind) -> EntityUid {
        uid(&self.action, kind.action())
    }

    pub(crate) fn actions(&self) -> [EntityUid; 3] {
        [TargetKind::Tool, TargetKind::Prompt, TargetKind::Resource].map(|kind| self.action(kind))
    }

    pub(crate) fn client(&self, name: &str) -> EntityUid {
        uid(&self.client, name)
    }

    pub(crate) fn principal(&self, facts: &PrincipalFacts<'_>) -> Made {
        let of = uid(&self.principal, &format!("{}/{}", facts.kind, facts.subject));
        let mut ancestors = vec![uid(&self.key, facts.key), uid(&self.zone, facts.zone)];
        ancestors.extend(facts.team.map(|team| uid(&self.team, team)));
        ancestors.extend(facts.customer.map(|customer| uid(&self.customer, customer)));
        ancestors.extend(facts.groups.iter().map(|group| uid(&self.group, group)));
        let mut attributes = HashMap::from([
            ("kind".to_owned(), text(facts.kind)),
            ("subject".to_owned(), text(facts.subject)),
            ("key".to_owned(), text(facts.key)),
            ("zone".to_owned(), text(facts.zone)),
            ("groups".to_owned(), texts(facts.groups)),
        ]);
        attributes.extend(facts.team.map(|team| ("team".to_owned(), text(team))));
        attributes.extend(facts.customer.map(|customer| ("customer".to_owned(), text(customer))));
        made(of, ancestors, attributes)
    }

    pub(crate) fn target(&self, facts: &TargetFacts<'_>) -> Made {
        let kind = match facts.kind {
            TargetKind::Tool => &self.tool,
            TargetKind::Prompt => &self.prompt,
            TargetKind::Resource => &self.resource,
        };
        let of = uid(kind, &format!("{}/{}", facts.server, facts.name));
        let mut ancestors = vec![uid(&self.server, facts.server), uid(&self.zone, facts.zone)];
        ancestors.extend(facts.data_classes.iter().map(|class| uid(&self.data_class, class)));
        let attributes = HashMap::from([
            ("server".to_owned(), text(facts.server)),
            ("name".to_owned(), text(facts.name)),
            ("zone".to_owned(), text(facts.zone)),
            ("dataClasses".to_owned(), texts(facts.data_classes)),
            ("hosting".to_owned(), text(facts.hosting)),
            ("tier".to_owned(), text(facts.tier)),
        ]);
        made(of, ancestors, attributes)
    }
}

impl TargetKind {
    /// The name of the action that asks for it.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Tool => "call",
            Self::Prompt => "get_prompt",
            Self::Resource => "read_resource",
        }
    }
}

fn made(of: EntityUid, ancestors: Vec<EntityUid>, attributes: HashMap<String, RestrictedExpression>) -> Made {
    let parents: HashSet<EntityUid> = ancestors.iter().cloned().collect();
    Made { entity: Entity::new(of.clone(), attributes, parents).ok(), uid: of, ancestors }
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts(texts: &[&str]) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.iter().map(|item| text(item)))
}
