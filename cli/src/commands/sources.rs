//! Files of documents: a file, a directory, or standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use portcullis_proto::admin::v1::SourceFile;

use crate::failure::Failure;

/// Reads all files in the order given; a directory's in the order of their names, not recursively.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::of("standard input", error))?;
            files.push(SourceFile { name: "-".to_owned(), text });
        } else if path.is_dir() {
            let found = documents_in(path)?;
            if found.is_empty() {
                return Err(Failure::new(format!(
                    "{}: no *.yaml, *.yml or *.json in this directory",
                    path.display()
                )));
            }
            for path in found {
                files.push(read_file(&path)?);
            }
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok(files)
}

/// Reads one file.
pub(crate) fn read_file(path: &Path) -> Result<SourceFile, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::of(&name, error))?;
    Ok(SourceFile { name, text })
}

fn documents_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail = |error| Failure::of(directory.display(), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let is_document = path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if is_document && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
