//! Messages between the wire and the bank. What is malformed names nothing, and is refused before the bank hears of it.

use portcullis_metering::{
    AccountId, Answer, Ask, Assignment, Close, Closed, Epoch, Holder, Length, Level, OverDebt, OverLine,
    ShareAsk, Unit, Used,
};
use portcullis_proto::lease::v1 as proto;
use tonic::Status;
use uuid::Uuid;

/// What is wrong with a message of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("an account has a level, an owner of 16 bytes, a unit and a length")]
    Account,
    #[error("a limit has an id of 16 bytes, and its subject none or 16")]
    Limit,
    #[error("a plane has an id and a nonce of 16 bytes that are not all zero, and lives are counted from 1")]
    Birth,
    #[error("{0}")]
    Bounds(&'static str),
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

/// 16 bytes as an id.
pub(super) fn id(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok()
}

/// The limit of an ask for a share, and whose bucket it is.
pub(super) fn bucket(ask: &proto::ShareAsk) -> Result<(Uuid, Option<Uuid>), Malformed> {
    let limit = id(&ask.limit).ok_or(Malformed::Limit)?;
    let subject = match ask.subject.is_empty() {
        true => None,
        false => Some(id(&ask.subject).ok_or(Malformed::Limit)?),
    };
    Ok((limit, subject))
}

pub(super) fn account(account: Option<&proto::Account>) -> Result<AccountId, Malformed> {
    let account = account.ok_or(Malformed::Account)?;
    let level = match account.level() {
        proto::Level::Unspecified => return Err(Malformed::Account),
        proto::Level::Customer => Level::Customer,
        proto::Level::Team => Level::Team,
        proto::Level::Key => Level::Key,
        proto::Level::Server => Level::Server,
        proto::Level::Tool => Level::Tool,
    };
    let unit = match account.unit() {
        proto::Unit::Unspecified => return Err(Malformed::Account),
        proto::Unit::Calls => Unit::Calls,
        proto::Unit::MicroUsd => Unit::MicroUsd,
    };
    let length = match account.length() {
        proto::Length::Unspecified => return Err(Malformed::Account),
        proto::Length::Minute => Length::Minute,
        proto::Length::Hour => Length::Hour,
        proto::Length::Day => Length::Day,
        proto::Length::Week => Length::Week,
        proto::Length::Month => Length::Month,
        proto::Length::Quarter => Length::Quarter,
        proto::Length::Year => Length::Year,
    };
    let owner = id(&account.owner).ok_or(Malformed::Account)?;
    Ok(AccountId { level, owner, unit, length, rolling: account.rolling })
}

fn used(used: Option<proto::Used>) -> Used {
    let proto::Used { spent, lost, returned } = used.unwrap_or_default();
    Used { spent, lost, returned }
}

pub(super) fn ask(holder: Holder, ask: &proto::Ask) -> Result<Ask, Malformed> {
    Ok(Ask {
        holder,
        account: account(ask.account.as_ref())?,
        seq: ask.seq,
        epoch: Epoch(ask.epoch),
        oldest: Epoch(ask.oldest),
        used: used(ask.used),
        in_use: ask.in_use,
        want: ask.want,
        need: ask.need,
        debt: ask.debt,
    })
}

pub(super) fn close(holder: Holder, close: &proto::Close) -> Result<Close, Malformed> {
    Ok(Close {
        holder,
        account: account(close.account.as_ref())?,
        epoch: Epoch(close.epoch),
        spent: close.spent,
        in_use: close.in_use,
    })
}

pub(super) const fn share_ask(ask: &proto::ShareAsk) -> ShareAsk {
    ShareAsk { seq: ask.seq, serial: ask.serial, holding: ask.holding, demand: ask.demand }
}

pub(super) fn over_line(line: &proto::OverLine) -> Result<OverLine, Malformed> {
    let (epoch, spent, ceiling) = (Epoch(line.epoch), line.spent, line.ceiling);
    Ok(OverLine { account: account(line.account.as_ref())?, epoch, spent, ceiling })
}

pub(super) fn over_debt(debt: &proto::OverDebt) -> Result<OverDebt, Malformed> {
    Ok(OverDebt { account: account(debt.account.as_ref())?, debt: debt.debt })
}

fn account_to_proto(account: AccountId) -> proto::Account {
    let level = match account.level {
        Level::Customer => proto::Level::Customer,
        Level::Team => proto::Level::Team,
        Level::Key => proto::Level::Key,
        Level::Server => proto::Level::Server,
        Level::Tool => proto::Level::Tool,
    };
    let unit = match account.unit {
        Unit::Calls => proto::Unit::Calls,
        Unit::MicroUsd => proto::Unit::MicroUsd,
    };
    let length = match account.length {
        Length::Minute => proto::Length::Minute,
        Length::Hour => proto::Length::Hour,
        Length::Day => proto::Length::Day,
        Length::Week => proto::Length::Week,
        Length::Month => proto::Length::Month,
        Length::Quarter => proto::Length::Quarter,
        Length::Year => proto::Length::Year,
    };
    proto::Account {
        level: level.into(),
        owner: account.owner.as_bytes().to_vec().into(),
        unit: unit.into(),
        length: length.into(),
        rolling: account.rolling,
    }
}

pub(super) fn answer_to_proto(answer: &Answer) -> proto::Answer {
    let Used { spent, lost, returned } = answer.used;
    proto::Answer {
        account: Some(account_to_proto(answer.account)),
        seq: answer.seq,
        epoch: answer.epoch.0,
        granted: answer.granted,
        used: Some(proto::Used { spent, lost, returned }),
        usable_for_ms: answer.usable_for_ms,
        cap: answer.cap,
        left: answer.left,
        refills_in_ms: answer.refills_in_ms,
        debt: answer.debt,
    }
}

pub(super) fn refused_to_proto(ask: &Ask) -> proto::Refused {
    proto::Refused { account: Some(account_to_proto(ask.account)), seq: ask.seq }
}

pub(super) fn closed_to_proto(closed: &Closed) -> proto::Closed {
    proto::Closed {
        account: Some(account_to_proto(closed.account)),
        epoch: closed.epoch.0,
        open: closed.open,
    }
}

pub(super) fn assignment_to_proto(ask: proto::ShareAsk, assignment: &Assignment) -> proto::Assignment {
    proto::Assignment {
        limit: ask.limit,
        subject: ask.subject,
        seq: assignment.seq,
        serial: assignment.serial,
        share: assignment.share,
        gift: assignment.gift,
        term_ms: assignment.term_ms,
    }
}

#[cfg(test)]
mod tests;
