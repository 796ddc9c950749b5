//! One look at a server: what it is, and every page of what it lists.

use std::collections::HashSet;
use std::time::Instant;

use portcullis_mcp::object;
use portcullis_policy::Reason;
use portcullis_policy::resource::Uid;
use portcullis_policy::snapshot::{ServerEntry, SnapshotVersion};
use portcullis_proto::config::v1::ProbeReport;
use serde_json::value::RawValue;

use crate::upstream::{List, Offer, UpstreamError, Upstreams, Visit};

/// Pages of one list that are read.
const MAX_PAGES: usize = 1000;
/// Definitions of one list.
const MAX_ITEMS: usize = 10_000;
/// Bytes of all that is reported of one server: with room to spare below the 32 MiB that a control plane takes as one message.
const MAX_BYTES: usize = 24 << 20;
/// Bytes that a definition takes in a report beside its own.
const FRAME: usize = 8;

/// What a server offers.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) offer: Offer,
    pub(super) tools: Vec<Box<RawValue>>,
    pub(super) prompts: Vec<Box<RawValue>>,
}

/// Looks at a server.
pub(super) async fn look(
    upstreams: &Upstreams,
    entry: &ServerEntry,
    version: SnapshotVersion,
) -> Result<Look, UpstreamError> {
    let visit = upstreams.visit(entry, version).await?;
    let offer = visit.offer();
    let told = [Some(offer.capabilities.get()), offer.server_info.as_deref().map(RawValue::get)];
    let told = told.into_iter().flatten().chain(offer.instructions.as_deref());
    let mut bytes = told.map(str::len).sum();
    if bytes > MAX_BYTES {
        return Err(too_much());
    }
    let tools = list(&visit, List::Tools, &mut bytes).await?;
    let prompts = list(&visit, List::Prompts, &mut bytes).await?;
    Ok(Look { offer: visit.offer().clone(), tools, prompts })
}

/// A whole list. It is read whole or not at all: half a list would look like tools that are gone.
/// `bytes` is what the report has so far.
async fn list(visit: &Visit, list: List, bytes: &mut usize) -> Result<Vec<Box<RawValue>>, UpstreamError> {
    let offer = visit.offer();
    if offer.introduced && object::member(&offer.capabilities, list.member()).is_none() {
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let Some(page) = visit.page(list, cursor.as_deref()).await? else {
            // Announced and unknown is a fault; only a server that announced nothing may lack it.
            return if offer.introduced {
                Err(fault("The server does not know a list that it announces."))
            } else {
                Ok(items)
            };
        };
        let found = object::member(&page, list.member())
            .and_then(object::elements)
            .ok_or_else(|| fault("The server's list is no list."))?;
        for item in found {
            *bytes = bytes.saturating_add(item.get().len() + FRAME);
            if items.len() >= MAX_ITEMS || *bytes > MAX_BYTES {
                return Err(too_much());
            }
            items.push(item.to_owned());
        }
        cursor = object::member(&page, "nextCursor").and_then(object::string).map(Into::into);
        match &cursor {
            None => return Ok(items),
            Some(next) if !seen.insert(next.clone()) => {
                return Err(fault("The server's list repeats a cursor and never ends."));
            }
            Some(_) => {}
        }
    }
    Err(fault("The server's list has more pages than are read."))
}

fn too_much() -> UpstreamError {
    fault(&format!(
        "The server lists more than is read: {MAX_ITEMS} of a kind, {} MiB in all.",
        MAX_BYTES >> 20
    ))
}

fn fault(message: &str) -> UpstreamError {
    UpstreamError {
        reason: Reason::UpstreamError,
        message: message.to_owned(),
        cause: None,
        http_status: None,
        reached: true,
        untouched: false,
    }
}

/// What the control plane is told of a look.
pub(super) fn report(server: Uid, look: &Result<Look, UpstreamError>, started: Instant) -> ProbeReport {
    let took_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let json = |raw: &RawValue| raw.get().as_bytes().to_vec().into();
    let base = ProbeReport { server_uid: server.to_string(), took_micros, ..ProbeReport::default() };
    match look {
        Err(error) => ProbeReport { error: error.in_full(), ..base },
        Ok(look) => ProbeReport {
            reachable: true,
            era: look.offer.era.as_str().to_owned(),
            protocol_version: look.offer.revision.as_str().to_owned(),
            server_info_json: look.offer.server_info.as_deref().map(json).unwrap_or_default(),
            instructions: look.offer.instructions.clone().unwrap_or_default(),
            capabilities_json: json(&look.offer.capabilities),
            tools_json: look.tools.iter().map(|tool| json(tool)).collect(),
            prompts_json: look.prompts.iter().map(|prompt| json(prompt)).collect(),
            ..base
        },
    }
}
