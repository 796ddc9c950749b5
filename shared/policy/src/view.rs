//! What a set of grants in a zone sees at one endpoint: the lists, rendered once and served from memory.
//!
//! A list shows exactly what a call would be permitted: both ask `decide::judge`. Everything here is made when it is
//! first asked for, and shared between keys with equal grants and zone: all of them, or, where rules look at a caller's network,
//! era or program, those for whom these rules come out the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use portcullis_seal::{Fingerprint, sha256};

use crate::access::Rules;
use crate::bundle::Bundle;
use crate::circumstances::Circumstances;
use crate::compile::model::{Definition, Offer, Principal, Prompt, Server, Tool};
use crate::decide::judge::{self, Asker, Silent, Steps};
use crate::pattern::Pattern;
use crate::render;
use crate::resource::{Name, ToolRewrite};
use crate::rule::DefinitionKind;
use crate::standpoint::Standpoint;

/// An endpoint as a caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointRef<'a> {
    /// `/mcp`
    All,
    /// `/bundles/{bundle}/mcp`
    Bundle(&'a str),
    /// `/servers/{server}/mcp`
    Server(&'a str),
}

/// An endpoint that exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/mcp`
    All,
    /// `/bundles/{bundle}/mcp`
    Bundle(Name),
    /// `/servers/{server}/mcp`
    Server(Name),
}

impl Endpoint {
    /// Its borrowed form.
    #[must_use]
    pub fn as_ref(&self) -> EndpointRef<'_> {
        match self {
            Self::All => EndpointRef::All,
            Self::Bundle(name) => EndpointRef::Bundle(name.as_str()),
            Self::Server(name) => EndpointRef::Server(name.as_str()),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("/mcp"),
            Self::Bundle(name) => write!(f, "/bundles/{name}/mcp"),
            Self::Server(name) => write!(f, "/servers/{name}/mcp"),
        }
    }
}

/// An endpoint with what stands behind it.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    All,
    Bundle(Arc<Bundle>),
    Server(Arc<Offer>),
}

impl Place {
    /// Whether anything of a server can be at this endpoint.
    pub(crate) fn holds(&self, server: &Server) -> bool {
        match self {
            Self::All => true,
            Self::Bundle(bundle) => bundle.of(server.uid()).is_some(),
            Self::Server(offer) => offer.server.uid() == server.uid(),
        }
    }
}

/// A tool under the name that it has at the endpoint.
#[derive(Debug, Clone)]
pub struct ViewTool {
    /// The name that the caller uses.
    pub name: Arc<str>,
    /// The tool.
    pub tool: Arc<Tool>,
    /// What it says here instead of its own words.
    pub rewrite: Option<Arc<ToolRewrite>>,
}

/// A prompt under the name that it has at the endpoint.
#[derive(Debug, Clone)]
pub struct ViewPrompt {
    /// The name that the caller uses.
    pub name: Arc<str>,
    /// The prompt.
    pub prompt: Arc<Prompt>,
}

/// What a set of grants in a zone sees at one endpoint.
#[derive(Debug)]
pub struct View {
    endpoint: Endpoint,
    place: Place,
    rules: Arc<Rules>,
    tools: OnceLock<Box<[ViewTool]>>,
    prompts: OnceLock<Box<[ViewPrompt]>>,
    servers: OnceLock<Box<[Arc<Server>]>>,
    tools_json: OnceLock<Arc<str>>,
    prompts_json: OnceLock<Arc<str>>,
    tools_tag: OnceLock<Fingerprint>,
    prompts_tag: OnceLock<Fingerprint>,
    resources_tag: OnceLock<Fingerprint>,
    standpoint: Standpoint,
    /// The same endpoint for callers of whom something is known, by how the rules come out for them.
    seen: Mutex<HashMap<Box<[u8]>, Arc<View>>>,
}

/// Standpoints that one view keeps lists for. Callers from further ones are served all the same, with lists of their own.
const MAX_STANDPOINTS: usize = 64;

impl View {
    fn new(endpoint: Endpoint, place: Place, rules: &Arc<Rules>) -> Self {
        Self::at(endpoint, place, rules, Standpoint::unknown())
    }

