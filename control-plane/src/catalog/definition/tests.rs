use portcullis_policy::resource::ToolRules;

use super::*;

const NEW: &[NewTools] = &[NewTools::RequireApproval, NewTools::Approve, NewTools::Ignore];
const CHANGED: &[ChangedTools] = &[ChangedTools::Quarantine, ChangedTools::KeepPinned, ChangedTools::Approve];

fn rules(new_tools: NewTools, changed_tools: ChangedTools) -> ToolRules {
    ToolRules { new_tools, changed_tools, ..ToolRules::default() }
}

fn careful() -> ToolRules {
    rules(NewTools::RequireApproval, ChangedTools::Quarantine)
}

fn text(letter: char) -> String {
    format!("{{\"name\":\"t\",\"description\":\"{letter}\"}}")
}

fn print(letter: char) -> Fingerprint {
    Fingerprint::from_bytes(sha256(text(letter).as_bytes()))
}

/// What the review found: nothing.
const CLEAN: Option<Risk> = Some(Risk { highest: None, findings: 0 });

fn definition(kind: DefinitionKind) -> StoredDefinition {
    StoredDefinition::new(Uid(uuid::Uuid::nil()), kind, "t".to_owned())
}

fn person(unix_ms: u64) -> Verdict {
    Verdict { by: "admin".to_owned(), unix_ms, message: String::new() }
}

/// What happens to one definition, one letter each: `a`, `b`, `c` are offered; `-` it vanishes; `+` a person approves what is
/// offered; `!` a person denies what is offered; `x` a person takes back what is approved.
fn play(kind: DefinitionKind, rules: &ToolRules, steps: &str) -> StoredDefinition {
    let mut stored = definition(kind);
    for (now, step) in steps.chars().enumerate() {
        let now = now as u64 + 1;
        let offered = stored.offered.as_ref().map(|offered| offered.fingerprint);
        match step {
            '-' => stored.vanish(now),
            '+' => stored.approve(person(now)),
            '!' => stored.deny(offered.unwrap(), person(now)),
            'x' => stored.deny(stored.approved.as_ref().unwrap().pin, person(now)),
            letter => stored.observe(print(letter), &text(letter), CLEAN, rules, now),
        }
    }
    stored
}

/// What is served: `None`, or the letter of the definition.
fn served(stored: &StoredDefinition, rules: &ToolRules) -> Option<char> {
    let approved = stored.approved.as_ref().filter(|_| stored.standing(rules) == Standing::Served)?;
    "abc".chars().find(|letter| approved.pin == print(*letter) && approved.definition == text(*letter))
}

