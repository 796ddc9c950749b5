//! Between the messages of `portcullis.lease.v1` and the types of `portcullis_metering`.

use bytes::Bytes;
use portcullis_metering as own;
use portcullis_metering::{AccountId, Epoch, Holder, Length, Level, Unit, Used};
use portcullis_policy::metering::LimitId;
use portcullis_proto::lease::v1 as wire;
use uuid::Uuid;

use super::limits::Key;

pub(super) fn uuid(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

pub(super) fn account(id: AccountId) -> Option<wire::Account> {
    let level = match id.level {
        Level::Customer => wire::Level::Customer,
        Level::Team => wire::Level::Team,
        Level::Key => wire::Level::Key,
        Level::Server => wire::Level::Server,
        Level::Tool => wire::Level::Tool,
    };
    let unit = match id.unit {
        Unit::Calls => wire::Unit::Calls,
        Unit::MicroUsd => wire::Unit::MicroUsd,
    };
    let length = match id.length {
        Length::Minute => wire::Length::Minute,
        Length::Hour => wire::Length::Hour,
        Length::Day => wire::Length::Day,
        Length::Week => wire::Length::Week,
        Length::Month => wire::Length::Month,
        Length::Quarter => wire::Length::Quarter,
        Length::Year => wire::Length::Year,
    };
    Some(wire::Account {
        level: level.into(),
        owner: uuid(id.owner),
        unit: unit.into(),
        length: length.into(),
        rolling: id.rolling,
    })
}

/// `None` for what no version of this program names so.
pub(super) fn account_of(account: Option<&wire::Account>) -> Option<AccountId> {
    let account = account?;
    let level = match account.level() {
        wire::Level::Customer => Level::Customer,
        wire::Level::Team => Level::Team,
        wire::Level::Key => Level::Key,
        wire::Level::Server => Level::Server,
        wire::Level::Tool => Level::Tool,
        wire::Level::Unspecified => return None,
    };
    let unit = match account.unit() {
        wire::Unit::Calls => Unit::Calls,
        wire::Unit::MicroUsd => Unit::MicroUsd,
        wire::Unit::Unspecified => return None,
    };
    let length = match account.length() {
        wire::Length::Minute => Length::Minute,
        wire::Length::Hour => Length::Hour,
        wire::Length::Day => Length::Day,
        wire::Length::Week => Length::Week,
        wire::Length::Month => Length::Month,
        wire::Length::Quarter => Length::Quarter,
        wire::Length::Year => Length::Year,
        wire::Length::Unspecified => return None,
    };
    let owner = Uuid::from_slice(&account.owner).ok()?;
    Some(AccountId { level, owner, unit, length, rolling: account.rolling })
}

pub(super) fn ask(ask: &own::Ask) -> wire::Ask {
    wire::Ask {
        account: account(ask.account),
        seq: ask.seq,
        epoch: ask.epoch.0,
        oldest: ask.oldest.0,
        used: Some(wire::Used { spent: ask.used.spent, lost: ask.used.lost, returned: ask.used.returned }),
        in_use: ask.in_use,
        want: ask.want,
        need: ask.need,
        debt: ask.debt,
    }
}

pub(super) fn close(close: &own::Close) -> wire::Close {
    wire::Close {
        account: account(close.account),
        epoch: close.epoch.0,
        spent: close.spent,
        in_use: close.in_use,
    }
}

pub(super) fn share_ask((limit, subject): Key, ask: own::ShareAsk) -> wire::ShareAsk {
    wire::ShareAsk {
        limit: uuid(limit.0),
        subject: if subject.is_nil() { Bytes::new() } else { uuid(subject) },
        seq: ask.seq,
        serial: ask.serial,
        holding: ask.holding,
        demand: ask.demand,
    }
}

/// An earlier life, in parts of at most so many lines and debts together.
pub(super) fn over(over: &own::Over, most: usize) -> Vec<wire::OverPart> {
    let line = |line: &own::OverLine| wire::OverLine {
        account: account(line.account),
        epoch: line.epoch.0,
        spent: line.spent,
        ceiling: line.ceiling,
    };
    let debt = |debt: &own::OverDebt| wire::OverDebt { account: account(debt.account), debt: debt.debt };
    let life = over.holder.life;
    let of_lines = over.lines.chunks(most).map(|lines| wire::OverPart {
        life,
        lines: lines.iter().map(line).collect(),
        debts: Vec::new(),
        more: true,
    });
    let of_debts = over.debts.chunks(most).map(|debts| wire::OverPart {
        life,
        lines: Vec::new(),
        debts: debts.iter().map(debt).collect(),
        more: true,
    });
    let last = wire::OverPart { life, lines: Vec::new(), debts: Vec::new(), more: false };
    of_lines.chain(of_debts).chain([last]).collect()
}

pub(super) fn answer(holder: Holder, answer: &wire::Answer) -> Option<own::Answer> {
    let used = answer.used.unwrap_or_default();
    Some(own::Answer {
        holder,
        account: account_of(answer.account.as_ref())?,
        seq: answer.seq,
        epoch: Epoch(answer.epoch),
        granted: answer.granted,
        used: Used { spent: used.spent, lost: used.lost, returned: used.returned },
        usable_for_ms: answer.usable_for_ms,
        cap: answer.cap,
        left: answer.left,
        refills_in_ms: answer.refills_in_ms,
        debt: answer.debt,
    })
}

pub(super) fn closed(holder: Holder, closed: &wire::Closed) -> Option<own::Closed> {
    let account = account_of(closed.account.as_ref())?;
    Some(own::Closed { holder, account, epoch: Epoch(closed.epoch), open: closed.open })
}

pub(super) fn assignment(assignment: &wire::Assignment) -> Option<(Key, own::Assignment)> {
    let limit = LimitId(Uuid::from_slice(&assignment.limit).ok()?);
    let subject = match &*assignment.subject {
        [] => Uuid::nil(),
        bytes => Uuid::from_slice(bytes).ok()?,
    };
    let wire::Assignment { seq, serial, share, gift, term_ms, .. } = *assignment;
    Some(((limit, subject), own::Assignment { seq, serial, share, gift, term_ms }))
}
