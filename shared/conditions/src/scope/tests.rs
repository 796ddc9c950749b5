use super::*;

#[test]
fn bits_beyond_one_word_are_found_again() {
    let mut bits = Bits::none(200);
    let members = [0, 1, 63, 64, 127, 199];
    members.iter().for_each(|at| bits.insert(*at));
    assert_eq!(bits.iter().collect::<Vec<_>>(), members);
    let mut other = Bits::none(200);
    other.insert(64);
    other.insert(65);
    assert!(bits.meets(&other));
    assert_eq!(bits.both(&other).iter().collect::<Vec<_>>(), [64]);
    assert!(!Bits::none(200).meets(&bits));
}
