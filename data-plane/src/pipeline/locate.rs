//! Which server a resource URI belongs to at an aggregate, where URIs are not rewritten.
//!
//! If one granted server's patterns match, it is that one. If several match, they are asked what they offer; a URI that none
//! or more than one of them offers is not there for this caller.

use std::sync::Arc;

use futures_util::future::join_all;
use portcullis_mcp::{Method, object};
use portcullis_policy::resource::Name;
use portcullis_policy::{Denial, Reason, Rule};

use super::Pipeline;
use super::context::{Admitted, Client};
use crate::lists::template;

/// Servers that are asked for one URI; beyond it the URI is not there.
const MAX_CANDIDATES: usize = 16;

impl Pipeline {
    /// The server of a URI, if it is there for this caller.
    pub(crate) async fn server_of(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        uri: &str,
    ) -> Option<Name> {
        self.locate(admitted, client, uri).await.ok()
    }

    /// The server of a URI.
    ///
    /// # Errors
    /// A denial where no server, or no single one, offers it to this caller.
    pub(super) async fn locate(
        &self,
        admitted: &Arc<Admitted>,
        client: &Arc<Client>,
        uri: &str,
    ) -> Result<Name, Denial> {
        let granted: Vec<&Name> = admitted
            .view
            .servers()
            .iter()
            .map(|server| server.name())
            .filter(|name| {
                let patterns = admitted.view.resource_patterns(name.as_str());
                patterns.iter().any(|pattern| pattern.matches_uri(uri))
            })
            .collect();
        match granted.as_slice() {
            [only] => Ok((*only).clone()),
            [] => Err(nowhere(admitted)),
            several if several.len() > MAX_CANDIDATES => Err(nowhere(admitted)),
            several => {
                let offers: Vec<_> =
                    several.iter().map(|name| self.offers(admitted, client, name, uri)).collect();
                let offered: Vec<bool> = join_all(offers).await;
                let mut owners =
                    several.iter().zip(offered).filter_map(|(name, offers)| offers.then_some(*name));
                match (owners.next(), owners.next()) {
                    (Some(owner), None) => Ok(owner.clone()),
                    (Some(one), Some(other)) => {
                        tracing::warn!(%one, %other, "two granted servers offer one resource; it is hidden");
                        self.metrics().resources_hidden.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        Err(nowhere(admitted))
                    }
                    (None, _) => Err(nowhere(admitted)),
                }
            }
        }
    }

    /// Whether a server lists the URI, or a template that it could come from.
    async fn offers(&self, admitted: &Arc<Admitted>, client: &Arc<Client>, server: &Name, uri: &str) -> bool {
        let listed = async {
            let all = self.all_of(admitted, client, server, Method::ResourcesList).await;
            all.is_ok_and(|found| {
                found.items.iter().any(|item| text_of(item, "uri").is_some_and(|text| text == uri))
            })
        };
        let templated = async {
            let all = self.all_of(admitted, client, server, Method::ResourcesTemplatesList).await;
            all.is_ok_and(|found| {
                found.items.iter().any(|item| {
                    text_of(item, "uriTemplate")
                        .is_some_and(|text| text == uri || template::matches(&text, uri))
                })
            })
        };
        let (listed, templated) = futures_util::future::join(listed, templated).await;
        listed || templated
    }
}

fn text_of<'a>(item: &'a serde_json::value::RawValue, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    object::member(item, name).and_then(object::string)
}

fn nowhere(admitted: &Admitted) -> Denial {
    Denial {
        reason: Reason::ToolUnknown,
        rule: Rule::closed(),
        snapshot: admitted.snapshot.version(),
        server: None,
        tool: None,
        zone: None,
        shadow: portcullis_policy::Shadow::default(),
    }
}
