//! What the fuzzer has found worth keeping, the shipped files and the broken projects, each cut short and with a byte changed here and
//! there: every reader takes them without a panic, as it takes them in `make fuzz`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::drill::Chance;
use crate::lab::repository;

#[path = "../../fuzz/src/readers.rs"]
#[expect(unreachable_pub, reason = "the fuzzer's targets use the same file")]
mod readers;

/// What a reader is tried with: a name for it, and the bytes.
type Seeds = Vec<(String, Vec<u8>)>;

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect();
    files.sort();
    files
}

fn named(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    (path.display().to_string(), bytes)
}

/// The corpus of a reader, with the files of the repository that it reads.
fn seeds(reader: &str) -> Seeds {
    let root = repository();
    let mut seeds: Seeds = files(&root.join("fuzz/corpus").join(reader))
        .into_iter()
        .map(|path| named(&path))
        .collect();
    let ends = |path: &Path, ending: &str| path.extension().is_some_and(|e| e == ending);
    let shipped = ["playbooks", "talos", "templates", "tests/fixtures/house"];
    let shipped = shipped.iter().flat_map(|folder| files(&root.join(folder)));
    match reader {
        "document" => seeds.extend(
            shipped
                .filter(|path| ends(path, "yaml"))
                .map(|path| named(&path)),
        ),
        "inventory" => seeds.extend(
            shipped
                .filter(|path| path.ends_with("inventory.yaml"))
                .map(|path| named(&path)),
        ),
        "template" => seeds.extend(
            shipped
                .filter(|path| ends(path, "j2"))
                .map(|path| named(&path)),
        ),
        "project" => {
            for folder in projects() {
                seeds.push((folder.display().to_string(), readers::pack(&folder)));
            }
        }
        "journal" => {
            for name in ["journal-v1.jsonl", "journal-v1-run.jsonl"] {
                seeds.push(named(&root.join("tests/fixtures").join(name)));
            }
        }
        other => panic!("{other} has no seeds"),
    }
    seeds
}

/// The broken projects and the whole one.
fn projects() -> Vec<PathBuf> {
    let fixtures = repository().join("tests/fixtures");
    let mut folders = vec![fixtures.join("house")];
    for entry in fs::read_dir(fixtures.join("invalid")).unwrap() {
        folders.push(entry.unwrap().path());
    }
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders
}

/// Every seed as it is; then `more` of them hurt: cut, a byte changed, a piece doubled or taken out.
fn replay(reader: &str, more: usize) {
    let (_, read) = readers::READERS
        .into_iter()
        .find(|(name, _)| *name == reader)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seeds = seeds(reader);
    assert!(!seeds.is_empty());
    for (name, bytes) in &seeds {
        with_name(name, || read(folder.path(), bytes));
    }
    let mut chance = Chance::new(seeds.len() as u64);
    for _ in 0..more {
        let (name, bytes) = &seeds[chance.between(0, seeds.len() - 1)];
        let hurt = hurt(bytes.clone(), &mut chance);
        with_name(
            &format!("{name}, hurt: {:?}", String::from_utf8_lossy(&hurt)),
            || {
                read(folder.path(), &hurt);
            },
        );
    }
}

fn hurt(mut bytes: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    const SIGNS: &[u8] = b"\0\t\n \"#%&'*,-:>?@[\\]_`{|}~\x80\xc3\xe2\xff";
    if bytes.is_empty() {
        return bytes;
    }
    let end = bytes.len();
    let from = chance.between(0, end - 1);
    let to = chance.between(from, end.min(from + 60));
    match chance.between(0, 4) {
        0 => bytes.truncate(from),
        1 => bytes[from] = SIGNS[chance.between(0, SIGNS.len() - 1)],
        2 => bytes.insert(from, SIGNS[chance.between(0, SIGNS.len() - 1)]),
        3 => drop(bytes.drain(from..to)),
        _ => {
            let piece = bytes[from..to].to_vec();
            let at = chance.between(0, end);
            bytes.splice(at..at, piece);
        }
    }
    bytes
}

/// Says which seed it was when it fails.
fn with_name(name: &str, act: impl FnOnce()) {
    struct Named<'a>(&'a str);
    impl Drop for Named<'_> {
        #[expect(clippy::print_stderr, reason = "only when the test fails")]
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("it was {}", self.0);
            }
        }
    }
    let named = Named(name);
    act();
    drop(named);
}

#[test]
fn every_document_of_the_corpus_is_read_or_refused_with_a_place() {
    replay("document", 300);
}

#[test]
fn every_inventory_of_the_corpus_is_read_or_refused_with_a_place() {
    replay("inventory", 200);
}

#[test]
fn every_template_of_the_corpus_is_rendered_or_refused_with_a_place() {
    replay("template", 300);
}

#[test]
fn every_project_of_the_corpus_has_a_plan_or_is_refused_with_a_place() {
    replay("project", 150);
}

#[test]
fn law_13_every_journal_of_the_corpus_is_read_whole_or_refused_with_its_line() {
    replay("journal", 100);
}
