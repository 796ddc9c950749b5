use super::*;

fn sealer(ids: &[u8]) -> Sealer {
    Sealer::new(ids.iter().map(|id| SealKey::new([*id; 4], &[*id; 32])).collect())
}

#[test]
fn a_token_opens_for_its_purpose_and_binding_only() {
    let sealer = sealer(&[1]);
    let token = sealer.seal("session", b"alice", b"hello").unwrap();
    assert_eq!(sealer.open("session", b"alice", &token).unwrap(), b"hello");
    assert_eq!(sealer.open("cursor", b"alice", &token), Err(OpenError));
    assert_eq!(sealer.open("session", b"bob", &token), Err(OpenError));
}

#[test]
fn an_older_key_still_opens_and_a_removed_one_does_not() {
    let token = sealer(&[1]).seal("session", b"", b"x").unwrap();
    assert_eq!(sealer(&[2, 1]).open("session", b"", &token).unwrap(), b"x");
    assert_eq!(sealer(&[2]).open("session", b"", &token), Err(OpenError));
}

#[test]
fn any_flipped_bit_and_any_cut_is_refused() {
    let sealer = sealer(&[1]);
    let token = sealer.seal("session", b"", b"hello").unwrap();
    let raw = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for at in 0..raw.len() {
        for bit in 0..8 {
            let mut forged = raw.clone();
            forged[at] ^= 1 << bit;
            assert_eq!(sealer.open("session", b"", &URL_SAFE_NO_PAD.encode(forged)), Err(OpenError));
        }
        assert_eq!(sealer.open("session", b"", &URL_SAFE_NO_PAD.encode(&raw[..at])), Err(OpenError));
    }
}
