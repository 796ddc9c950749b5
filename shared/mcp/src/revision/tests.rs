use super::*;

#[test]
fn every_revision_is_found_by_its_name_and_nothing_else_is() {
    for revision in Revision::ALL {
        assert_eq!(Revision::parse(revision.as_str()), Some(*revision));
    }
    for text in ["", "2026-07-29", "2026-07-28 ", "latest", "DRAFT-2026-v1"] {
        assert_eq!(Revision::parse(text), None, "{text}");
    }
}

#[test]
fn only_2026_07_28_and_later_are_modern() {
    assert_eq!(Revision::V2025_11_25.era(), Era::Legacy);
    assert_eq!(Revision::V2026_07_28.era(), Era::Modern);
}

#[test]
fn a_request_is_modern_when_header_or_body_names_a_modern_date() {
    let cases = [
        (None, None, Era::Legacy),
        (Some("2025-11-25"), None, Era::Legacy),
        (Some("2026-07-28"), None, Era::Modern),
        (None, Some("2026-07-28"), Era::Modern),
        (Some("2025-11-25"), Some("2026-07-28"), Era::Modern),
        (Some("2099-01-01"), None, Era::Modern),
        (Some("9999"), None, Era::Legacy),
        (Some("zzzz-zz-zz"), None, Era::Legacy),
        (None, Some("2025-11-25"), Era::Legacy),
        (Some("v999.0.0"), None, Era::Legacy),
        (Some("v999.0.0"), Some("v999.0.0"), Era::Modern),
        (None, Some("1900-01-01"), Era::Modern),
    ];
    for (header, meta, era) in cases {
        assert_eq!(era_of_request(header, meta), era, "{header:?} {meta:?}");
    }
}

#[test]
fn an_unoffered_legacy_version_is_countered_with_the_newest_legacy_one() {
    assert_eq!(Revision::negotiate_legacy("2025-06-18"), Revision::V2025_06_18);
    for asked in ["2024-11-05", "2026-07-28", "1.0", ""] {
        assert_eq!(Revision::negotiate_legacy(asked), Revision::V2025_11_25, "{asked}");
    }
}