/// History, rules, standing, what is served, whether something waits.
type Row = (&'static str, NewTools, ChangedTools, Standing, Option<char>, bool);

#[test]
fn every_history_of_a_tool_leads_to_its_standing() {
    use ChangedTools as C;
    use NewTools as N;
    use Standing::{Absent, Pending, Quarantined, Served};
    let table: &[Row] = &[
        // New.
        ("a", N::RequireApproval, C::Quarantine, Pending, None, true),
        ("a+", N::RequireApproval, C::Quarantine, Served, Some('a'), false),
        ("a!", N::RequireApproval, C::Quarantine, Pending, None, false),
        ("a!+", N::RequireApproval, C::Quarantine, Served, Some('a'), false),
        ("a", N::Approve, C::Quarantine, Served, Some('a'), false),
        ("a", N::Ignore, C::Quarantine, Absent, None, false),
        // Changed before anybody looked: what waits is what is offered now.
        ("ab", N::RequireApproval, C::Quarantine, Pending, None, true),
        ("ab+", N::RequireApproval, C::Quarantine, Served, Some('b'), false),
        // Changed after approval.
        ("a+b", N::RequireApproval, C::Quarantine, Quarantined, None, true),
        ("a+b", N::RequireApproval, C::KeepPinned, Served, Some('a'), true),
        ("a+b", N::RequireApproval, C::Approve, Served, Some('b'), false),
        ("a+b", N::Ignore, C::Quarantine, Quarantined, None, true),
        ("a+b", N::Ignore, C::KeepPinned, Served, Some('a'), true),
        ("ab", N::Approve, C::Quarantine, Quarantined, None, true),
        ("ab", N::Approve, C::Approve, Served, Some('b'), false),
        ("a+b+", N::RequireApproval, C::Quarantine, Served, Some('b'), false),
        ("a+b+", N::RequireApproval, C::KeepPinned, Served, Some('b'), false),
        // And back: what is pinned needs nobody.
        ("a+ba", N::RequireApproval, C::Quarantine, Served, Some('a'), false),
        ("a+b+a", N::RequireApproval, C::Quarantine, Quarantined, None, true),
        // A denied change.
        ("a+b!", N::RequireApproval, C::Quarantine, Quarantined, None, false),
        ("a+b!", N::RequireApproval, C::KeepPinned, Served, Some('a'), false),
        ("a+b!a", N::RequireApproval, C::Quarantine, Served, Some('a'), false),
        ("a+b!c", N::RequireApproval, C::Quarantine, Quarantined, None, true),
        ("a+b!ab", N::RequireApproval, C::Quarantine, Quarantined, None, false),
        // Taken back.
        ("a+x", N::RequireApproval, C::Quarantine, Pending, None, false),
        ("a+bx", N::RequireApproval, C::Quarantine, Pending, None, true),
        ("ax", N::Approve, C::Quarantine, Pending, None, false),
        ("axa", N::Approve, C::Quarantine, Pending, None, false),
        // Gone, and back.
        ("a+-", N::RequireApproval, C::Quarantine, Absent, None, false),
        ("a+-", N::RequireApproval, C::KeepPinned, Absent, None, false),
        ("a+-a", N::RequireApproval, C::Quarantine, Served, Some('a'), false),
        ("a+-b", N::RequireApproval, C::Quarantine, Quarantined, None, true),
        ("a+b-a", N::RequireApproval, C::Quarantine, Served, Some('a'), false),
        ("a-", N::RequireApproval, C::Quarantine, Absent, None, false),
        ("a-a", N::RequireApproval, C::Quarantine, Pending, None, true),
        ("a!-a", N::RequireApproval, C::Quarantine, Pending, None, false),
    ];
    for (steps, new, changed, standing, letter, waits) in table {
        let rules = rules(*new, *changed);
        let stored = play(DefinitionKind::Tool, &rules, steps);
        let case = format!("{steps:?} under {new:?}, {changed:?}: {stored:#?}");
        assert_eq!(stored.standing(&rules), *standing, "{case}");
        assert_eq!(served(&stored, &rules), *letter, "{case}");
        assert_eq!(stored.waits(&rules), *waits, "{case}");
        assert_eq!(play(DefinitionKind::Prompt, &rules, steps).standing(&rules), *standing, "{case}");
    }
}

#[test]
fn a_denial_holds_rules_off_so_that_one_changed_byte_does_not_get_around_it() {
    let lax = rules(NewTools::Approve, ChangedTools::Approve);
    // Under rules that approve, a person can only take back what was approved at once.
    for (steps, expected) in [
        ("ax", Standing::Pending),
        ("axa", Standing::Pending),
        ("axb", Standing::Pending),
        ("abx", Standing::Pending),
        ("abxc", Standing::Pending),
        ("ax-a", Standing::Pending),
        ("ax-b", Standing::Pending),
        // Until a person approves again.
        ("axb+", Standing::Served),
        ("axb+c", Standing::Served),
    ] {
        let stored = play(DefinitionKind::Tool, &lax, steps);
        assert_eq!(stored.standing(&lax), expected, "{steps}");
    }
}

#[test]
fn a_denied_definition_stays_denied_whatever_the_rules_become() {
    let mut stored = play(DefinitionKind::Tool, &careful(), "a+b!");
    let lax = rules(NewTools::Approve, ChangedTools::Approve);
    stored.observe(print('b'), &text('b'), CLEAN, &lax, 100);
    assert_eq!(stored.standing(&careful()), Standing::Quarantined);
    assert!(!stored.is_approved(&print('b')));
}

#[test]
fn a_rule_that_becomes_lax_approves_what_waits_at_the_next_report() {
    let by = |stored: &StoredDefinition| stored.approved.as_ref().map(|approved| approved.verdict.by.clone());
    for changed in CHANGED {
        let mut stored = play(DefinitionKind::Tool, &rules(NewTools::RequireApproval, *changed), "a");
        stored.observe(print('a'), &text('a'), CLEAN, &rules(NewTools::Approve, *changed), 9);
        assert_eq!(by(&stored).as_deref(), Some("rule newTools: approve"));
    }
    for new in NEW {
        let mut stored = play(DefinitionKind::Tool, &careful(), "a+b");
        stored.observe(print('b'), &text('b'), CLEAN, &rules(*new, ChangedTools::Approve), 9);
        assert_eq!(by(&stored).as_deref(), Some("rule changedTools: approve"));
    }
}

#[test]
fn an_identity_keeps_what_was_approved_and_is_never_ignored() {
    for new in NEW {
        for changed in CHANGED {
            let rules = rules(*new, *changed);
            let seen = play(DefinitionKind::Identity, &rules, "a");
            assert_ne!(seen.standing(&rules), Standing::Absent, "{rules:?}");
            let drifted = play(DefinitionKind::Identity, &rules, "a+b");
            let expected = if *changed == ChangedTools::Approve { 'b' } else { 'a' };
            assert_eq!(served(&drifted, &rules), Some(expected), "{rules:?}");
            assert_eq!(drifted.waits(&rules), *changed != ChangedTools::Approve, "{rules:?}");
        }
    }
}

#[test]
fn an_observation_of_the_same_changes_nothing() {
    for new in NEW {
        for changed in CHANGED {
            let rules = rules(*new, *changed);
            for steps in ["a", "a+", "a+b", "a+b!", "a!", "a+-", "a+b+"] {
                let mut stored = play(DefinitionKind::Tool, &rules, steps);
                let before = stored.clone();
                let offered = before.offered.as_ref().map(|offered| offered.fingerprint);
                match "ab".chars().find(|letter| Some(print(*letter)) == offered) {
                    Some(letter) => stored.observe(print(letter), &text(letter), CLEAN, &rules, 1_000),
                    None => stored.vanish(1_000),
                }
                assert_eq!(stored, before, "{steps} under {rules:?}");
            }
        }
    }
}

#[test]
fn what_is_remembered_of_a_definition_that_never_rests_is_bounded() {
    let mut stored = definition(DefinitionKind::Tool);
    for at in 0..10_000_u64 {
        let text = format!("{{\"name\":\"t\",\"description\":\"{at}\"}}");
        let fingerprint = Fingerprint::from_bytes(sha256(text.as_bytes()));
        stored.observe(fingerprint, &text, CLEAN, &careful(), at);
        if at % 2 == 0 {
            stored.deny(fingerprint, person(at));
        }
    }
    assert_eq!(stored.denied.len(), MAX_REMEMBERED);
    assert_eq!(stored.superseded.len(), MAX_REMEMBERED);
}

#[test]
fn a_stored_definition_reads_back_as_it_was_written_and_holds_each_text_once() {
    let stored = play(DefinitionKind::Tool, &careful(), "a+b!c");
    let body = serde_json::to_value(&stored).unwrap();
    assert_eq!(StoredDefinition::deserialize(&body).unwrap(), stored);
    let served = play(DefinitionKind::Tool, &careful(), "a+");
    let body = serde_json::to_string(&served).unwrap();
    assert_eq!(body.matches("description").count(), 1, "{body}");
    assert_eq!(served.offered_definition(), Some(text('a').as_str()));
}

#[test]
fn an_approval_id_names_one_definition_of_one_server_exactly() {
    let server = Uid(uuid::Uuid::from_u128(1));
    let id = approval_id(&server, DefinitionKind::Tool, "t", &print('a'));
    let hex = id.strip_prefix("a-").unwrap();
    assert!(hex.len() == 20 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let others = [
        approval_id(&Uid(uuid::Uuid::from_u128(2)), DefinitionKind::Tool, "t", &print('a')),
        approval_id(&server, DefinitionKind::Prompt, "t", &print('a')),
        approval_id(&server, DefinitionKind::Tool, "u", &print('a')),
        approval_id(&server, DefinitionKind::Tool, "t", &print('b')),
    ];
    assert!(!others.contains(&id));
    assert_eq!(approval_id(&server, DefinitionKind::Tool, "t", &print('a')), id);
}

#[test]
fn a_rule_approves_what_was_looked_at_and_needs_no_person_and_nothing_else() {
    use crate::review::Severity;
    let found = |highest| Some(Risk { highest, findings: usize::from(highest.is_some()) });
    let table = [
        (None, false),
        (found(None), true),
        (found(Some(Severity::Info)), true),
        (found(Some(Severity::Warn)), true),
        (found(Some(Severity::High)), false),
    ];
    let lax = rules(NewTools::Approve, ChangedTools::Approve);
    for (risk, approved) in table {
        let mut new = definition(DefinitionKind::Tool);
        assert!(new.needs_look(&print('a'), &lax, true));
        new.observe(print('a'), &text('a'), risk, &lax, 1);
        assert_eq!(served(&new, &lax), approved.then_some('a'), "{risk:?}");
        assert_eq!(new.waits(&lax), !approved, "{risk:?}");
        assert_eq!(new.needs_look(&print('a'), &lax, true), risk.is_none(), "{risk:?}");
        let mut changed = play(DefinitionKind::Tool, &lax, "a");
        changed.observe(print('b'), &text('b'), risk, &lax, 2);
        let standing = if approved { Standing::Served } else { Standing::Quarantined };
        assert_eq!(changed.standing(&lax), standing, "{risk:?}");
        // Seen again, without another look, it stays as it is; a person may approve it all the same.
        changed.observe(print('b'), &text('b'), None, &lax, 3);
        assert_eq!(changed.standing(&lax), standing, "{risk:?}");
        changed.approve(person(4));
        assert_eq!(served(&changed, &lax), Some('b'));
    }
    // What was harmless when people had to approve it is looked at again before a rule does.
    let mut stored = definition(DefinitionKind::Tool);
    stored.observe(print('a'), &text('a'), found(None), &careful(), 1);
    assert!(!stored.needs_look(&print('a'), &careful(), false));
    assert!(stored.needs_look(&print('a'), &lax, true));
    stored.observe(print('a'), &text('a'), found(Some(Severity::High)), &lax, 2);
    assert!(stored.waits(&lax) && !stored.needs_look(&print('a'), &lax, true));
}
