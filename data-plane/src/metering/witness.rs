//! What the audit spool proves after a crash: each record of a call tells what its accounts had spent by then, so that only calls
//! without a record are written off.

use std::path::Path;

use portcullis_metering::purse::Recovery;
use portcullis_metering::{AccountId, Epoch, Length, Level, Unit};
use uuid::Uuid;

use crate::ledger::{self, AuditRecord};

/// So much of the end of the spool is read.
const TAIL: u64 = 64 * 1024 * 1024;

/// Lets the records at the end of a spool bear witness for the lives that ended.
pub(super) fn hear(recovery: &mut Recovery, spool: &Path) {
    let open = |over: &portcullis_metering::Over| over.lines.iter().any(|line| line.spent < line.ceiling);
    if !recovery.over.iter().any(open) {
        return;
    }
    match ledger::read_tail(spool, TAIL) {
        Ok(records) => records.flatten().for_each(|record| believe(recovery, &record)),
        Err(error) => {
            tracing::warn!(%error, "the audit spool cannot be asked what was spent before the restart")
        }
    }
}

fn believe(recovery: &mut Recovery, record: &AuditRecord) {
    let Some(spent) = &record.spent else { return };
    if spent.plane != recovery.holder.plane {
        return;
    }
    for line in &spent.accounts {
        if let Some(account) = account_of(&line.account) {
            recovery.witness(spent.life, account, Epoch(line.epoch), line.spent);
        }
    }
}

/// An account as records name it: `team:calls:day:UID`, or `team:calls:day:rolling:UID`.
pub(super) fn account_text(account: AccountId) -> String {
    let unit = match account.unit {
        Unit::Calls => "calls",
        Unit::MicroUsd => "micro-usd",
    };
    let length = LENGTHS.iter().find(|(length, _)| *length == account.length).map_or("", |(_, text)| text);
    let rolling = if account.rolling { "rolling:" } else { "" };
    format!("{}:{unit}:{length}:{rolling}{}", account.level, account.owner)
}

const LENGTHS: [(Length, &str); 7] = [
    (Length::Minute, "minute"),
    (Length::Hour, "hour"),
    (Length::Day, "day"),
    (Length::Week, "week"),
    (Length::Month, "month"),
    (Length::Quarter, "quarter"),
    (Length::Year, "year"),
];

const LEVELS: [Level; 5] = [Level::Customer, Level::Team, Level::Key, Level::Server, Level::Tool];

fn account_of(text: &str) -> Option<AccountId> {
    let mut parts = text.split(':');
    let level = parts.next()?;
    let level = *LEVELS.iter().find(|known| known.to_string() == level)?;
    let unit = match parts.next()? {
        "calls" => Unit::Calls,
        "micro-usd" => Unit::MicroUsd,
        _ => return None,
    };
    let length = parts.next()?;
    let (length, _) = *LENGTHS.iter().find(|(_, known)| *known == length)?;
    let (rolling, owner) = match (parts.next()?, parts.next()) {
        ("rolling", Some(owner)) => (true, owner),
        (owner, None) => (false, owner),
        _ => return None,
    };
    let owner: Uuid = owner.parse().ok()?;
    parts.next().is_none().then_some(AccountId { level, owner, unit, length, rolling })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_as_it_was_written() {
        for (length, _) in LENGTHS {
            for level in LEVELS {
                for (unit, rolling) in [(Unit::Calls, true), (Unit::MicroUsd, false)] {
                    let account = AccountId { level, owner: Uuid::from_u128(7), unit, length, rolling };
                    assert_eq!(account_of(&account_text(account)), Some(account));
                }
            }
        }
        for text in [
            "",
            "team",
            "team:calls:day",
            "team:calls:day:x",
            "team:calls:eon:00000000-0000-0000-0000-000000000007",
        ] {
            assert_eq!(account_of(text), None, "{text}");
        }
    }
}
