use super::*;

/// Days since 1970-01-01 of a few dates, taken from `date -u -d DATE +%s`.
const D2024_02_29: u64 = 1_709_164_800_000;
const D2026_11_21: u64 = 1_795_219_200_000;

fn around(length: Length, at: u64, fiscal: u8) -> (u64, u64) {
    let (start, end) = length.around(Utc(at), FiscalMonth::try_from(fiscal).unwrap());
    (start.0, end.0)
}

#[test]
fn short_periods_are_cut_at_whole_minutes_hours_and_days() {
    let at = D2026_11_21 + 13 * HOUR + 7 * MINUTE + 31_500;
    assert_eq!(around(Length::Minute, at, 1), (at - 31_500, at - 31_500 + MINUTE));
    assert_eq!(around(Length::Hour, at, 1).0, D2026_11_21 + 13 * HOUR);
    assert_eq!(around(Length::Day, at, 1), (D2026_11_21, D2026_11_21 + DAY));
}

#[test]
fn a_week_begins_on_monday() {
    // 2026-11-21 is a Saturday.
    assert_eq!(around(Length::Week, D2026_11_21, 1), (D2026_11_21 - 5 * DAY, D2026_11_21 + 2 * DAY));
    // The first week of all began before time did.
    assert_eq!(around(Length::Week, 0, 1), (0, 4 * DAY));
}

#[test]
fn months_quarters_and_years_follow_the_calendar() {
    let nov_1 = D2026_11_21 - 20 * DAY;
    assert_eq!(around(Length::Month, D2026_11_21, 4), (nov_1, nov_1 + 30 * DAY));
    let oct_1 = nov_1 - 31 * DAY;
    assert_eq!(around(Length::Quarter, D2026_11_21, 1), (oct_1, oct_1 + (31 + 30 + 31) * DAY));
    let jan_1 = oct_1 - (31 + 28 + 31 + 30 + 31 + 30 + 31 + 31 + 30) * DAY;
    assert_eq!(around(Length::Year, D2026_11_21, 1), (jan_1, jan_1 + 365 * DAY));
    let feb_1 = D2024_02_29 - 28 * DAY;
    assert_eq!(around(Length::Month, D2024_02_29, 1), (feb_1, feb_1 + 29 * DAY));
}

#[test]
fn a_fiscal_year_and_its_quarters_begin_in_its_month() {
    let nov_1 = D2026_11_21 - 20 * DAY;
    // From February: the quarter of November to January.
    assert_eq!(around(Length::Quarter, D2026_11_21, 2), (nov_1, nov_1 + (30 + 31 + 31) * DAY));
    let feb_1 = nov_1 - (28 + 31 + 30 + 31 + 30 + 31 + 31 + 30 + 31) * DAY;
    assert_eq!(around(Length::Year, D2026_11_21, 2), (feb_1, feb_1 + 365 * DAY));
    // From December: the year began in the year before.
    let dec_1 = nov_1 + 30 * DAY;
    assert_eq!(around(Length::Year, D2026_11_21, 12), (dec_1 - 365 * DAY, dec_1));
}

#[test]
fn periods_join_without_gap_or_overlap_over_a_century() {
    for length in Length::ALL {
        for fiscal in 1..=12 {
            let mut at = D2024_02_29;
            for _ in 0..1_200 {
                let (start, end) = around(length, at, fiscal);
                assert!(
                    start <= at && at < end,
                    "{length} from month {fiscal}: {at} lies outside {start}..{end}"
                );
                assert_eq!(around(length, end - 1, fiscal), (start, end));
                at = end;
            }
        }
    }
}

#[test]
fn lengths_are_read_as_they_are_written() {
    for length in Length::ALL {
        assert_eq!(length.name().parse(), Ok(length));
    }
    assert!("2d".parse::<Length>().is_err());
    assert!(FiscalMonth::try_from(13).is_err());
}
