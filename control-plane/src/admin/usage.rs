//! The `Usage` service: how budgets stand, and what people correct of it. A correction is in the bank's journal with who and why before it
//! is answered, and in the history of changes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_metering::accounts::{Command, Refusal};
use portcullis_metering::{AccountId, Length, Level, Unit};
use portcullis_policy::Snapshot;
use portcullis_policy::resource::Uid;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::usage_server::Usage;
use serde_json::json;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::authn::author;
use super::tally::{By, Tally};
use crate::clock::Clock;
use crate::metering::figures::unit_name;
use crate::metering::{Metering, Standing};
use crate::publish::Publisher;
use crate::registry::RegistryError;
use crate::store::{Op, Store, TransactError, transact};
use crate::stream::Planes;

/// The kind of the objects in the store that history shows corrections by: for each budget the last one.
const CORRECTION: &str = "BudgetCorrection";
/// How many of them are kept; the history of those that go stays.
const MAX_CORRECTIONS: usize = 10_000;
/// Budgets that a refusal names.
const NAMED: usize = 10;

/// The service.
pub(super) struct UsageService {
    metering: Metering,
    publisher: Publisher,
    store: Arc<dyn Store>,
    planes: Planes,
    clock: Clock,
    /// One count at a time: planes answer one question at a time.
    counting: Mutex<()>,
}

impl std::fmt::Debug for UsageService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsageService").finish_non_exhaustive()
    }
}

impl UsageService {
    /// Tells what this bank holds of the budgets that are published.
    #[must_use]
    pub(super) fn new(
        metering: Metering,
        publisher: Publisher,
        store: Arc<dyn Store>,
        planes: Planes,
        clock: Clock,
    ) -> Self {
        Self { metering, publisher, store, planes, clock, counting: Mutex::default() }
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Status> {
        let published =
            self.publisher.current().ok_or_else(|| Status::unavailable("nothing is published yet"))?;
        Ok(Arc::clone(&published.snapshot))
    }

    async fn standings(
        &self,
        wanted: BTreeSet<AccountId>,
    ) -> Result<BTreeMap<AccountId, Vec<Standing>>, Status> {
        Ok(self.metering.bank.read(move |books, now| books.standings(now, &wanted)).await?)
    }

    /// Carries out a correction of the one budget that is selected, and tells how it stands then.
    async fn correct(
        &self,
        by: &str,
        selector: Option<proto::BudgetSelector>,
        reason: &str,
        what: Correction,
    ) -> Result<proto::BudgetUsage, Status> {
        let reason = reason.trim().to_owned();
        if reason.is_empty() {
            return Err(RegistryError::invalid(
                "--reason",
                "a correction of usage needs a reason".to_owned(),
            )
            .into());
        }
        let selector = Selector::read(&selector.unwrap_or_default())?;
        let (account, label) = selector.only(&*self.snapshot()?)?;
        let command = what.command(account, &reason, by);
        let corrected = self.metering.bank.run(move |round| {
            let refused = round.command(&command)?;
            Ok(refused.map(|()| round.books.standings(round.now, &BTreeSet::from([account]))))
        });
        let standings = corrected.await?.map_err(refused)?;
        self.tell_history(by, account, &label, &reason, what).await;
        let standing = standings.get(&account).and_then(|standings| standings.first());
        let standing = standing.ok_or_else(|| Status::internal("the corrected budget is gone"))?;
        Ok(to_proto(account, &label, standing))
    }

    /// Adds the correction to the history of changes. What counts is the bank's journal: a history that takes nothing at the moment
    /// does not undo the correction.
    async fn tell_history(&self, by: &str, account: AccountId, label: &str, reason: &str, what: Correction) {
        let now = self.clock.now_unix_ms();
        let rolling = if account.rolling { "-rolling" } else { "" };
        let (level, unit, length) = (account.level, unit_name(account.unit), account.length);
        let name: Arc<str> = format!("{level}-{}-{unit}-{length}{rolling}", account.owner).into();
        let body = json!({
            "level": level.to_string(),
            "name": label,
            "unit": unit,
            "period": length.name(),
            "rolling": account.rolling,
            "did": what.to_string(),
            "reason": reason,
            "unixMs": now,
        });
        let message = format!("{what}: {unit} per {length} of {level} {label}: {reason}");
        let told = transact(&*self.store, by, &message, now, |state| {
            let mut ops = Vec::new();
            if state.get(CORRECTION, &name).is_none() && state.count(CORRECTION) >= MAX_CORRECTIONS {
                let at = |body: &serde_json::Value| body.get("unixMs").and_then(serde_json::Value::as_u64);
                let oldest = state.list(CORRECTION).min_by_key(|object| at(&object.body));
                ops.extend(
                    oldest
                        .map(|object| Op::Delete { kind: CORRECTION.into(), name: Arc::clone(&object.name) }),
                );
            }
            let (kind, uid) = (CORRECTION.into(), Uid(account.owner));
            ops.push(Op::Put { kind, name: Arc::clone(&name), uid, body: body.clone() });
            Ok::<_, std::convert::Infallible>((ops, ()))
        });
        if let Err(error) = told.await {
            let error: TransactError<_> = error;
            tracing::error!(%account, by, reason, %error, "a correction of usage stands in the journal of metering, and not in the history");
        }
    }
}

/// What a person does to a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Correction {
    Reset,
    Adjust(i64),
}

