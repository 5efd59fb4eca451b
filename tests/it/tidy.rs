//! What the code and its documents promise each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Lab, repository};

/// Which module of the library may use which. `docs/architecture.md` shows the same table.
const ARROWS: [(&str, &[&str]); 18] = [
    ("document", &[]),
    ("secret", &[]),
    ("template", &["document"]),
    ("kind", &["document", "template"]),
    ("inventory", &["document", "kind", "template"]),
    ("playbook", &["document", "inventory", "kind", "template"]),
    (
        "project",
        &["document", "inventory", "playbook", "template"],
    ),
    (
        "tree",
        &["document", "inventory", "playbook", "project", "template"],
    ),
    (
        "plan",
        &[
            "document",
            "inventory",
            "kind",
            "playbook",
            "project",
            "template",
            "tree",
        ],
    ),
    ("run", &["plan"]),
    ("journal", &[]),
    ("process", &["secret"]),
    ("workspace", &["secret"]),
    ("engine", &["journal", "plan", "process", "run"]),
    (
        "perform",
        &[
            "engine",
            "plan",
            "playbook",
            "process",
            "project",
            "run",
            "secret",
            "template",
            "tree",
            "workspace",
        ],
    ),
    (
        "observe",
        &["engine", "journal", "plan", "run", "workspace"],
    ),
    (
        "cli",
        &[
            "document",
            "engine",
            "inventory",
            "journal",
            "observe",
            "perform",
            "plan",
            "playbook",
            "process",
            "project",
            "run",
            "secret",
            "template",
            "tree",
            "workspace",
        ],
    ),
    ("main", &["cli", "process"]),
];

/// Words that only playbooks, templates and the lab may know.
const TOOLS: [&str; 6] = ["talosctl", "kubectl", "helm", "flux", "cilium", "velero"];

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder of the repository with this ending, by its path in it.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    fn collect(folder: &Path, ending: &str, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, ending, all);
            } else if path.to_string_lossy().ends_with(ending) {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    collect(&repository().join(folder), ending, &mut all);
    all.sort();
    assert!(!all.is_empty(), "{folder} has no {ending}");
    all.into_iter()
        .map(|path| {
            let name = path.strip_prefix(repository()).unwrap();
            (
                name.to_str().unwrap().to_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

/// The library's code, without its tests.
fn library() -> Vec<(String, String)> {
    files("src", ".rs")
        .into_iter()
        .filter(|(name, _)| {
            let tests = name.ends_with("tests.rs") || name.contains("/tests/");
            !name.starts_with("src/bin/") && !tests
        })
        .map(|(name, text)| {
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
            (name, code)
        })
        .collect()
}

/// The words of a text: letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

fn complain(wrong: &[String], why: &str) {
    assert!(wrong.is_empty(), "{why}\n{}", wrong.join("\n"));
}

#[test]
fn modules_use_each_other_as_the_architecture_says() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, code) in library() {
        let module = name["src/".len()..]
            .split(['/', '.'])
            .next()
            .unwrap()
            .to_owned();
        if module == "lib" {
            continue;
        }
        let uses = found.entry(module.clone()).or_default();
        for line in code.lines().filter(|line| !line.trim().starts_with("//")) {
            for root in ["crate::", "bootstrap::"] {
                for (at, _) in line.match_indices(root) {
                    let rest = &line[at + root.len()..];
                    assert!(
                        !rest.starts_with('{'),
                        "{name}: one `use` a module, so that arrows can be read"
                    );
                    let other = words(rest).next().unwrap_or_default();
                    if other != module && ARROWS.iter().any(|(known, _)| *known == other) {
                        uses.insert(other.to_owned());
                    }
                }
            }
        }
    }
    let table: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(module, uses)| {
            (
                (*module).to_owned(),
                uses.iter().map(ToString::to_string).collect(),
            )
        })
        .collect();
    assert_eq!(found, table, "the code (left) and the table (right)");

    // No cycle: a module uses only what stands above it in the table.
    for (at, (module, uses)) in ARROWS.iter().enumerate() {
        for other in *uses {
            let place = ARROWS.iter().position(|(known, _)| known == other).unwrap();
            assert!(place < at, "{module} uses {other}, which stands below it");
        }
    }

    let architecture = read("docs/architecture.md");
    let section = architecture
        .split("\n## ")
        .find(|section| section.starts_with("Modules and their arrows"))
        .unwrap();
    let documented: BTreeMap<String, BTreeSet<String>> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let module = cells.next()?.trim().trim_end_matches('`').to_owned();
            let uses = words(cells.next()?).map(str::to_owned).collect();
            Some((module, uses))
        })
        .collect();
    assert_eq!(
        documented, table,
        "docs/architecture.md (left) and the table (right)"
    );
}

