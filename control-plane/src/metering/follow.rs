//! What is published, put in force: accounts and their terms in the bank, limits in memory. Only what differs is said, since there may
//! be a budget for each of a hundred thousand keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_metering::accounts::Command;
use portcullis_metering::{AccountId, Override, Terms};
use portcullis_policy::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bank::{Bank, Closed};
use super::limits::Limits;
use crate::publish::Published;

/// Commands that the bank carries out in one turn: leases wait no longer than for these.
const IN_TURN: usize = 1_024;
/// Who says so, in the journal.
const BY: &str = "policy";

type InForce = BTreeMap<AccountId, (Terms, Option<Override>)>;

/// Follows what is published until the token is cancelled, or the bank is closed.
pub(crate) async fn follow(
    bank: Bank,
    limits: Arc<Limits>,
    mut published: watch::Receiver<Option<Arc<Published>>>,
    stop: CancellationToken,
) {
    let following = async {
        let mut in_force = bank.read(|books, _| in_force(&books.accounts)).await?;
        loop {
            let latest = published.borrow_and_update().clone();
            if let Some(latest) = latest {
                limits.set(&latest.snapshot);
                in_force = configure(&bank, in_force, &latest.snapshot).await?;
            }
            if published.changed().await.is_err() {
                return Ok::<_, Closed>(());
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        followed = following => if let Err(closed) = followed {
            tracing::debug!(%closed, "metering follows the policy no more");
        }
    }
}

fn in_force(accounts: &portcullis_metering::accounts::Accounts) -> InForce {
    accounts.ids().filter_map(|id| Some((id, accounts.terms(id)?))).collect()
}

/// Puts the budgets of a snapshot in force.
async fn configure(bank: &Bank, in_force: InForce, snapshot: &Snapshot) -> Result<InForce, Closed> {
    let wanted: InForce =
        snapshot.budgets().map(|(_, budget)| (budget.account, (budget.terms, budget.by_override))).collect();
    let commands = differences(&in_force, &wanted);
    drop(in_force);
    for part in commands.chunks(IN_TURN) {
        let part = part.to_vec();
        bank.run(move |round| {
            for command in &part {
                if let Err(refusal) = round.command(command)? {
                    tracing::error!(%refusal, "a budget could not be put in force");
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(wanted)
}

/// What takes the one to the other: first what is new or other, then what is gone.
fn differences(before: &InForce, after: &InForce) -> Vec<Command> {
    let mut commands = Vec::new();
    for (account, (terms, by_override)) in after {
        let known = before.get(account);
        if known.is_none_or(|(known, _)| known != terms) {
            commands.push(Command::Configure { account: *account, terms: *terms });
        }
        if known.map_or(by_override.is_some(), |(_, known)| known != by_override) {
            let (reason, by) = ("as its resource says".to_owned(), BY.to_owned());
            commands.push(Command::Override { account: *account, by_override: *by_override, reason, by });
        }
    }
    let gone = before.keys().filter(|account| !after.contains_key(account));
    commands.extend(gone.map(|account| Command::Remove { account: *account }));
    commands
}

#[cfg(test)]
mod tests;