impl std::fmt::Display for Correction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset => f.write_str("reset usage"),
            Self::Adjust(credit) => write!(f, "adjust usage by a credit of {credit}"),
        }
    }
}

impl Correction {
    fn command(self, account: AccountId, reason: &str, by: &str) -> Command {
        let (reason, by) = (reason.to_owned(), by.to_owned());
        match self {
            Self::Reset => Command::Reset { account, reason, by },
            Self::Adjust(credit) => Command::Adjust { account, credit, reason, by },
        }
    }
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownAccount(_) => {
            Status::unavailable("this budget was only just applied; try again in a moment")
        }
        other => Status::invalid_argument(other.to_string()),
    }
}

/// Which budgets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selector {
    level: Option<Level>,
    name: Option<String>,
    unit: Option<Unit>,
    length: Option<Length>,
}

impl Selector {
    fn read(said: &proto::BudgetSelector) -> Result<Self, RegistryError> {
        let level = match said.level.as_str() {
            "" => None,
            "customer" => Some(Level::Customer),
            "team" => Some(Level::Team),
            "key" => Some(Level::Key),
            "server" => Some(Level::Server),
            "tool" => Some(Level::Tool),
            other => {
                let message = format!("{other:?} is no level: it is customer, team, key, server or tool");
                return Err(RegistryError::invalid("level", message));
            }
        };
        let unit = match said.unit.as_str() {
            "" => None,
            "calls" => Some(Unit::Calls),
            "micro-usd" => Some(Unit::MicroUsd),
            other => {
                let message = format!("{other:?} is no unit: it is calls or micro-usd");
                return Err(RegistryError::invalid("--unit", message));
            }
        };
        let length = match said.period.as_str() {
            "" => None,
            text => {
                let parsed = text.parse();
                Some(parsed.map_err(|_| {
                    let all = "a period is one of 1m 1h 1d 1w 1mo 3mo 1y";
                    RegistryError::invalid("--period", format!("{text:?} is no period: {all}"))
                })?)
            }
        };
        let name = Some(said.name.clone()).filter(|name| !name.is_empty());
        Ok(Self { level, name, unit, length })
    }

    /// The budgets that fit, in the order of levels, names, units and periods.
    fn all(&self, snapshot: &Snapshot) -> Vec<(AccountId, String)> {
        let fits = |account: &AccountId| {
            self.level.is_none_or(|level| level == account.level)
                && self.unit.is_none_or(|unit| unit == account.unit)
                && self.length.is_none_or(|length| length == account.length)
        };
        let mut found: Vec<(AccountId, String)> = snapshot
            .budgets()
            .filter(|(_, budget)| fits(&budget.account))
            .map(|(owner, budget)| (budget.account, owner.label()))
            .filter(|(_, label)| self.name.as_ref().is_none_or(|name| name == label))
            .collect();
        found.sort_by(|(a, a_label), (b, b_label)| {
            let of = |account: &AccountId| (account.unit, account.length, account.rolling);
            a.level.cmp(&b.level).then_with(|| a_label.cmp(b_label)).then_with(|| of(a).cmp(&of(b)))
        });
        found
    }

