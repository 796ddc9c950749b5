//! `Debug` for messages that carry secrets: what they are about, never the secret itself.

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
