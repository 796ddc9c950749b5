use super::*;
use crate::signature::SigningKey;

fn token() -> PlaneToken {
    let (key, _) = SigningKey::generate().unwrap();
    PlaneToken { secret_text: "pcp_abcDEF-_123".to_owned(), public_key: key.public_key() }
}

#[test]
fn a_token_reads_back_as_it_was_written() {
    let token = token();
    assert_eq!(token.to_text().parse::<PlaneToken>().unwrap(), token);
}

#[test]
fn what_is_cut_or_foreign_is_refused_and_says_which() {
    let text = token().to_text();
    let cases = [
        ("", BadPlaneToken::Form),
        ("pcp_", BadPlaneToken::Form),
        ("pcp_.AAAA", BadPlaneToken::Form),
        ("pcl_abc.AAAA", BadPlaneToken::Form),
        ("pcp_abc def", BadPlaneToken::Form),
        ("pcp_abc", BadPlaneToken::PublicKey),
        ("pcp_abc.", BadPlaneToken::PublicKey),
        ("pcp_abc.AAAA", BadPlaneToken::PublicKey),
        (&text[..text.len() - 1], BadPlaneToken::PublicKey),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<PlaneToken>().unwrap_err(), expected, "{text}");
    }
    assert_eq!(format!("{text}.x").parse::<PlaneToken>().unwrap_err(), BadPlaneToken::PublicKey);
    assert_eq!("pcp_".repeat(200).parse::<PlaneToken>().unwrap_err(), BadPlaneToken::Form);
}

#[test]
fn debug_output_never_shows_the_secret() {
    let token = token();
    assert!(!format!("{token:?}").contains("abcDEF"));
}
