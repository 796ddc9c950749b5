use super::*;

#[test]
fn what_nobody_sees_is_named() {
    let table = [
        ("plain text\nof two lines", "plain text\nof two lines"),
        ("a\u{200b}b", "a⟨U+200B ZERO WIDTH SPACE⟩b"),
        ("\u{1b}[2J", "⟨U+001B ESCAPE⟩[2J"),
        ("\u{9b}31m", "⟨U+009B CONTROL SEQUENCE INTRODUCER⟩31m"),
        ("a\u{202e}b", "a⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩b"),
        ("a\u{feff}\u{feff}\u{feff}b", "a⟨U+FEFF ZERO WIDTH NO-BREAK SPACE ×3⟩b"),
        ("x\u{e0068}\u{e0069}y", "x⟨2 invisible tag characters from U+E0068: hi⟩y"),
        ("a\u{a0}b", "a⟨U+00A0 NO-BREAK SPACE⟩b"),
        ("p\u{430}ss", "pа⟨U+0430 looks like a⟩ss"),
        ("naïve, größer, 東京, привет", "naïve, größer, 東京, привет"),
        // Our own marks cannot be forged.
        ("⟨U+200B⟩", "⟨U+27E8 BRACKET⟩U+200B⟨U+27E9 BRACKET⟩"),
        ("a\u{301}\u{301}\u{301}", "a\u{301}\u{301}⟨U+0301 COMBINING MARK⟩"),
        ("\u{e000}\u{ffff}", "⟨U+E000 PRIVATE USE⟩⟨U+FFFF PRIVATE USE⟩"),
    ];
    for (text, shown) in table {
        assert_eq!(visible(text, 1_000), shown);
        assert!(is_visible(shown), "{shown:?}");
    }
}

#[test]
fn one_line_stays_one_line() {
    assert_eq!(visible_line("a\n\tb", 100), "a⟨U+000A LINE FEED⟩⟨U+0009 TAB⟩b");
}

#[test]
fn long_texts_are_cut_and_say_so() {
    assert_eq!(visible("abcdef", 3), "abc⟨and 3 bytes more⟩");
    let shown = visible(&"\u{200b}a".repeat(100_000), 200);
    assert!(shown.chars().count() < 300, "{shown}");
    let tags = visible(&"\u{e0041}".repeat(1_000_000), 200);
    assert!(tags.chars().count() < 300, "{tags}");
}
