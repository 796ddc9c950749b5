use super::*;

fn every_account() -> Vec<AccountId> {
    let mut all = Vec::new();
    for level in [Level::Customer, Level::Team, Level::Key, Level::Server, Level::Tool] {
        for unit in [Unit::Calls, Unit::MicroUsd] {
            for length in Length::ALL {
                for rolling in [false, true] {
                    all.push(AccountId { level, owner: Uuid::from_u128(9), unit, length, rolling });
                }
            }
        }
    }
    all
}

#[test]
fn every_account_comes_back_as_it_went() {
    for known in every_account() {
        assert_eq!(account(Some(&account_to_proto(known))), Ok(known));
    }
}

#[test]
fn an_account_that_lacks_something_names_nothing() {
    let whole = account_to_proto(every_account()[0]);
    let table: [fn(&mut proto::Account); 6] = [
        |account| account.level = 0,
        |account| account.level = 99,
        |account| account.unit = 0,
        |account| account.length = 0,
        |account| account.owner = Vec::new().into(),
        |account| account.owner = vec![1; 17].into(),
    ];
    for spoil in table {
        let mut account = whole.clone();
        spoil(&mut account);
        assert_eq!(super::account(Some(&account)), Err(Malformed::Account), "{account:?}");
    }
    assert_eq!(account(None), Err(Malformed::Account));
}

#[test]
fn a_bucket_has_a_limit_and_maybe_a_subject() {
    let ask = |limit: usize, subject: usize| proto::ShareAsk {
        limit: vec![1; limit].into(),
        subject: vec![2; subject].into(),
        ..proto::ShareAsk::default()
    };
    let (limit, subject) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    assert_eq!(bucket(&ask(16, 0)), Ok((limit, None)));
    assert_eq!(bucket(&ask(16, 16)), Ok((limit, Some(subject))));
    for (limit, subject) in [(0, 0), (15, 0), (16, 3)] {
        assert_eq!(bucket(&ask(limit, subject)), Err(Malformed::Limit));
    }
}
