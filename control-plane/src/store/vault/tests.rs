use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn everything_in_it_outlives_a_restart_and_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let vault = Vault::open(&path, 5).unwrap();
    assert_eq!(mode(&path), 0o600);
    let mut watch = vault.watch();
    let first = *watch.borrow_and_update();
    vault.set_secret(&name("github"), b"token \0\xFF", 7).await.unwrap();
    vault.set_secret(&name("crm"), b"", 8).await.unwrap();
    assert_eq!(*watch.borrow_and_update(), first + 2);
    assert_eq!(mode(&path), 0o600);

    let again = Vault::open(&path, 9).unwrap();
    assert_eq!(again.control_plane_id(), vault.control_plane_id());
    assert_eq!(again.signing_key().public_key(), vault.signing_key().public_key());
    assert_eq!(again.secret_part(), vault.secret_part());
    assert_eq!(again.generation(), first + 2);
    assert_eq!(again.secret_part().values[&name("github")].expose(), b"token \0\xFF");
    assert_eq!(
        again.secrets(),
        [
            SecretInfo { name: name("crm"), set_unix_ms: 8 },
            SecretInfo { name: name("github"), set_unix_ms: 7 }
        ]
    );

    assert!(again.delete_secret(&name("crm")).await.unwrap());
    assert!(!again.delete_secret(&name("crm")).await.unwrap());
    assert_eq!(again.generation(), first + 3);
    assert_eq!(Vault::open(&path, 9).unwrap().secrets().len(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn no_debug_form_holds_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(&dir.path().join("vault"), 5).unwrap();
    vault.set_secret(&name("github"), b"hunter2", 7).await.unwrap();
    let part = vault.secret_part();
    let key = part.sealing_keys[0].expose();
    let said = format!("{vault:?} {part:?} {:?} {:?}", vault.signing_key(), vault.secrets());
    assert!(said.contains("github"));
    for secret in
        ["hunter2".to_owned(), format!("{:?}", b"hunter2"), format!("{key:?}"), format!("{:?}", &key[..4])]
    {
        assert!(!said.contains(&secret), "{said}");
    }
}

#[tokio::test]
async fn every_bound_is_kept_and_what_is_refused_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(&dir.path().join("vault"), 5).unwrap();
    let large = vec![1; MAX_SECRET_BYTES];
    let refused = vault.set_secret(&name("x"), &[&large[..], b"1"].concat(), 1).await;
    assert!(matches!(refused, Err(VaultError::TooLarge(_))));
    let mut contents = Contents::clone(&vault.inner.contents.load());
    for n in 0..MAX_TOTAL_BYTES / MAX_SECRET_BYTES {
        contents.next_part().values.insert(name(&format!("large-{n}")), SecretValue::new(large.clone()));
    }
    let full = Arc::new(contents.clone());
    vault.inner.contents.store(Arc::clone(&full));
    assert!(matches!(vault.set_secret(&name("x"), b"1", 1).await, Err(VaultError::Full)));
    assert!(Arc::ptr_eq(&full, &vault.inner.contents.load()));
    vault.set_secret(&name("large-0"), &large, 1).await.unwrap();

    contents.next_part().values =
        (0..MAX_SECRETS).map(|n| (name(&format!("s{n}")), SecretValue::new(Vec::new()))).collect();
    vault.inner.contents.store(Arc::new(contents));
    assert!(matches!(vault.set_secret(&name("x"), b"1", 1).await, Err(VaultError::TooMany)));
    vault.set_secret(&name("s1"), b"1", 1).await.unwrap();
}

#[test]
fn a_file_that_others_can_reach_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    Vault::open(&path, 5).unwrap();
    for exposed in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let refused = Vault::open(&path, 5).unwrap_err();
        assert!(matches!(refused, VaultError::Exposed { .. }), "{refused}");
        let sentence = refused.to_string();
        assert!(sentence.contains(&format!("{exposed:03o}")) && sentence.contains("chmod 600"), "{sentence}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Vault::open(&path, 5).unwrap();
}

