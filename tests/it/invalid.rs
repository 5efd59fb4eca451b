//! Law 9, errors point: every folder of `tests/fixtures/invalid` is a project with something wrong, and its `expected.txt` is all that
//! `bootstrap validate` says about it. `UPDATE_EXPECTED=1` writes what is said now; read the difference before you commit it.
#![expect(
    clippy::disallowed_methods,
    reason = "the program is what is tested, and it is started as people start it"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use similar::TextDiff;

/// The exit code for invalid files.
const INVALID: i32 = 3;

fn validate(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .arg("-C")
        .arg(folder)
        .arg("validate")
        .output()
        .unwrap()
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/invalid");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

#[test]
fn law_09_every_broken_project_is_told_as_expected() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut wrong = String::new();
    let mut count = 0;
    for folder in folders() {
        count += 1;
        let name = folder.file_name().unwrap().display().to_string();
        let output = validate(&folder);
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.code() != Some(INVALID) || !output.stdout.is_empty() {
            writeln!(
                wrong,
                "{name}: {}, stdout {:?}",
                output.status, output.stdout
            )
            .unwrap();
        }
        let file = folder.join("expected.txt");
        if update {
            std::fs::write(&file, &said).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if said != expected {
            let diff = TextDiff::from_lines(&expected, &said);
            let diff = diff.unified_diff().header("expected", "said").to_string();
            writeln!(wrong, "{name}:\n{diff}").unwrap();
        }
    }
    assert!(count >= 70, "only {count} folders");
    assert!(
        wrong.is_empty(),
        "{wrong}\nUPDATE_EXPECTED=1 writes what is said now"
    );
}

/// A project of one playbook.
fn project(playbook: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("playbooks")).unwrap();
    std::fs::write(folder.path().join("playbooks/p.yaml"), playbook).unwrap();
    folder
}

#[test]
fn a_file_of_five_megabytes_is_refused_by_its_size() {
    let folder = project(&b"# a long comment\n".repeat(320_000));
    let output = validate(folder.path());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cannot read playbooks/p.yaml: it has 5440000 bytes; a file of more than 4194304 is surely not meant\n\n\
         1 problem found; nothing was run\n"
    );
    assert_eq!(output.status.code(), Some(INVALID));
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = project(b"stories: []\n");
    let file = folder.path().join("playbooks/p.yaml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&file).is_ok() {
        return; // root reads everything
    }
    let output = validate(folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error: cannot read playbooks/p.yaml: Permission denied"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(INVALID));
}

#[test]
fn machines_read_the_same_places() {
    let folder = project(b"stories:\n  - { id: \"1.1\", titel: x }\n");
    let output = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .arg("-C")
        .arg(folder.path())
        .args(["validate", "--json"])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let place = |at: usize| {
        let problem = &said["problems"][at];
        format!(
            "{}:{}:{} {}",
            problem["file"].as_str().unwrap(),
            problem["line"],
            problem["column"],
            problem["message"].as_str().unwrap()
        )
    };
    assert_eq!(place(0), "playbooks/p.yaml:2:7 a story needs `title`");
    assert_eq!(place(1), "playbooks/p.yaml:2:18 a story has no key `titel`");
    assert_eq!(output.status.code(), Some(INVALID));
}
