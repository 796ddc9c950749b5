use bytes::Bytes;
use portcullis_policy::snapshot::SnapshotDigest;
use portcullis_seal::SigningKey;

use super::*;

fn entry(number: u8, bytes: usize) -> proto::Entry {
    proto::Entry {
        kind: "zone".to_owned(),
        id: format!("{number:03}"),
        body: Bytes::from(vec![number; bytes]),
    }
}

fn header(key: &SigningKey, version: u64, entries: &[proto::Entry]) -> proto::SnapshotHeader {
    let mut digest = SnapshotDigest::default();
    for entry in entries {
        digest.add(&entry.kind, &entry.id, &entry.body);
    }
    let header = SnapshotHeader {
        version: SnapshotVersion(version),
        digest: digest.finish(),
        built_unix_ms: 1,
        entries: u32::try_from(entries.len()).unwrap(),
    };
    proto::SnapshotHeader {
        version,
        digest: Bytes::copy_from_slice(header.digest.as_bytes()),
        built_unix_ms: 1,
        entries: header.entries,
        signature: Bytes::copy_from_slice(&key.sign(SIGNATURE_PURPOSE, &header.signed_text())),
        key_id: Bytes::copy_from_slice(&key.public_key().id().0),
    }
}

/// One entry a chunk.
fn chunks(key: &SigningKey, version: u64, entries: &[proto::Entry]) -> Vec<proto::SnapshotChunk> {
    let header = header(key, version, entries);
    entries
        .iter()
        .enumerate()
        .map(|(at, entry)| proto::SnapshotChunk {
            version,
            header: (at == 0).then(|| header.clone()),
            entries: vec![entry.clone()],
            last: at + 1 == entries.len(),
        })
        .collect()
}

fn refusal(step: Step) -> Refusal {
    match step {
        Step::Refused(_, refusal) => refusal,
        other => panic!("not refused but {other:?}"),
    }
}

#[test]
fn bytes_and_entries_are_counted_as_they_come() {
    let key = SigningKey::generate().unwrap().0;
    let entries: Vec<_> = (0..10).map(|number| entry(number, 100)).collect();
    let size = 10 * (4 + 3 + 100);
    let run = |mut assembler: Assembler| -> (usize, Step) {
        let mut step = Step::More;
        for (at, chunk) in chunks(&key, 1, &entries).into_iter().enumerate() {
            step = assembler.push(chunk);
            if !matches!(step, Step::More) {
                return (at, step);
            }
        }
        (entries.len(), step)
    };
    let assembler = || Assembler::new(key.public_key());
    assert!(matches!(run(assembler().with_bounds(10, size)), (9, Step::Whole(_))));
    let (at, step) = run(assembler().with_bounds(10, size - 1));
    assert!(matches!((at, refusal(step)), (9, Refusal::TooLarge { .. })));
    let (at, step) = run(assembler().with_bounds(10, 150));
    assert!(
        matches!((at, refusal(step)), (1, Refusal::TooLarge { .. })),
        "refused as soon as it is too much"
    );
    let (at, step) = run(assembler().with_bounds(9, size));
    assert!(matches!((at, refusal(step)), (0, Refusal::TooMany { .. })), "refused by its header");
}

#[test]
fn a_new_header_begins_anew_whatever_was_begun_before() {
    let key = SigningKey::generate().unwrap().0;
    let mut assembler = Assembler::new(key.public_key());
    let old = chunks(&key, 1, &[entry(1, 1), entry(2, 1), entry(3, 1)]);
    let new = chunks(&key, 2, &[entry(7, 1), entry(8, 1)]);
    assert!(matches!(assembler.push(old[0].clone()), Step::More));
    assert!(matches!(assembler.push(new[0].clone()), Step::More));
    let Step::Whole(whole) = assembler.push(new[1].clone()) else { panic!("it is whole") };
    assert_eq!((whole.header.version.0, whole.entries.len()), (2, 2));
    assert!(matches!(refusal(assembler.push(old[1].clone())), Refusal::NoHeader));
    // The rest of what was refused is skipped, until its last chunk or a header.
    assert!(matches!(assembler.push(old[2].clone()), Step::More));
    assert!(matches!(assembler.push(new[0].clone()), Step::More));
    assert!(matches!(assembler.push(new[1].clone()), Step::Whole(_)));
}

#[test]
fn a_chunk_of_another_version_in_the_middle_is_refused() {
    let key = SigningKey::generate().unwrap().0;
    let mut assembler = Assembler::new(key.public_key());
    let one = chunks(&key, 1, &[entry(1, 1), entry(2, 1)]);
    let mut other = one[1].clone();
    other.version = 9;
    assert!(matches!(assembler.push(one[0].clone()), Step::More));
    assert!(matches!(refusal(assembler.push(other)), Refusal::NoHeader));
    let mut torn = one[0].clone();
    torn.version = 9;
    assert!(matches!(refusal(assembler.push(torn)), Refusal::VersionDiffers { .. }));
}

#[test]
fn header_fields_of_the_wrong_length_are_refused() {
    let key = SigningKey::generate().unwrap().0;
    let good = header(&key, 1, &[entry(1, 1)]);
    verified(&key.public_key(), &good).unwrap();
    let short = proto::SnapshotHeader { digest: Bytes::from_static(b"short"), ..good.clone() };
    assert!(matches!(verified(&key.public_key(), &short), Err(Refusal::Header("digest"))));
    let no_key = proto::SnapshotHeader { key_id: Bytes::new(), ..good.clone() };
    assert!(matches!(verified(&key.public_key(), &no_key), Err(Refusal::Header("key id"))));
    let unsigned = proto::SnapshotHeader { signature: Bytes::new(), ..good };
    assert!(matches!(verified(&key.public_key(), &unsigned), Err(Refusal::Signature)));
}