#[test]
fn damage_is_noticed_and_never_taken_for_a_new_vault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    Vault::open(&path, 5).unwrap();
    let sound = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Vault::open(&path, 5), Err(VaultError::Damaged { .. })), "{}", bytes.len());
        assert_eq!(fs::read(&path).unwrap(), bytes);
    };
    for length in (0..sound.len()).step_by(5) {
        refused(&sound[..length]);
    }
    for at in (0..sound.len()).step_by(3) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        refused(&flipped);
    }
    // The checksum is right, the contents are another's.
    let json = b"{}";
    let sum = portcullis_seal::Fingerprint::from_bytes(portcullis_seal::sha256(json)).to_hex();
    refused(&[b"portcullis-vault 1 ", sum.as_bytes(), b"\n", json].concat());
}

#[tokio::test]
async fn a_vault_that_cannot_be_written_is_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let vault = Vault::open(&path, 5).unwrap();
    let before = fs::read(&path).unwrap();
    // Where the new file would be there is a directory that cannot go.
    fs::create_dir(dir.path().join("vault.new")).unwrap();
    assert!(matches!(vault.set_secret(&name("x"), b"1", 1).await, Err(VaultError::Io { .. })));
    assert_eq!((vault.secrets(), vault.generation(), fs::read(&path).unwrap()), (vec![], 1, before));
    fs::remove_dir(dir.path().join("vault.new")).unwrap();
    vault.set_secret(&name("x"), b"1", 1).await.unwrap();
}

#[tokio::test]
async fn what_a_crash_left_beside_it_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault");
    let vault = Vault::open(&path, 5).unwrap();
    let left = dir.path().join("vault.new");
    fs::write(&left, b"half").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
    vault.set_secret(&name("x"), b"1", 1).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    fs::write(&left, b"half").unwrap();
    assert_eq!(Vault::open(&path, 5).unwrap().secrets().len(), 1);
    assert!(!left.exists(), "the next start removes it");
}

#[tokio::test]
async fn a_sealing_key_opens_before_it_seals_and_long_after() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(&dir.path().join("vault"), 0).unwrap();
    let ids = || vault.secret_part().sealing_keys.iter().map(|key| key.id).collect::<Vec<_>>();
    let first = ids()[0];
    assert!(!vault.rotate_sealing_keys(DAY - 1).await.unwrap());
    assert!(vault.rotate_sealing_keys(DAY).await.unwrap());
    let [sealing, second] = ids()[..] else { panic!("{:?}", ids()) };
    assert_eq!(sealing, first, "planes do not have the new one yet");
    assert!(!vault.rotate_sealing_keys(DAY + 9 * MINUTE).await.unwrap());
    assert!(vault.rotate_sealing_keys(DAY + 10 * MINUTE).await.unwrap());
    assert_eq!(ids(), [second, first]);
    assert!(!vault.rotate_sealing_keys(DAY + 11 * MINUTE).await.unwrap());
    assert!(!vault.rotate_sealing_keys(0).await.unwrap(), "a clock that goes back changes nothing");

    for minutes in (0..40 * 24 * 60).step_by(5) {
        let now = DAY + 11 * MINUTE + minutes * MINUTE;
        vault.rotate_sealing_keys(now).await.unwrap();
        let part = vault.secret_part();
        let ages: Vec<u64> = part.sealing_keys.iter().map(|key| now - key.created_unix_ms).collect();
        assert!(ages.len() <= 31 && ages.iter().all(|age| *age < 30 * DAY), "{ages:?}");
        assert!((10 * MINUTE..DAY + 15 * MINUTE).contains(&ages[0]), "{ages:?}");
    }
    assert!(!ids().contains(&first));

    // A control plane that was off for long: the old key seals until the new one is everywhere.
    let now = 400 * DAY;
    let newest = |key: &&SealingKey| key.created_unix_ms;
    let old = vault.secret_part().sealing_keys.iter().max_by_key(newest).unwrap().id;
    assert!(vault.rotate_sealing_keys(now).await.unwrap());
    assert_eq!((ids().len(), ids()[0]), (2, old));
    assert!(vault.rotate_sealing_keys(now + 10 * MINUTE).await.unwrap());
    assert_eq!(ids().len(), 1);
}
