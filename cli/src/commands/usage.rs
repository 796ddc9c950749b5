//! `usage`, `usage reset|adjust|count`: how budgets stand, and what people correct of it.

use chrono::Utc;
use portcullis_proto::admin::v1 as api;
use serde_json::{Value, json};

use crate::args::AskArgs;
use crate::args::usage::{BudgetArgs, UsageArgs, UsageCommand, UsageCountArgs, UsageListArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table, time};

/// Characters between the brackets of a bar.
const BAR: u64 = 10;

pub(crate) async fn run(args: UsageArgs) -> Result<(), Failure> {
    match args.command {
        None => list(args.list).await,
        Some(UsageCommand::Reset(args)) => {
            let client = Client::connect(&args.ask.server).await?;
            let budget = selector(args.level.as_str(), args.name, args.budget);
            let request = api::ResetUsageRequest { budget: Some(budget), reason: args.reason };
            let reply = client.usage().reset_usage(request).await?.into_inner();
            show_one(&args.ask, reply.budget)
        }
        Some(UsageCommand::Adjust(args)) => {
            let client = Client::connect(&args.ask.server).await?;
            let budget = selector(args.level.as_str(), args.name, args.budget);
            let request =
                api::AdjustUsageRequest { budget: Some(budget), credit: args.credit, reason: args.reason };
            let reply = client.usage().adjust_usage(request).await?.into_inner();
            show_one(&args.ask, reply.budget)
        }
        Some(UsageCommand::Count(args)) => count(args).await,
    }
}

async fn list(args: UsageListArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let level = args.by.map(crate::args::usage::LevelArg::as_str).unwrap_or_default();
    let budgets = selector(level, args.name.unwrap_or_default(), args.budget);
    let request = api::ListUsageRequest { budgets: Some(budgets), with_past: args.past };
    let budgets = client.usage().list_usage(request).await?.into_inner().budgets;
    show(&args.ask, &budgets)
}

fn selector(level: &str, name: String, budget: BudgetArgs) -> api::BudgetSelector {
    api::BudgetSelector {
        level: level.to_owned(),
        name,
        unit: budget.unit.unwrap_or_default(),
        period: budget.period.unwrap_or_default(),
    }
}

fn show_one(ask: &AskArgs, budget: Option<api::BudgetUsage>) -> Result<(), Failure> {
    let budget =
        budget.ok_or_else(|| Failure::new("the control plane did not tell how the budget stands now"))?;
    show(ask, &[budget])
}

fn show(ask: &AskArgs, budgets: &[api::BudgetUsage]) -> Result<(), Failure> {
    let items: Vec<Value> = budgets.iter().map(item).collect();
    output::print(ask.output.output, &json!({ "items": items }), || {
        let rows = budgets.iter().map(|budget| {
            [
                budget.level.clone(),
                budget.name.clone(),
                budget.unit.clone(),
                if budget.rolling { format!("{} rolling", budget.period) } else { budget.period.clone() },
                budget.used.to_string(),
                if budget.current { budget.limit.to_string() } else { "-".to_owned() },
                budget.held.to_string(),
                budget.written_off.to_string(),
                budget.debt.to_string(),
                if budget.current { bar(budget.left, budget.limit) } else { "ended".to_owned() },
                ends(budget),
            ]
        });
        let head = [
            "LEVEL",
            "NAME",
            "UNIT",
            "PERIOD",
            "USED",
            "LIMIT",
            "HELD",
            "WRITTEN OFF",
            "DEBT",
            "LEFT",
            "ENDS",
        ];
        table(&head, rows)
    })
}

fn item(budget: &api::BudgetUsage) -> Value {
    json!({
        "level": budget.level,
        "name": budget.name,
        "unit": budget.unit,
        "period": budget.period,
        "rolling": budget.rolling,
        "start": time::rfc3339(budget.start_unix_ms),
        "end": (budget.end_unix_ms > 0).then(|| time::rfc3339(budget.end_unix_ms)),
        "current": budget.current,
        "limit": budget.current.then_some(budget.limit),
        "used": budget.used,
        "left": budget.current.then_some(budget.left),
        "spent": budget.spent,
        "held": budget.held,
        "returned": budget.returned,
        "writtenOff": budget.written_off,
        "granted": budget.granted,
        "debt": budget.debt,
        "adjusted": budget.adjusted,
    })
}

fn ends(budget: &api::BudgetUsage) -> String {
    if budget.end_unix_ms == 0 { "-".to_owned() } else { time::rfc3339(budget.end_unix_ms) }
}

/// What is left of a limit, as `[#######---] 70% left`. Rounded down: a full bar means all, an empty one may mean a little.
fn bar(left: u64, limit: u64) -> String {
    let of = |whole: u64| {
        let part = u128::from(left.min(limit)) * u128::from(whole) / u128::from(limit.max(1));
        usize::try_from(part).unwrap_or(0)
    };
    let (full, width) = (of(BAR), usize::try_from(BAR).unwrap_or(0));
    format!("[{}{}] {}% left", "#".repeat(full), "-".repeat(width.saturating_sub(full)), of(100))
}

async fn count(args: UsageCountArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let now = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
    let window = u64::try_from(args.since.0.as_millis()).unwrap_or(u64::MAX);
    let request =
        api::CountUsageRequest { by: args.by, since_unix_ms: now.saturating_sub(window), until_unix_ms: 0 };
    let reply = client.usage().count_usage(request).await?.into_inner();
    let items: Vec<Value> = reply
        .counts
        .iter()
        .map(|count| {
            json!({
                "name": count.name,
                "calls": count.calls,
                "denied": count.denied,
                "failed": count.failed,
                "microUsd": count.micro_usd,
            })
        })
        .collect();
    output::print(args.ask.output.output, &json!({ "items": items, "missing": reply.missing }), || {
        for missing in &reply.missing {
            output::note(&format!("not counted: {missing}"));
        }
        let rows = reply.counts.iter().map(|count| {
            let numbers = [count.calls, count.denied, count.failed, count.micro_usd];
            std::iter::once(count.name.clone()).chain(numbers.map(|number| number.to_string()))
        });
        table(&["NAME", "CALLS", "DENIED", "FAILED", "MICRO-USD"], rows)
    })
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_shows_what_is_left_and_rounds_down() {
        for (left, limit, shown) in [
            (70, 100, "[#######---] 70% left"),
            (1_000, 1_000, "[##########] 100% left"),
            (999, 1_000, "[#########-] 99% left"),
            (1, 1_000, "[----------] 0% left"),
            (0, 0, "[----------] 0% left"),
            (9, 4, "[##########] 100% left"),
            (u64::MAX, u64::MAX, "[##########] 100% left"),
        ] {
            assert_eq!(bar(left, limit), shown);
        }
    }
}
