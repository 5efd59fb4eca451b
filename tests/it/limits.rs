//! Files that are larger, deeper or longer than anybody means are refused with a sentence; the program neither ends on its stack nor works
//! for hours. None of these tests looks at a clock: where work grew with the square of the size, they would not end.
#![expect(
    clippy::disallowed_methods,
    reason = "the program is what is tested, and a stack that overflows ends its process"
)]

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

/// What `validate` says of a project of these files.
fn validate(files: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .arg("-C")
        .arg(folder.path())
        .arg("validate")
        .output()
        .unwrap()
}

/// What it says when it refuses.
#[track_caller]
fn refused(files: &[(&str, &str)]) -> String {
    let output = validate(files);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    said
}

#[track_caller]
fn accepted(files: &[(&str, &str)]) {
    let output = validate(files);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
}

/// A playbook of one story with these steps.
fn playbook(steps: &str) -> String {
    format!("stories:\n  - id: \"1.1\"\n    title: T\n    steps:\n{steps}")
}

fn saying(text: &str) -> String {
    playbook(&format!(
        "      - {{ id: a, title: t, exec: [echo, \"{text}\"] }}\n"
    ))
}

#[test]
fn chains_that_would_use_up_the_stack_are_refused() {
    const MANY: usize = 50_000;
    for link in [
        "+1", " ~ 1", "**1", "|string", ".a", "()", "[0]", "[:]", " or 1", " is true",
    ] {
        let said = refused(&[(
            "playbooks/p.yaml",
            &saying(&format!("{{{{ 1{} }}}}", link.repeat(MANY))),
        )]);
        assert!(
            said.contains("signs and operators hang on each other here"),
            "{link}: {}",
            &said[..200]
        );
    }
    for first in ["-", "not "] {
        let said = refused(&[(
            "playbooks/p.yaml",
            &saying(&format!("{{{{ {}1 }}}}", first.repeat(MANY))),
        )]);
        assert!(
            said.contains("signs and operators hang on each other here"),
            "{first}"
        );
    }
    let branches = format!(
        "{{% if true %}}{}{{% endif %}}",
        "{% elif true %}".repeat(MANY)
    );
    let said = refused(&[("playbooks/p.yaml", &saying(&branches))]);
    assert!(said.contains("more than 100 `elif` are in this template"));
}

#[test]
fn a_chain_in_a_template_file_is_pointed_at_in_that_file() {
    let steps = playbook("      - { id: a, title: t, render: templates/t.j2, to: out }\n");
    let chain = format!("first\n  {{{{ 1{} }}}}\n", " + 1".repeat(500));
    let said = refused(&[("playbooks/p.yaml", &steps), ("templates/t.j2", &chain)]);
    assert!(said.contains("--> templates/t.j2:2:"), "{said}");
    assert!(said.contains("more than 400 signs and operators hang on each other here"));
    let huge = "x".repeat(5_000_000);
    let said = refused(&[("playbooks/p.yaml", &steps), ("templates/t.j2", &huge)]);
    assert!(
        said.contains("it has 5000000 bytes; a file of more than 4194304 is surely not meant"),
        "{said}"
    );
}

#[test]
fn of_more_problems_than_anybody_reads_the_first_thousand_are_told() {
    let mut text = String::new();
    for number in 0..45_000 {
        writeln!(text, "key{number}: 1").unwrap();
    }
    let said = refused(&[("playbooks/p.yaml", &text)]);
    assert!(
        said.contains("error: a playbook file has no key `key999`"),
        "{}",
        &said[..300]
    );
    assert!(!said.contains("key1000`"));
    assert!(said.contains("error: there may be more problems than these 1000\n"));
    assert!(said.ends_with("1001 problems found; nothing was run\n"));

    let mut names = String::new();
    for number in 0..20_000 {
        write!(names, "{{{{ n{number} }}}} ").unwrap();
    }
    let said = refused(&[("playbooks/p.yaml", &saying(&names))]);
    assert!(said.contains("there may be more problems than these 1000"));
}

#[test]
fn what_is_nested_or_repeated_without_end_is_refused() {
    let said = refused(&[("playbooks/p.yaml", &format!("a: {}\n", "[".repeat(200_000)))]);
    assert!(said.contains("this is not valid YAML"), "{said}");
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for number in 1..9 {
        let before = format!("*a{},", number - 1).repeat(10);
        writeln!(bomb, "a{number}: &a{number} [{before}]").unwrap();
    }
    let said = refused(&[("playbooks/p.yaml", &bomb)]);
    assert!(
        said.contains("the aliases of this file unfold to far too much"),
        "{said}"
    );
}

#[test]
fn three_thousand_nodes_are_no_problem() {
    let mut inventory = String::from(
        "lints: [{ that: 'cluster.nodes | length == 3000', say: no, for_each: nodes }]\nclusters:\n  a:\n    nodes:\n",
    );
    for number in 0..3000 {
        writeln!(inventory, "      n{number}: {{}}").unwrap();
    }
    let steps = playbook(
        "      - { id: a, title: t, for_each: nodes, exec: [echo, \"{{ node.name }}\"] }\n",
    );
    accepted(&[("playbooks/p.yaml", &steps), ("inventory.yaml", &inventory)]);
}

#[test]
fn a_length_of_time_that_no_clock_holds_is_refused() {
    let steps = playbook(
        "      - id: a\n        title: t\n        exec: [echo]\n        timeout: 9223372036854775807s\n        retry: { attempts: 3, every: 8785h }\n",
    );
    let said = refused(&[("playbooks/p.yaml", &steps)]);
    assert!(said.contains("`timeout` is longer than a year"), "{said}");
    assert!(said.contains("`every` is longer than a year"), "{said}");
    accepted(&[(
        "playbooks/p.yaml",
        &playbook("      - { id: a, title: t, exec: [echo], timeout: 8784h }\n"),
    )]);
}
