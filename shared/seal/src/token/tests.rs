use super::*;

#[test]
fn a_token_is_found_again_by_its_text_alone() {
    for prefix in [VIRTUAL_KEY, ADMIN, PLANE] {
        let token = Token::generate(prefix).unwrap();
        assert_eq!(token.text.len(), prefix.len() + 49);
        assert!(token.text.starts_with(prefix));
        assert_eq!(hash(prefix, &token.text), Some(token.hash));
        assert_ne!(Token::generate(prefix).unwrap().hash, token.hash);
        assert!(!format!("{token:?}").contains(token.text.as_str()));
    }
}

#[test]
fn a_token_opens_nothing_else_and_no_variant_of_it_is_one() {
    let token = Token::generate(VIRTUAL_KEY).unwrap();
    assert_eq!(hash(ADMIN, &token.text), None);
    assert_eq!(hash(VIRTUAL_KEY, &token.text.replacen("pcl_", "pca_", 1)), None);
    assert_eq!(hash(VIRTUAL_KEY, ""), None);
    assert_eq!(hash(VIRTUAL_KEY, &format!("{}x", token.text.as_str())), None);
    assert_eq!(hash(VIRTUAL_KEY, &token.text[..52]), None);
    assert_eq!(hash(VIRTUAL_KEY, &format!("pcl_{}", "é".repeat(24))), None);
    for at in 4..token.text.len() {
        let mut bytes = token.text.as_bytes().to_vec();
        for other in *b"ABab01-_" {
            if bytes[at] == other {
                continue;
            }
            let kept = std::mem::replace(&mut bytes[at], other);
            let text = std::str::from_utf8(&bytes).unwrap();
            assert_eq!(hash(VIRTUAL_KEY, text), None, "character {at} changed to {other}");
            bytes[at] = kept;
        }
    }
}

#[test]
fn the_hash_of_a_known_token_never_changes() {
    let text = "pcl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let whole = format!("{text}{}", checksum(text.as_bytes()).as_str());
    let found = hash(VIRTUAL_KEY, &whole).unwrap();
    let expected = sha256(format!("portcullis token v1\0pcl_\0{whole}").as_bytes());
    assert_eq!(found.as_bytes(), &expected);
}
