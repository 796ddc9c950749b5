//! What an endpoint says that it is and can do: the answer to `initialize` and to `server/discover`.
//!
//! One server's endpoint says what was approved of that server and what it was seen to do, as far as it can be carried; an
//! aggregate speaks for itself.

use std::sync::Arc;

use portcullis_mcp::{Method, object};
use portcullis_policy::{Endpoint, Server, View};
use serde_json::value::RawValue;

use super::{AGGREGATE_INSTRUCTIONS, own_info};

/// What an endpoint offers to one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// `serverInfo`, as JSON.
    pub server_info: String,
    /// `instructions`.
    pub instructions: Option<String>,
    prompts: bool,
    resources: Option<Resources>,
    completions: bool,
    logging: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Resources {
    subscribe: bool,
    list_changed: bool,
}

impl Offer {
    /// What a view's endpoint offers.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let servers = view.servers();
        let granted = |server: &&Arc<Server>| !view.resource_patterns(server.name().as_str()).is_empty();
        let resources = servers.iter().filter(granted).map(|server| resources_of(server)).reduce(|a, b| {
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            Some(Resources {
                subscribe: a.subscribe || b.subscribe,
                list_changed: a.list_changed || b.list_changed,
            })
        });
        let any = |name: &str| servers.iter().any(|server| observed(server, name).is_some());
        let (identity, prompts, resources) = match view.endpoint() {
            Endpoint::All => (None, true, resources.map(Option::unwrap_or_default)),
            Endpoint::Bundle(_) => (None, view.may_hold_prompts(), resources.map(Option::unwrap_or_default)),
            Endpoint::Server(name) => {
                let server = servers.iter().find(|server| server.name() == name);
                let offers_prompts = any("prompts") || !view.prompts().is_empty();
                (server.map(|server| server.entry.identity.as_ref()), offers_prompts, resources.flatten())
            }
        };
        let (server_info, instructions) = match identity {
            None => (own_info(), Some(AGGREGATE_INSTRUCTIONS.to_owned())),
            Some(None) => (own_info(), None),
            Some(Some(identity)) => (identity.server_info.get().to_owned(), identity.instructions.clone()),
        };
        let completions = any("completions") && (prompts || resources.is_some());
        Self { server_info, instructions, prompts, resources, completions, logging: any("logging") }
    }

    /// The `capabilities` object: the same words in both eras.
    #[must_use]
    pub fn capabilities(&self) -> String {
        let mut members = vec!["\"tools\":{\"listChanged\":true}".to_owned()];
        if self.prompts {
            members.push("\"prompts\":{\"listChanged\":true}".to_owned());
        }
        if let Some(Resources { subscribe, list_changed }) = self.resources {
            members
                .push(format!("\"resources\":{{\"subscribe\":{subscribe},\"listChanged\":{list_changed}}}"));
        }
        if self.completions {
            members.push("\"completions\":{}".to_owned());
        }
        if self.logging {
            members.push("\"logging\":{}".to_owned());
        }
        format!("{{{}}}", members.join(","))
    }

    /// Whether a method of MCP is there at this endpoint. What is not offered is as if unknown.
    #[must_use]
    pub const fn allows(&self, method: Method) -> bool {
        match method {
            Method::PromptsList | Method::PromptsGet => self.prompts,
            Method::ResourcesList | Method::ResourcesTemplatesList | Method::ResourcesRead => {
                self.resources.is_some()
            }
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                matches!(self.resources, Some(Resources { subscribe: true, .. }))
            }
            Method::CompletionComplete => self.completions,
            Method::LoggingSetLevel => self.logging,
            _ => true,
        }
    }

    /// Whether `notifications/resources/list_changed` can come.
    #[must_use]
    pub const fn resources_list_changed(&self) -> bool {
        matches!(self.resources, Some(Resources { list_changed: true, .. }))
    }

    /// Whether `notifications/resources/updated` can come.
    #[must_use]
    pub const fn resources_subscribe(&self) -> bool {
        matches!(self.resources, Some(Resources { subscribe: true, .. }))
    }

    /// Whether prompts are there.
    #[must_use]
    pub const fn prompts(&self) -> bool {
        self.prompts
    }
}

fn observed<'a>(server: &'a Server, name: &str) -> Option<&'a RawValue> {
    object::member(&server.entry.observed.as_ref()?.capabilities, name)
}

/// What a server was seen to do with resources; `None` when it was seen to offer none.
fn resources_of(server: &Server) -> Option<Resources> {
    let Some(seen) = &server.entry.observed else { return Some(Resources::default()) };
    let resources = object::member(&seen.capabilities, "resources")?;
    let says = |name| object::member(resources, name).is_some_and(|value| value.get() == "true");
    Some(Resources { subscribe: says("subscribe"), list_changed: says("listChanged") })
}
