use super::*;

const WINDOW: Duration = Duration::from_secs(8);

fn at(milliseconds: u64) -> Mono {
    Mono::from_millis(milliseconds)
}

#[test]
fn a_call_passes_n_times_in_a_window_and_no_more() {
    let repeats = Repeats::new(64);
    let mark = CallMark(42);
    for time in 0..5 {
        assert_eq!(repeats.count(mark, 5, WINDOW, at(1_000 + time)), Ok(()));
    }
    let looping = repeats.count(mark, 5, WINDOW, at(2_500)).unwrap_err();
    assert_eq!(looping, Looping { times: 5, retry_after: Duration::from_millis(6_500) });
    assert!(repeats.count(mark, 5, WINDOW, at(8_999)).is_err());
    assert!(repeats.count(mark, 5, WINDOW, at(9_000)).is_ok(), "that is when it said");
    assert!(repeats.count(CallMark(43), 5, WINDOW, at(2_500)).is_ok(), "another call is another call");
}

#[test]
fn calls_that_keep_to_the_limit_are_never_denied() {
    let repeats = Repeats::new(64);
    for time in 0..1_000 {
        assert_eq!(repeats.count(CallMark(1), 8, WINDOW, at(time * 1_000)), Ok(()), "call {time}");
    }
}

#[test]
fn a_loop_is_caught_among_any_number_of_other_calls() {
    let repeats = Repeats::new(64);
    let mut denied = 0;
    for time in 0..1_000_u64 {
        denied += u32::from(repeats.count(CallMark(7), 10, WINDOW, at(time)).is_err());
        for other in 0..5 {
            // Spread over the sets, as marks are.
            let mark = CallMark((time * 5 + other).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert!(repeats.count(mark, 10, WINDOW, at(time)).is_ok());
        }
    }
    assert_eq!(denied, 990);
}

#[test]
fn what_is_long_past_is_forgotten() {
    let repeats = Repeats::new(1);
    for _ in 0..3 {
        assert!(repeats.count(CallMark(1), 3, WINDOW, at(0)).is_ok());
    }
    assert!(repeats.count(CallMark(1), 3, WINDOW, at(1)).is_err());
    assert!(repeats.count(CallMark(1), 3, WINDOW, at(1_000_000)).is_ok());
    assert!(repeats.count(CallMark(1), 0, WINDOW, at(2_000_000)).is_err(), "a limit of none lets none pass");
}

#[test]
fn a_look_says_what_a_count_would_and_counts_nothing() {
    let repeats = Repeats::new(64);
    let mark = CallMark(42);
    for _ in 0..9 {
        assert_eq!(repeats.look(mark, 2, WINDOW, at(1_000)), Ok(()));
    }
    repeats.count(mark, 2, WINDOW, at(1_000)).unwrap();
    assert_eq!(repeats.look(mark, 2, WINDOW, at(1_000)), Ok(()));
    repeats.count(mark, 2, WINDOW, at(1_001)).unwrap();
    let denied = repeats.look(mark, 2, WINDOW, at(1_002)).unwrap_err();
    assert_eq!(repeats.count(mark, 2, WINDOW, at(1_002)), Err(denied));
    assert_eq!(repeats.look(mark, 2, WINDOW, at(9_000)), Ok(()));
}
