//! Why a store does not open: always with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not be opened. Nothing was changed by trying.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The machine refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{dir} is in use by another control plane{}. One directory serves one control plane; stop the other, or use another --data-dir", holder.as_deref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
        /// The other's process id, when it could be read.
        holder: Option<String>,
    },
    /// What had been written is not what is there.
    #[error(
        "the journal is damaged: {file}, byte {offset}{}: {detail}. Nothing was changed. Restore the journal's directory from a backup. To give up this change and all after it instead, keep a copy, shorten {file} to {offset} bytes and remove the journal files that follow it", version.map(|version| format!(", change {version}")).unwrap_or_default()
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where the first unsound record begins, in bytes.
        offset: u64,
        /// Which change it should be.
        version: Option<u64>,
        /// What is wrong with it.
        detail: String,
    },
    /// Files of the journal are missing.
    #[error(
        "the journal in {dir} is not whole: {detail}. Nothing was changed. Restore the directory from a backup"
    )]
    Incomplete {
        /// The journal's directory.
        dir: PathBuf,
        /// What is missing.
        detail: String,
    },
    /// The index knows of changes, and there is no journal at all.
    #[error(
        "{journal} holds no change, but {index} knows of {version}: the journal was lost. Restore it from a backup; to begin with nothing, remove {index}"
    )]
    JournalLost {
        /// The journal's directory.
        journal: PathBuf,
        /// The index's directory.
        index: PathBuf,
        /// The last version that the index knows.
        version: u64,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, version: Option<u64>, detail: impl Into<String>) -> Self {
        Self::Damaged { file: path.to_owned(), offset, version, detail: detail.into() }
    }
}
