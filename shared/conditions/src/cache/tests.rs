use super::*;

#[test]
fn what_was_made_is_kept_and_what_is_kept_is_bounded() {
    let cache = Cache::new(160);
    assert_eq!(cache.get_or_make(1, |_| "first"), "first");
    assert_eq!(cache.get_or_make(1, |_| "second"), "first");
    for key in 0..10_000 {
        cache.get_or_make(key, |_| "another");
        assert!(cache.len() <= 160);
    }
    assert!(cache.len() > 0);
}
