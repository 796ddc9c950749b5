use portcullis_metering::{FiscalMonth, Length, Level, Unit, Utc};
use uuid::Uuid;

use super::*;

fn account(owner: u128) -> AccountId {
    AccountId {
        level: Level::Key,
        owner: Uuid::from_u128(owner),
        unit: Unit::Calls,
        length: Length::Day,
        rolling: false,
    }
}

fn terms(limit: u64) -> Terms {
    Terms { limit, warn_at: None, fiscal_month: FiscalMonth::JANUARY }
}

#[test]
fn only_what_differs_is_said() {
    let over = Override { limit: 9, until: Utc(5) };
    let before: InForce = [
        (account(1), (terms(1), None)),
        (account(2), (terms(2), None)),
        (account(3), (terms(3), Some(over))),
        (account(4), (terms(4), Some(over))),
    ]
    .into();
    let after: InForce = [
        (account(1), (terms(1), None)),
        (account(2), (terms(20), Some(over))),
        (account(3), (terms(3), None)),
        (account(5), (terms(5), Some(over))),
        (account(6), (terms(6), None)),
    ]
    .into();
    let told: Vec<(u128, &str)> = differences(&before, &after)
        .iter()
        .map(|command| match command {
            Command::Configure { account, .. } => (account.owner.as_u128(), "configure"),
            Command::Override { account, by_override: Some(_), .. } => (account.owner.as_u128(), "override"),
            Command::Override { account, .. } => (account.owner.as_u128(), "end override"),
            Command::Remove { account } => (account.owner.as_u128(), "remove"),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (2, "configure"),
        (2, "override"),
        (3, "end override"),
        (5, "configure"),
        (5, "override"),
        (6, "configure"),
        (4, "remove"),
    ];
    assert_eq!(told, expected);
    assert!(differences(&after, &after).is_empty());
}
