//! Deleting: refused while anybody refers to it, and what belongs to it alone goes with it.

use portcullis_policy::resource::{Kind, Name, Right, Uid};
use portcullis_policy::snapshot::default_zone_name;

use super::apply::touched;
use super::references::listing;
use super::view::referrers;
use super::{Deleted, Registry, RegistryError, proposals, rewrites, stages};
use crate::catalog;
use crate::governance::{Actor, Rulebook, authorise, with_authors};
use crate::objects::{KEY_MATERIAL, Parsed};
use crate::publish::Decision;
use crate::store::{Op, State};

pub(super) async fn remove(
    registry: &Registry,
    kind: Kind,
    name: &str,
    by: &Actor,
    message: &str,
) -> Result<Deleted, RegistryError> {
    let message = Registry::message(message)?;
    let message = if message.is_empty() { format!("delete {kind} {name}") } else { message.to_owned() };
    let name: Name = name.parse().map_err(|_| RegistryError::NotFound(format!("{kind}/{name}")))?;
    let (by, clock, said) = (by.clone(), registry.clock.clone(), message.clone());
    let author = by.author().to_owned();
    let decide = move |state: &State, parsed: &mut Parsed| -> Result<_, RegistryError> {
        let mut ops = ops(state, parsed, kind, &name, clock.now_unix_ms())?;
        authorise(state, &by, Right::ResourcesWrite, &touched(state, &ops), clock.now_unix_ms())?;
        let touched = touched(state, &ops);
        let mut needed = proposals::needs(state, &Rulebook::of(state), &touched);
        if let Some(needed) = &mut needed {
            ops = proposals::keep(state, &touched, needed, by.author(), &said, clock.now_unix_ms())?;
        } else {
            let beside = with_authors(state, &ops, by.author());
            ops.extend(beside);
        }
        Ok(Decision { ops, answer: needed, dry_run: false })
    };
    let (version, proposed) = registry.publisher.transact(&author, &message, decide).await?;
    Ok(Deleted { version, proposed })
}

pub(super) fn ops(
    state: &State,
    parsed: &mut Parsed,
    kind: Kind,
    name: &Name,
    now_unix_ms: u64,
) -> Result<Vec<Op>, RegistryError> {
    let is_default_zone = kind == Kind::TrustZone && *name == default_zone_name();
    let Some(object) = state.get(kind.as_str(), name.as_str()) else {
        return Err(if is_default_zone {
            RegistryError::Refused("TrustZone/default is built in and cannot be deleted: it is there whenever nobody defines it. Apply a TrustZone named default to define it otherwise; deleting that definition brings the built-in zone back".to_owned())
        } else {
            RegistryError::NotFound(format!("{kind}/{name}"))
        });
    };
    // Where a definition of the zone `default` goes, the built-in one is there again: nobody refers to nothing.
    let referrers = if is_default_zone { Vec::new() } else { referrers(state, kind, name.as_str()) };
    if !referrers.is_empty() {
        return Err(RegistryError::Refused(format!(
            "{kind}/{name} is referred to by {}; change or delete these first",
            listing(&referrers)
        )));
    }
    let mut ops = vec![Op::Delete { kind: kind.as_str().into(), name: name.as_str().into() }];
    ops.extend(companions(state, kind, object.uid));
    if kind == Kind::TierDefaults {
        // Servers may have their rollout from it alone.
        let set = parsed.of(state)?;
        let gone = set.remove(kind, name);
        let stages = stages::first_stages(set);
        gone.into_iter().for_each(|resource| drop(set.insert(resource)));
        ops.extend(stages::moved(state, &stages, &ops, now_unix_ms).ops()?);
    }
    Ok(ops)
}

/// What goes with a resource, because it belongs to it alone.
pub(super) fn companions(state: &State, kind: Kind, uid: Uid) -> Vec<Op> {
    match kind {
        Kind::VirtualKey => vec![Op::Delete { kind: KEY_MATERIAL.into(), name: uid.to_string().into() }],
        Kind::McpServer => catalog::ops_for_deleted_server(state, &uid),
        Kind::ToolBundle => rewrites::ended(state, &uid).into_iter().collect(),
        _ => Vec::new(),
    }
}
