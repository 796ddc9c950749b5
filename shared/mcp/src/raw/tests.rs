use super::*;

#[test]
fn accepted_text_is_taken_as_it_is_and_not_read_again() {
    // Not JSON: that it comes through shows that nobody reads it. If this fails, a new serde_json asks in another
    // way, and the slower path is in use.
    let raw = borrowed("{ not read").expect("taken");
    assert_eq!(raw.get(), "{ not read");
    let raw = owned("{ not read".to_owned()).expect("taken");
    assert_eq!(raw.get(), "{ not read");
}

#[test]
fn the_owned_text_is_moved_not_copied() {
    let text = String::from("{\"a\":1}");
    let at = text.as_ptr();
    assert_eq!(owned(text).expect("taken").get().as_ptr(), at);
}