#[test]
fn the_engine_names_no_tool() {
    let mut wrong = Vec::new();
    for (name, code) in library() {
        for (number, line) in code.lines().enumerate() {
            if words(&line.to_lowercase()).any(|word| TOOLS.contains(&word)) {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    complain(&wrong, "tools are known to playbooks and templates only");
}

#[test]
fn the_lab_and_the_engine_share_nothing() {
    let mut wrong = Vec::new();
    for (name, text) in files("src/bin/lab", ".rs") {
        for (number, line) in text.lines().enumerate() {
            // A module of the lab's own is called `bootstrap`, too.
            let borrowed = ARROWS
                .iter()
                .any(|(module, _)| line.contains(&format!("bootstrap::{module}::")));
            if borrowed || line.trim().starts_with("use bootstrap::") {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    complain(&wrong, "a mistake must not be made twice and cancel out");
}

/// The folders of what people write here.
const WRITTEN: [&str; 7] = [
    "src",
    "tests/it",
    "benches",
    "docs",
    "playbooks",
    "templates",
    "tools",
];

#[test]
fn nothing_is_left_for_later() {
    // In two parts, so that this file does not find itself.
    let later = [
        ["to", "do!"],
        ["unimple", "mented!"],
        ["db", "g!"],
        ["FIX", "ME"],
        ["TO", "DO"],
        ["XX", "X"],
    ]
    .map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for folder in WRITTEN {
        for (name, text) in files(folder, "") {
            for (number, line) in text.lines().enumerate() {
                let found = later.iter().any(|word| {
                    line.match_indices(word.as_str()).any(|(at, _)| {
                        let before = line[..at].chars().next_back();
                        let after = line[at + word.len()..].chars().next();
                        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                        !inside(before) && !inside(after)
                    })
                });
                if found {
                    wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    complain(&wrong, "later is an issue, not a comment");
}

#[test]
fn nothing_names_this_machine() {
    let mut wrong = Vec::new();
    let here = [
        ["/ro", "ot/"],
        ["/wo", "rk/"],
        ["/home/", "runner"],
        ["127.0.0.1:", "3"],
    ]
    .map(|parts| parts.concat());
    for folder in WRITTEN.into_iter().chain(["talos", ".ci"]) {
        for (name, text) in files(folder, "") {
            for (number, line) in text.lines().enumerate() {
                if here.iter().any(|path| line.contains(path.as_str())) {
                    wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    for name in [
        "README.md",
        "Makefile",
        "Cargo.toml",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ] {
        if here.iter().any(|path| read(name).contains(path.as_str())) {
            wrong.push(name.to_owned());
        }
    }
    let lock = read("Cargo.lock");
    for line in lock.lines().filter(|line| line.starts_with("source = ")) {
        if line != "source = \"registry+https://github.com/rust-lang/crates.io-index\"" {
            wrong.push(format!("Cargo.lock: {line}"));
        }
    }
    complain(&wrong, "paths and hosts of one machine");
}

#[test]
fn the_readme_has_the_exit_codes() {
    let readme = read("README.md");
    let rows: Vec<(String, String)> = readme
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
            cells[0].parse::<u8>().ok()?;
            Some((cells[0].to_owned(), cells[1].to_owned()))
        })
        .collect();
    let table: Vec<(String, String)> = bootstrap::cli::exit::TABLE
        .iter()
        .map(|(code, text)| (code.to_string(), (*text).to_owned()))
        .collect();
    assert_eq!(rows, table, "README.md (left) and cli::exit::TABLE (right)");
}

/// The commands of a program, from its help.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let line = line.strip_prefix("  ")?;
            (!line.starts_with(' ')).then(|| line.split_whitespace().next().unwrap().to_owned())
        })
        .filter(|name| name != "help")
        .collect()
}

fn help(program: &str, words: &[&str]) -> String {
    let lab = Lab::without_world();
    let mut command = lab.command(program);
    command.args(words);
    crate::lab::run(command).success().stdout
}

#[test]
fn every_command_is_in_the_documents() {
    let readme = read("README.md");
    let all = commands(&help(env!("CARGO_BIN_EXE_bootstrap"), &["--help"]));
    assert!(all.len() >= 10, "{all:?}");
    for name in all {
        assert!(
            readme.contains(&format!("`bootstrap {name}")),
            "README.md does not name `bootstrap {name}`"
        );
    }
    let lab = read("docs/lab.md");
    for name in commands(&help(env!("CARGO_BIN_EXE_lab"), &["--help"])) {
        assert!(
            lab.contains(&format!("lab {name}")),
            "docs/lab.md does not name `lab {name}`"
        );
    }
}

#[test]
fn the_faults_are_in_the_document() {
    let said = help(env!("CARGO_BIN_EXE_lab"), &["faults"]);
    let list: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
    let document = read("docs/lab.md");
    let shown: Vec<&str> = document
        .split("<!-- lab faults -->")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("```"))
        .collect();
    assert_eq!(shown, list, "docs/lab.md (left) and `lab faults` (right)");
}

#[test]
fn what_the_documents_type_exists() {
    let program = commands(&help(env!("CARGO_BIN_EXE_bootstrap"), &["--help"]));
    let lab = commands(&help(env!("CARGO_BIN_EXE_lab"), &["--help"]));
    let makefile = read("Makefile") + &read("tools/judges/fidelity.mk");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/lab.md",
        "docs/architecture.md",
        "docs/tutorial.md",
        "docs/journal.md",
    ] {
        let text = read(name);
        let mut fence: Option<&str> = None;
        for line in text.lines() {
            if let Some(info) = line.trim().strip_prefix("```") {
                fence = if fence.is_some() { None } else { Some(info) };
                continue;
            }
            // Only what one types: in console blocks after a dollar, in sh blocks everything.
            let typed = match fence {
                Some("console") => line.strip_prefix("$ "),
                Some("sh") => Some(line),
                _ => None,
            };
            let Some(typed) = typed.map(|line| line.split('#').next().unwrap().trim()) else {
                continue;
            };
            for part in typed.split(" -- ").flat_map(|part| part.split("&&")) {
                let mut words = part.split_whitespace().filter(|word| {
                    !word.contains('=')
                        && !["-C", "."].contains(word)
                        && !word.starts_with("target/")
                        || word.ends_with("/lab")
                });
                let (Some(first), second) = (words.next(), words.next().unwrap_or_default()) else {
                    continue;
                };
                let good = match first.rsplit('/').next().unwrap() {
                    "bootstrap" => {
                        second.starts_with('-') || program.iter().any(|known| known == second)
                    }
                    "lab" => lab.iter().any(|known| known == second),
                    "make" => second.is_empty() || makefile.contains(&format!("\n{second}:")),
                    _ => continue,
                };
                seen += 1;
                if !good {
                    wrong.push(format!("{name}: {typed}"));
                }
            }
        }
    }
    assert!(
        seen > 15,
        "only {seen} commands were found in the documents"
    );
    complain(&wrong, "there are no such commands");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut documents = files("docs", ".md");
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "playbooks/README.md",
    ] {
        documents.push((name.to_owned(), read(name)));
    }
    for (name, text) in documents {
        let folder = repository().join(&name).parent().unwrap().to_path_buf();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                wrong.push(format!("{name}: {target}"));
            }
        }
    }
    complain(&wrong, "links to nothing");
}

#[test]
fn the_changelog_has_a_place_for_what_comes() {
    assert!(read("CHANGELOG.md").contains("\n## [Unreleased]\n"));
}

/// Words of the glossary that only people and documents use.
const SPOKEN: [&str; 2] = ["cluster, node", "fresh, ours, foreign, down"];

#[test]
fn the_words_of_the_glossary_are_used() {
    let mut all = String::new();
    for folder in ["src", "playbooks", "docs"] {
        for (name, text) in files(folder, "") {
            if name != "docs/glossary.md" {
                all.push_str(&text.to_lowercase().replace(['_', '-'], " "));
            }
        }
    }
    let glossary = read("docs/glossary.md");
    let mut wrong = Vec::new();
    for line in glossary.lines() {
        let Some(word) = line
            .strip_prefix("| ")
            .and_then(|line| line.split('|').next())
        else {
            continue;
        };
        let word = word.split(" (").next().unwrap().trim();
        if word == "our word" || word.starts_with("---") || SPOKEN.contains(&word) {
            continue;
        }
        for word in word.split(", ") {
            let plain = word.replace('-', " ");
            if !all.contains(&plain) {
                wrong.push(word.to_owned());
            }
        }
    }
    complain(&wrong, "the glossary has words that nothing else uses");
}

#[test]
fn every_law_has_a_test() {
    let mut names = String::new();
    for folder in ["src", "tests/it"] {
        for (_, text) in files(folder, ".rs") {
            names.push_str(&text);
        }
    }
    let missing: Vec<String> = (1..=14)
        .map(|law| format!("fn law_{law:02}_"))
        .filter(|name| !names.contains(name.as_str()))
        .collect();
    complain(&missing, "laws without a test");
}
