//! Waiting for what comes of itself, with an end that says what did not come.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longer than anything here takes; reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of what should be there soon.
///
/// # Panics
/// When it is not.
pub async fn soon<T>(what: &str, comes: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, comes).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Looks again and again for what another process or a remote side does, and gives it with the time that it took.
///
/// # Panics
/// When it never comes.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
    let since = Instant::now();
    loop {
        if let Some(found) = look().await {
            return (found, since.elapsed());
        }
        assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
