//! From what is asked for to what is recorded: bounds, and what each object is before and after. No IO.

use std::collections::HashMap;
use std::io;

use serde_json::Value;

use super::port::{
    Change, MAX_AUTHOR_BYTES, MAX_BODY_BYTES, MAX_KIND_BYTES, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_OBJECTS,
    MAX_OPS, MAX_RECORD_BYTES, Op,
};
use super::record::{Record, RecordChange};
use super::state::{Object, State};

/// How deep a body may be nested: the reader of records stops at 128, and a record wraps bodies.
const MAX_BODY_DEPTH: usize = 100;
const CHANGE: &str = "a change with all its bodies, before and after,";

/// A change that is ready to be written: its record, and the record's text.
#[derive(Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) record: Record,
    pub(super) payload: Vec<u8>,
}

/// Works out what a change does to a state; `None` when it does nothing. The error is a sentence for the author.
pub(super) fn plan(state: &State, change: Change) -> Result<Option<Planned>, String> {
    bounded("an author", change.author.len(), MAX_AUTHOR_BYTES)?;
    bounded("a message", change.message.len(), MAX_MESSAGE_BYTES)?;
    if change.ops.len() > MAX_OPS {
        return Err(format!("a change has at most {MAX_OPS} operations, this one has {}", change.ops.len()));
    }
    let mut changes: Vec<RecordChange> = Vec::new();
    let mut places = HashMap::new();
    let mut bytes = 0_usize;
    for op in change.ops {
        bytes = bytes.saturating_add(check_op(&op)?);
        bounded(CHANGE, bytes, MAX_RECORD_BYTES)?;
        let (kind, name) = op.key();
        let current = state.get(kind, name);
        let place = *places.entry((kind.clone(), name.clone())).or_insert_with(|| {
            changes.push(unchanged(&op, current.map(AsRef::as_ref)));
            changes.len() - 1
        });
        let Some(entry) = changes.get_mut(place) else { continue };
        match op {
            Op::Put { uid, body, .. } => {
                entry.uid = uid;
                entry.after = Some(body);
            }
            Op::Delete { .. } => {
                entry.after = None;
                if let Some(current) = current {
                    entry.uid = current.uid;
                }
            }
        }
    }
    changes.retain(|change| {
        let same_thing = state.get(&change.kind, &change.name).is_none_or(|object| object.uid == change.uid);
        change.before != change.after || !same_thing
    });
    if changes.is_empty() {
        return Ok(None);
    }
    let (come, go) = changes.iter().fold((0_usize, 0_usize), |(come, go), change| {
        match (change.before.is_some(), change.after.is_some()) {
            (false, true) => (come + 1, go),
            (true, false) => (come, go + 1),
            _ => (come, go),
        }
    });
    if come > go && state.len().saturating_sub(go).saturating_add(come) > MAX_OBJECTS {
        return Err(format!("there would be more than {MAX_OBJECTS} objects, which is the most"));
    }
    let record = Record { unix_ms: change.unix_ms, author: change.author, message: change.message, changes };
    let payload = record.encode().map_err(|error| format!("the change has no JSON form: {error}"))?;
    bounded(CHANGE, payload.len(), MAX_RECORD_BYTES)?;
    // What is acknowledged must be readable: nothing is written that does not read back as the same.
    if Record::decode(&payload).ok().as_ref() != Some(&record) {
        return Err("the change does not read back as it was given".to_owned());
    }
    Ok(Some(Planned { record, payload }))
}

fn unchanged(op: &Op, current: Option<&Object>) -> RecordChange {
    let (kind, name) = op.key();
    let uid = match (current, op) {
        (Some(object), _) => object.uid,
        (None, Op::Put { uid, .. }) => *uid,
        (None, Op::Delete { .. }) => portcullis_policy::resource::Uid(uuid::Uuid::nil()),
    };
    let before = current.map(|object| object.body.clone());
    RecordChange { kind: kind.clone(), name: name.clone(), uid, after: before.clone(), before }
}

/// Checks one operation alone; gives the size of its body.
fn check_op(op: &Op) -> Result<usize, String> {
    let (kind, name) = op.key();
    if kind.is_empty() || name.is_empty() {
        return Err("an object has a kind and a name".to_owned());
    }
    bounded("a kind", kind.len(), MAX_KIND_BYTES)?;
    bounded("a name", name.len(), MAX_NAME_BYTES)?;
    let Op::Put { body, .. } = op else { return Ok(0) };
    if !nested_within(body, MAX_BODY_DEPTH) {
        return Err(format!("{kind}/{name} is nested deeper than {MAX_BODY_DEPTH}"));
    }
    let mut size = CountBytes(0);
    serde_json::to_writer(&mut size, body)
        .map_err(|error| format!("{kind}/{name} has no JSON form: {error}"))?;
    bounded(&format!("an object (here {kind}/{name})"), size.0, MAX_BODY_BYTES)?;
    Ok(size.0)
}

fn bounded(what: &str, bytes: usize, most: usize) -> Result<(), String> {
    if bytes <= most { Ok(()) } else { Err(format!("{what} has at most {most} bytes, this has {bytes}")) }
}

fn nested_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| nested_within(item, depth - 1)),
        Value::Object(members) => depth > 0 && members.values().all(|item| nested_within(item, depth - 1)),
        _ => true,
    }
}

struct CountBytes(usize);

impl io::Write for CountBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
