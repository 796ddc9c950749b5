//! When sealing keys come, take over, and go.
//!
//! A new key is made each day. It opens tokens at once and seals them only ten minutes later, when every attached data
//! plane has it: a token that one plane seals, its sibling can open. A key goes after 30 days, and with it the tokens that
//! it sealed.

use portcullis_seal::random;

use super::{SealingKey, VaultError};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
const TAKE_OVER_MS: u64 = 10 * MINUTE_MS;
const KEEP_MS: u64 = 30 * DAY_MS;

pub(super) fn generate(now_unix_ms: u64) -> Result<SealingKey, VaultError> {
    Ok(SealingKey {
        id: random().map_err(|_| VaultError::NoRandomness)?,
        created_unix_ms: now_unix_ms,
        secret: random().map_err(|_| VaultError::NoRandomness)?.into(),
    })
}

/// The keys as they should be now, the sealing one first and then from new to old; `None` when they are so already.
pub(super) fn rotated(keys: &[SealingKey], now_unix_ms: u64) -> Result<Option<Vec<SealingKey>>, VaultError> {
    let age = |key: &SealingKey| now_unix_ms.saturating_sub(key.created_unix_ms);
    let mut next = keys.to_vec();
    next.sort_by_key(|key| std::cmp::Reverse(key.created_unix_ms));
    let sealing = next.iter().find(|key| age(key) >= TAKE_OVER_MS).or_else(|| keys.first()).map(|key| key.id);
    if next.first().is_none_or(|newest| age(newest) >= DAY_MS) {
        next.insert(0, generate(now_unix_ms)?);
    }
    next.retain(|key| age(key) < KEEP_MS || Some(key.id) == sealing);
    if let Some(at) = next.iter().position(|key| Some(key.id) == sealing) {
        let key = next.remove(at);
        next.insert(0, key);
    }
    Ok((next != keys).then_some(next))
}
