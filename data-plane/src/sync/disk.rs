//! What a data plane keeps to start without a control plane: the last good snapshot, the one before, and the secret part.
//!
//! A file is written beside its name, synced, and moved over it; so there is a whole one at every moment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use portcullis_policy::resource::PlaneLabels;
use portcullis_proto::config::v1 as proto;
use prost::Message;

use super::assemble::{MAX_BYTES, MAX_ENTRIES};
use super::refusal::Refusal;

const SNAPSHOT: &str = "snapshot.bin";
const PREVIOUS: &str = "snapshot.previous.bin";
const SECRETS: &str = "secrets.bin";
const LABELS: &str = "labels.bin";
const SNAPSHOT_MAGIC: &[u8; 8] = b"PCSNAP1\n";
const SECRETS_MAGIC: &[u8; 8] = b"PCSECR1\n";
const LABELS_MAGIC: &[u8; 8] = b"PCLABL1\n";
/// The largest file of labels that is read.
const MAX_LABELS: u64 = 256 * 1024;
/// The largest secrets file that is read.
const MAX_SECRETS: u64 = 64 * 1024 * 1024;
/// Beside the entries' bytes: their frames and the header.
const OVERHEAD: u64 = MAX_ENTRIES as u64 * 24 + 4096;

type Loaded = (proto::SnapshotHeader, Vec<proto::Entry>);

/// The state directory of one data plane.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Makes the directory, for its owner alone, when it is missing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Removes what a crash left of files that were being written: half a file, or secrets that may be replaced since. To be
    /// called before anything is written. What cannot be removed is in nobody's way: the next write reports it.
    pub(super) fn sweep(&self) {
        for name in [SNAPSHOT, SECRETS, LABELS] {
            let left = fresh(&self.dir.join(name));
            match fs::remove_file(&left) {
                Ok(()) => tracing::info!(file = %left.display(), "removed what a crash left"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %left.display(), %error, "what a crash left cannot be removed");
                }
            }
        }
    }

    /// Where snapshots are, the newest first.
    pub(super) fn snapshots(&self) -> [PathBuf; 2] {
        [self.dir.join(SNAPSHOT), self.dir.join(PREVIOUS)]
    }

    /// Keeps a snapshot; the one before stays beside it.
    pub(super) fn keep_snapshot(
        &self,
        header: &proto::SnapshotHeader,
        entries: &[proto::Entry],
    ) -> io::Result<()> {
        let [current, previous] = self.snapshots();
        self.replace(&current, Some(&previous), |file| {
            file.write_all(SNAPSHOT_MAGIC)?;
            let mut frame = Vec::new();
            write(file, &mut frame, header)?;
            entries.iter().try_for_each(|entry| write(file, &mut frame, entry))
        })
    }

    /// Reads a snapshot; none when there is no such file. Nothing of it is checked here but its form.
    pub(super) fn load_snapshot(&self, path: &Path) -> Result<Option<Loaded>, Refusal> {
        let Some(mut bytes) = read(path, SNAPSHOT_MAGIC, MAX_BYTES as u64 + OVERHEAD)? else {
            return Ok(None);
        };
        let header = proto::SnapshotHeader::decode_length_delimited(&mut bytes).map_err(invalid)?;
        let mut entries = Vec::new();
        while bytes.has_remaining() {
            entries.push(proto::Entry::decode_length_delimited(&mut bytes).map_err(invalid)?);
        }
        Ok(Some((header, entries)))
    }

    /// Keeps the secret part, readable by its owner alone.
    pub(super) fn keep_secrets(&self, secrets: &proto::SecretPart) -> io::Result<()> {
        self.replace(&self.dir.join(SECRETS), None, |file| {
            let body = secrets.encode_to_vec();
            file.write_all(SECRETS_MAGIC)?;
            file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
            file.write_all(&body)
        })
    }

    /// Reads the secret part; none when there is no such file.
    pub(super) fn load_secrets(&self) -> io::Result<Option<proto::SecretPart>> {
        let path = self.dir.join(SECRETS);
        let Some(mut bytes) = read(&path, SECRETS_MAGIC, MAX_SECRETS)? else { return Ok(None) };
        let crc = bytes.try_get_u32_le().map_err(invalid)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(invalid("the checksum does not fit"));
        }
        proto::SecretPart::decode(bytes).map(Some).map_err(invalid)
    }

    /// Keeps the labels of the plane.
    pub(super) fn keep_labels(&self, labels: &PlaneLabels) -> io::Result<()> {
        let body = serde_json::to_vec(labels).map_err(io::Error::other)?;
        self.replace(&self.dir.join(LABELS), None, |file| {
            file.write_all(LABELS_MAGIC)?;
            file.write_all(&body)
        })
    }

    /// Reads the labels of the plane; none when there is no such file.
    pub(super) fn load_labels(&self) -> io::Result<Option<PlaneLabels>> {
        kept_labels(&self.dir)
    }

    fn replace(
        &self,
        path: &Path,
        previous: Option<&Path>,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let fresh = fresh(path);
        match fs::remove_file(&fresh) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let written = || -> io::Result<()> {
            // The mode from the first moment on: no time in which others could read it.
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            let mut file = BufWriter::with_capacity(256 * 1024, file);
            fill(&mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        };
        if let Err(error) = written() {
            // What was begun takes room that somebody needs; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        if let Some(previous) = previous {
            match fs::rename(path, previous) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        fs::rename(&fresh, path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// What the data plane whose state this is was to zones last: its labels and its token's. `None` where it never was told. The
/// plane may run.
///
/// # Errors
/// When the file cannot be read, or is no such file.
pub fn kept_labels(dir: &Path) -> io::Result<Option<PlaneLabels>> {
    let bytes = read(&dir.join(LABELS), LABELS_MAGIC, MAX_LABELS)?;
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(invalid)).transpose()
}

/// Where a file is written before it takes its place.
fn fresh(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn write(file: &mut impl Write, frame: &mut Vec<u8>, message: &impl Message) -> io::Result<()> {
    frame.clear();
    message.encode_length_delimited(frame).map_err(io::Error::other)?;
    file.write_all(frame)
}

fn read(path: &Path, magic: &[u8; 8], limit: u64) -> io::Result<Option<Bytes>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length > limit {
        return Err(invalid("larger than any that was written"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    let mut bytes = Bytes::from(bytes);
    if !bytes.starts_with(magic) {
        return Err(invalid("not a file of this kind"));
    }
    bytes.advance(magic.len());
    Ok(Some(bytes))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
