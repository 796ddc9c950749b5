//! What the guides tell people to type is typed here: commands must be understood, examples must be accepted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_policy::check::{ResourceSet, check};
use portcullis_policy::document::{SourceFile, parse};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn guides() -> Vec<(PathBuf, String)> {
    let mut paths = vec![repository().join("README.md"), repository().join("CONTRIBUTING.md")];
    paths.extend(std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// Lines of shell blocks, without what follows a comment sign or a redirection.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let command =
                line.split(" #").next().unwrap_or_default().split(" > ").next().unwrap_or_default().trim();
            if !command.is_empty() {
                lines.push(command.to_owned());
            }
        }
    }
    lines
}

/// Splits at spaces, keeping what stands in double quotes together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_in_the_guides_is_understood() {
    let mut checked = BTreeSet::new();
    for (path, text) in guides() {
        for line in shell_lines(&text) {
            let Some(rest) = line.strip_prefix("portcullis ") else { continue };
            // With --help a command is parsed as far as its name; a word that it does not know ends with status 2.
            let mut arguments = words(rest);
            let flags: Vec<_> = arguments.iter().filter(|word| word.starts_with("--")).cloned().collect();
            arguments.retain(|word| !word.starts_with('-'));
            let name: Vec<_> = arguments
                .iter()
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                .cloned()
                .collect();
            let help = (1..=name.len().min(3)).rev().find_map(|words| {
                let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
                    .args(&name[..words])
                    .arg("--help")
                    .output()
                    .unwrap();
                output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
            });
            let help = help.unwrap_or_else(|| panic!("{}: no such command: {line}", path.display()));
            for flag in flags {
                assert!(help.contains(&flag), "{}: {line}: no such flag: {flag}", path.display());
            }
            checked.insert(line);
        }
    }
    assert!(checked.len() >= 12, "only {} commands were found: {checked:?}", checked.len());
}

#[test]
fn every_file_and_link_in_the_guides_is_there() {
    for (path, text) in guides() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.starts_with("http") && !target.starts_with('#') {
                let file = path.parent().unwrap().join(target.split('#').next().unwrap());
                assert!(file.exists(), "{}: {target} is not there", path.display());
            }
        }
        for line in shell_lines(&text) {
            for word in words(&line)
                .iter()
                .filter(|word| word.starts_with("scripts/") || word.starts_with("examples/"))
            {
                assert!(repository().join(word).exists(), "{}: {word} is not there", path.display());
            }
        }
    }
}

/// Blocks of YAML that are whole documents; others show a part.
fn yaml_documents(text: &str) -> Vec<String> {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.filter(|block| block.starts_with("apiVersion:")).map(str::to_owned).collect()
}

#[test]
fn every_document_in_the_guides_is_understood() {
    let mut read = 0;
    for (path, text) in guides() {
        for block in yaml_documents(&text) {
            let name = path.display().to_string();
            let documents = parse(&[SourceFile { name: &name, text: &block }]);
            read += documents.unwrap_or_else(|problems| panic!("{block}\n{problems:#?}")).len();
        }
    }
    assert!(read >= 10, "only {read} documents were found");
}

#[test]
fn the_limits_guide_is_accepted_as_one_apply() {
    let text = std::fs::read_to_string(repository().join("docs/limits.md")).unwrap();
    let block = yaml_documents(&text).remove(0);
    let documents = parse(&[SourceFile { name: "limits.md", text: &block }]).unwrap();
    let set: ResourceSet = documents.into_iter().map(|located| located.resource).collect();
    let findings = check(&set);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn the_examples_are_accepted_as_one_apply() {
    let mut files: Vec<_> = std::fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let texts: Vec<_> = files
        .iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    let sources: Vec<_> = texts.iter().map(|(name, text)| SourceFile { name, text }).collect();
    let documents = parse(&sources).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(documents.len() >= 10);
    let set: ResourceSet = documents.into_iter().map(|located| located.resource).collect();
    let findings = check(&set);
    assert!(findings.is_empty(), "{findings:#?}");
}
