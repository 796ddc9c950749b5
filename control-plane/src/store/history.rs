//! What happened: versions from the index, records from the journal. Where the index fails, from the journal alone.

use std::collections::VecDeque;

use super::index::{Index, IndexError};
use super::journal::{Reader, read_all};
use super::port::{HistoryError, HistoryFilter, HistoryRecord, MAX_HISTORY_RECORDS};
use super::record::Record;
use super::single::Shared;

/// An answer stops at so many bytes of records, so that its size has a bound.
const ANSWER_BYTES: usize = 64 << 20;

/// Answers one question. Blocks.
pub(super) fn read(shared: &Shared, filter: &HistoryFilter) -> Result<Vec<HistoryRecord>, HistoryError> {
    if filter.name.is_some() && filter.kind.is_none() {
        return Err(HistoryError("a name needs a kind".to_owned()));
    }
    let newest = shared.state.load().version;
    let question = Question {
        filter,
        before: filter.before.map_or(u64::MAX, |before| before).min(newest.saturating_add(1)),
        limit: match filter.limit {
            0 => MAX_HISTORY_RECORDS,
            limit => limit.min(MAX_HISTORY_RECORDS),
        },
    };
    let index = shared.index.load_full();
    match index.map(|index| question.by_index(shared, &index)) {
        Some(Ok(records)) => return Ok(records),
        Some(Err(error)) => {
            tracing::error!(%error, "the index cannot answer; until the next start history is read from the journal, which is slow");
            shared.index.store(None);
        }
        None => {}
    }
    question.by_journal(shared)
}

struct Question<'a> {
    filter: &'a HistoryFilter,
    before: u64,
    limit: usize,
}

impl Question<'_> {
    fn by_index(&self, shared: &Shared, index: &Index) -> Result<Vec<HistoryRecord>, IndexError> {
        let versions = match &self.filter.kind {
            Some(kind) => index.versions(kind, self.filter.name.as_deref(), self.before, self.limit)?,
            None => (1..self.before).rev().take(self.limit).collect(),
        };
        let mut reader = Reader::new(&shared.journal_dir);
        let mut records = Vec::with_capacity(versions.len());
        let mut bytes = 0_usize;
        for version in versions {
            // A record that is not where the index says is the index's fault until the journal itself says otherwise.
            let payload = reader
                .read(version, index.position(version)?)
                .map_err(|error| IndexError::new(error.to_string()))?;
            bytes = bytes.saturating_add(payload.len());
            let record = Record::decode(&payload).map_err(|error| IndexError::new(error.to_string()))?;
            let record = self
                .matching(record.into_history(version))
                .ok_or_else(|| IndexError::new(format!("version {version} is not about what it says")))?;
            records.push(record);
            if bytes >= ANSWER_BYTES {
                break;
            }
        }
        Ok(records)
    }

    fn by_journal(&self, shared: &Shared) -> Result<Vec<HistoryRecord>, HistoryError> {
        let mut newest: VecDeque<(HistoryRecord, usize)> = VecDeque::new();
        let mut bytes = 0_usize;
        read_all(&shared.journal_dir, &mut |stored| {
            let version = stored.tip.version;
            if version >= self.before {
                return Ok(());
            }
            let Ok(record) = Record::decode(stored.payload) else { return Ok(()) };
            let Some(record) = self.matching(record.into_history(version)) else { return Ok(()) };
            bytes = bytes.saturating_add(stored.payload.len());
            newest.push_back((record, stored.payload.len()));
            while newest.len() > self.limit || (bytes > ANSWER_BYTES && newest.len() > 1) {
                let Some((_, size)) = newest.pop_front() else { break };
                bytes = bytes.saturating_sub(size);
            }
            Ok(())
        })
        .map_err(|error| HistoryError(error.to_string()))?;
        Ok(newest.into_iter().rev().map(|(record, _)| record).collect())
    }

    /// The record with the changes that were asked for; `None` when there is none.
    fn matching(&self, mut record: HistoryRecord) -> Option<HistoryRecord> {
        record.changes.retain(|change| {
            self.filter.kind.as_deref().is_none_or(|kind| *kind == *change.kind)
                && self.filter.name.as_deref().is_none_or(|name| *name == *change.name)
        });
        (!record.changes.is_empty()).then_some(record)
    }
}