    /// The one budget that fits.
    fn only(&self, snapshot: &Snapshot) -> Result<(AccountId, String), RegistryError> {
        if self.level.is_none() || self.name.is_none() {
            return Err(RegistryError::invalid(
                "level",
                "name the level and the owner of one budget".to_owned(),
            ));
        }
        let mut found = self.all(snapshot);
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(RegistryError::Refused("no budget fits this".to_owned())),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                found.push(last);
                let count = found.len();
                let named: Vec<String> =
                    found.iter().take(NAMED).map(|(account, label)| choice(*account, label)).collect();
                let more = if count > NAMED { ", …" } else { "" };
                let message =
                    format!("{count} budgets fit: {}{more}; say --unit, --period", named.join(", "));
                Err(RegistryError::Refused(message))
            }
        }
    }
}

fn choice(account: AccountId, label: &str) -> String {
    let rolling = if account.rolling { " (rolling)" } else { "" };
    format!("{} {label} {} per {}{rolling}", account.level, unit_name(account.unit), account.length)
}

fn to_proto(account: AccountId, label: &str, standing: &Standing) -> proto::BudgetUsage {
    let totals = standing.totals;
    proto::BudgetUsage {
        level: account.level.to_string(),
        name: label.to_owned(),
        unit: unit_name(account.unit).to_owned(),
        period: account.length.name().to_owned(),
        rolling: account.rolling,
        start_unix_ms: standing.start.0,
        end_unix_ms: standing.end.map_or(0, |end| end.0),
        current: standing.current,
        limit: standing.limit,
        used: standing.used,
        left: standing.left,
        spent: totals.spent,
        held: totals.held,
        written_off: totals.written_off,
        debt: standing.debt,
        adjusted: standing.adjusted,
        granted: totals.granted,
        returned: totals.returned,
    }
}

#[tonic::async_trait]
impl Usage for UsageService {
    async fn list_usage(
        &self,
        request: Request<proto::ListUsageRequest>,
    ) -> Result<Response<proto::ListUsageResponse>, Status> {
        author(&request)?;
        let request = request.into_inner();
        let chosen = Selector::read(&request.budgets.unwrap_or_default())?.all(&*self.snapshot()?);
        let standings = self.standings(chosen.iter().map(|(account, _)| *account).collect()).await?;
        let told = |(account, label): &(AccountId, String)| {
            let standings = standings.get(account).map(Vec::as_slice).unwrap_or_default();
            let shown = standings.iter().filter(|standing| standing.current || request.with_past);
            shown.map(|standing| to_proto(*account, label, standing)).collect::<Vec<_>>()
        };
        Ok(Response::new(proto::ListUsageResponse { budgets: chosen.iter().flat_map(told).collect() }))
    }

    async fn reset_usage(
        &self,
        request: Request<proto::ResetUsageRequest>,
    ) -> Result<Response<proto::ResetUsageResponse>, Status> {
        let by = author(&request)?;
        let proto::ResetUsageRequest { budget, reason } = request.into_inner();
        let budget = self.correct(&by, budget, &reason, Correction::Reset).await?;
        Ok(Response::new(proto::ResetUsageResponse { budget: Some(budget) }))
    }

    async fn adjust_usage(
        &self,
        request: Request<proto::AdjustUsageRequest>,
    ) -> Result<Response<proto::AdjustUsageResponse>, Status> {
        let by = author(&request)?;
        let proto::AdjustUsageRequest { budget, credit, reason } = request.into_inner();
        if credit == 0 {
            return Err(RegistryError::invalid("credit", "a credit of 0 changes nothing".to_owned()).into());
        }
        let budget = self.correct(&by, budget, &reason, Correction::Adjust(credit)).await?;
        Ok(Response::new(proto::AdjustUsageResponse { budget: Some(budget) }))
    }

    async fn count_usage(
        &self,
        request: Request<proto::CountUsageRequest>,
    ) -> Result<Response<proto::CountUsageResponse>, Status> {
        author(&request)?;
        let request = request.into_inner();
        let by: By = request.by.parse().map_err(|message| RegistryError::invalid("--by", message))?;
        let now = self.clock.now_unix_ms();
        let until = if request.until_unix_ms == 0 { now } else { request.until_unix_ms };
        if request.since_unix_ms >= until {
            let message = "the window ends before it begins".to_owned();
            return Err(RegistryError::invalid("--since", message).into());
        }
        let Ok(_turn) = self.counting.try_lock() else {
            return Err(Status::resource_exhausted("another count is on its way; try again when it is over"));
        };
        let tally = Tally::new(by, self.snapshot()?, request.since_unix_ms, until);
        Ok(Response::new(tally.of_planes(&self.planes).await))
    }
}

#[cfg(test)]
mod tests;
