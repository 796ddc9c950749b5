//! `Debug` for messages that carry secrets or what callers sent: what they are about, never that itself.

use std::fmt;

use crate::{admin::v1 as admin, config::v1 as config};

impl fmt::Debug for config::SecretPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretPart")
            .field("generation", &self.generation)
            .field("sealing_keys", &self.sealing_keys)
            .field("values", &self.values.keys())
            .finish()
    }
}

impl fmt::Debug for config::SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for admin::SetSecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetSecretRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for admin::NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("name", &self.name).field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl fmt::Debug for admin::CreatePlaneTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatePlaneTokenResponse").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for admin::CreateAdminTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAdminTokenResponse").field("info", &self.info).finish_non_exhaustive()
    }
}

impl fmt::Debug for config::CallAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallAsk").field("key", &self.key).field("tool", &self.tool).finish_non_exhaustive()
    }
}

impl fmt::Debug for admin::HeldCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldCall").field("key", &self.key).finish_non_exhaustive()
    }
}
