use super::*;
use crate::terms::PerMille;

fn at(milliseconds: u64) -> Mono {
    Mono::from_millis(milliseconds)
}

fn assign(gate: &Gate, now: Mono, serial: u64, share: u64) -> ShareAsk {
    let ask = gate.beat(now);
    gate.adopt(&Assignment { seq: ask.seq, serial, share, gift: 0, term_ms: 2_000 });
    ask
}

#[test]
fn as_many_calls_as_the_share_are_under_way_at_once() {
    let gate = Gate::new(8, OnOutage::Deny, at(0));
    assign(&gate, at(0), 1, 2);
    let one = gate.enter(at(1)).unwrap();
    let two = gate.enter(at(1)).unwrap();
    assert_eq!(gate.enter(at(1)).unwrap_err(), Crowded { outage: false });
    drop(one);
    let three = gate.enter(at(2)).unwrap();
    assert_eq!(gate.under_way(), 2);
    assert_eq!(gate.beat(at(3)).demand, 3, "the one that was turned away is demand too");
    drop((two, three));
    assert_eq!(gate.under_way(), 0);
}

#[test]
fn a_smaller_share_is_acknowledged_only_when_it_is_kept() {
    let gate = Gate::new(8, OnOutage::Deny, at(0));
    assign(&gate, at(0), 1, 2);
    let (one, two) = (gate.enter(at(1)).unwrap(), gate.enter(at(1)).unwrap());
    assign(&gate, at(250), 2, 1);
    let ask = gate.beat(at(500));
    assert_eq!((ask.serial, ask.holding), (1, 2), "two calls are still under way");
    drop(one);
    assert!(gate.enter(at(501)).is_err(), "the smaller share holds for new calls");
    let ask = gate.beat(at(750));
    assert_eq!((ask.serial, ask.holding), (2, 1));
    drop(two);
}

#[test]
fn before_it_heard_anything_one_call_is_under_way_at_a_time() {
    let gate = Gate::new(8, OnOutage::Deny, at(0));
    let pass = gate.enter(at(0)).unwrap();
    assert!(gate.enter(at(0)).is_err());
    drop(pass);
    assert!(gate.enter(at(1)).is_ok());
}

#[test]
fn a_lapsed_share_does_as_its_terms_say() {
    let half = OnOutage::Share(PerMille::try_from(500).unwrap());
    for (terms, expected) in [(OnOutage::Deny, 0), (half, 4), (OnOutage::Allow, 100)] {
        let gate = Gate::new(8, terms, at(0));
        assign(&gate, at(0), 1, 8);
        let passes: Vec<_> = (0..100).map_while(|_| gate.enter(at(2_000)).ok()).collect();
        assert_eq!(passes.len(), expected, "{terms:?}");
        assert_eq!(gate.take_owed(), expected as u64);
    }
}