    fn at(endpoint: Endpoint, place: Place, rules: &Arc<Rules>, standpoint: Standpoint) -> Self {
        Self {
            endpoint,
            place,
            rules: Arc::clone(rules),
            standpoint,
            seen: Mutex::default(),
            tools: OnceLock::new(),
            prompts: OnceLock::new(),
            servers: OnceLock::new(),
            tools_json: OnceLock::new(),
            prompts_json: OnceLock::new(),
            tools_tag: OnceLock::new(),
            prompts_tag: OnceLock::new(),
            resources_tag: OnceLock::new(),
        }
    }

    pub(crate) fn all(rules: &Arc<Rules>) -> Self {
        Self::new(Endpoint::All, Place::All, rules)
    }

    pub(crate) fn bundle(rules: &Arc<Rules>, bundle: &Arc<Bundle>) -> Self {
        Self::new(Endpoint::Bundle(bundle.entry.name.clone()), Place::Bundle(Arc::clone(bundle)), rules)
    }

    pub(crate) fn server(rules: &Arc<Rules>, offer: &Arc<Offer>) -> Self {
        Self::new(Endpoint::Server(offer.server.name().clone()), Place::Server(Arc::clone(offer)), rules)
    }

    /// The same endpoint, as a caller sees it.
    pub(crate) fn seen_from(&self, principal: &Principal, circumstances: &Circumstances<'_>) -> Arc<Self> {
        let key = self.rules.standpoints.key(principal, circumstances);
        // Who panicked with it in hand left the map whole: views are put in and looked up, nothing else.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = seen.get(&key) {
            return Arc::clone(found);
        }
        let standpoint = Standpoint::new(&self.rules.standpoints, principal, circumstances);
        let made = Arc::new(Self::at(self.endpoint.clone(), self.place.clone(), &self.rules, standpoint));
        if seen.len() < MAX_STANDPOINTS {
            seen.insert(key, Arc::clone(&made));
        }
        made
    }

    /// Whoever looks at these lists.
    fn asker(&self) -> Asker<'_> {
        Asker {
            rules: &self.rules,
            place: &self.place,
            keyed: self.standpoint.keyed(),
            caller: self.standpoint.caller(),
            listing: true,
            circumstances: self.standpoint.circumstances(),
        }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn is_of(&self, rules: &Arc<Rules>) -> bool {
        Arc::ptr_eq(&self.rules, rules)
    }

    /// The endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The zone of the principals that see this.
    #[must_use]
    pub fn zone(&self) -> &Name {
        &self.rules.zone
    }

    /// The tools that may be called, in the order of their names here.
    #[must_use]
    pub fn tools(&self) -> &[ViewTool] {
        self.tools.get_or_init(|| {
            let found = self.permitted(DefinitionKind::Tool, &self.asker(), &mut Silent);
            found.into_iter().map(|(name, tool, rewrite)| ViewTool { name, tool, rewrite }).collect()
        })
    }

    /// The prompts that may be used, in the order of their names here.
    #[must_use]
    pub fn prompts(&self) -> &[ViewPrompt] {
        self.prompts.get_or_init(|| {
            let found = self.permitted(DefinitionKind::Prompt, &self.asker(), &mut Silent);
            found.into_iter().map(|(name, prompt, _)| ViewPrompt { name, prompt }).collect()
        })
    }

    /// What an asker may use of a kind, in the order of the names here.
    pub(crate) fn permitted(
        &self,
        kind: DefinitionKind,
        asker: &Asker<'_>,
        steps: &mut impl Steps,
    ) -> Vec<Found> {
        let mut found: Vec<Found> = self
            .rules
            .servers
            .iter()
            .filter(|rules| self.place.holds(&rules.offer.server))
            .flat_map(|rules| match kind {
                DefinitionKind::Tool => &rules.offer.tools,
                DefinitionKind::Prompt => &rules.offer.prompts,
            })
            .filter_map(|candidate| {
                let (name, rewrite) = match &self.place {
                    Place::All => (candidate.exposed.as_ref()?, None),
                    Place::Bundle(bundle) => (bundle.name(candidate)?, bundle.texts(candidate).cloned()),
                    Place::Server(_) => (&candidate.name, None),
                };
                let (definition, _) = judge::definition(asker, candidate, steps).ok()?;
                Some((Arc::clone(name), Arc::clone(definition), rewrite))
            })
            .collect();
        found.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        found
    }

    /// The servers that may be spoken to, in the order of their names.
    #[must_use]
    pub fn servers(&self) -> &[Arc<Server>] {
        self.servers.get_or_init(|| {
            let servers = self.rules.servers.iter().map(|rules| &rules.offer.server);
            servers
                .filter(|server| judge::server(&self.asker(), server, &mut Silent).is_ok())
                .map(|server| Arc::clone(self.rules.way(server)))
                .collect()
        })
    }

    /// The patterns of resource URIs that are granted of a server, or held by the bundle, all of which its grant gives; none of a
    /// server that may not be reached. Match them with [`Pattern::matches_uri`].
    #[must_use]
    pub fn resource_patterns(&self, server: &str) -> &[Pattern] {
        let found = self.rules.servers.iter().find(|rules| rules.offer.server.name() == server);
        let permitted =
            found.filter(|rules| judge::server(&self.asker(), &rules.offer.server, &mut Silent).is_ok());
        let Some(rules) = permitted else { return &[] };
        match &self.place {
            Place::Bundle(bundle) => {
                bundle.of(rules.offer.server.uid()).map_or(&[], |held| held.chosen.resources())
            }
            Place::All | Place::Server(_) => rules.chosen.resources(),
        }
    }

    /// Whether a prompt can be here at all, now or once it is approved.
    #[must_use]
    pub fn may_hold_prompts(&self) -> bool {
        match &self.place {
            Place::Bundle(bundle) => bundle.servers().any(|(_, chosen)| chosen.has_prompts()),
            Place::All | Place::Server(_) => true,
        }
    }

    /// A JSON array of the definitions of [`View::tools`], in its order: each under its name here, all else untouched.
    #[must_use]
    pub fn tools_json(&self) -> &Arc<str> {
        self.tools_json.get_or_init(|| {
            let tools = self.tools().iter();
            render::definitions(tools.map(|found| (&*found.name, &*found.tool, found.rewrite.as_deref())))
        })
    }

    /// A JSON array of the definitions of [`View::prompts`], likewise.
    #[must_use]
    pub fn prompts_json(&self) -> &Arc<str> {
        self.prompts_json.get_or_init(|| {
            render::definitions(self.prompts().iter().map(|found| (&*found.name, &*found.prompt, None)))
        })
    }

    /// Changes exactly when the list of tools does.
    #[must_use]
    pub fn tools_tag(&self) -> Fingerprint {
        *self.tools_tag.get_or_init(|| {
            tag(self.tools().iter().map(|found| (&found.name, &found.tool, found.rewrite.as_deref())))
        })
    }

    /// Changes exactly when the list of prompts does.
    #[must_use]
    pub fn prompts_tag(&self) -> Fingerprint {
        *self
            .prompts_tag
            .get_or_init(|| tag(self.prompts().iter().map(|found| (&found.name, &found.prompt, None))))
    }

    /// Changes when the servers, or the patterns of what is granted of their resources, do. The lists themselves are live.
    #[must_use]
    pub fn resources_tag(&self) -> Fingerprint {
        *self.resources_tag.get_or_init(|| {
            let mut text = String::new();
            for server in self.servers() {
                text.push_str(&server.uid().to_string());
                for pattern in self.resource_patterns(server.name().as_str()) {
                    text.push('\0');
                    text.push_str(pattern.as_str());
                }
                text.push('\n');
            }
            Fingerprint::from_bytes(sha256(text.as_bytes()))
        })
    }

    /// Changes when any of the lists does.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let tags = [self.tools_tag(), self.prompts_tag(), self.resources_tag()];
        let bytes: Vec<u8> = tags.iter().flat_map(|tag| *tag.as_bytes()).collect();
        Fingerprint::from_bytes(sha256(&bytes))
    }
}

/// A name here, what has it, and what it says here.
pub(crate) type Found = (Arc<str>, Arc<Definition>, Option<Arc<ToolRewrite>>);

/// The pin covers the whole definition; the name, the server and the words that stand in for its own are beside it.
fn tag<'a>(
    found: impl Iterator<Item = (&'a Arc<str>, &'a Arc<Definition>, Option<&'a ToolRewrite>)>,
) -> Fingerprint {
    let mut text = Vec::new();
    for (name, definition, rewrite) in found {
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        text.extend_from_slice(definition.server.uid().0.as_bytes());
        text.extend_from_slice(definition.pin.as_bytes());
        for words in rewrite.into_iter().flat_map(|rewrite| [&rewrite.title, &rewrite.description]) {
            text.extend_from_slice(&sha256(words.as_deref().unwrap_or_default().as_bytes()));
        }
    }
    Fingerprint::from_bytes(sha256(&text))
}
