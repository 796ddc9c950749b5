//! A value that never shows itself.

use std::fmt;

/// Holds a secret. `Debug` and `Display` show that there is something, and nothing of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Takes the secret.
    pub const fn new(secret: T) -> Self {
        Self(secret)
    }

    /// The secret, for its one use.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The secret, out of its wrapper.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::Redacted;

    #[test]
    fn neither_form_shows_the_secret() {
        let secret = Redacted::new("pcl_hidden");
        assert_eq!(format!("{secret:?} {secret} {secret:#?}"), "(redacted) (redacted) (redacted)");
        assert_eq!(*secret.expose(), "pcl_hidden");
    }
}
