//! Law 8: a secret is nowhere it need not be.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::drill::{RUN, Running, forms, judge, leaks, processes};
use crate::lab::{Lab, repository};
use crate::wait::moment;

#[test]
fn law_08_no_secret_is_in_a_file_a_word_or_the_environment_of_a_process() {
    let lab = Lab::new();
    let home = format!("XDG_STATE_HOME={}", lab.folder().join("state").display());
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        // Whoever lives in the lab's folder is looked at, again and again: its arguments and its environment.
        let sampler = scope.spawn(|| {
            let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                for (_, command, environ) in processes() {
                    let ours = environ
                        .split(|&byte| byte == 0)
                        .any(|variable| variable == home.as_bytes());
                    if ours {
                        seen.insert(command);
                        seen.insert(environ);
                    }
                }
                moment();
            }
            seen
        });
        let outcome = Running::start(&lab, RUN, &[]).wait();
        over.store(true, Ordering::Relaxed);
        outcome.success();
        sampler.join().unwrap()
    });
    let secrets = lab.secrets();
    assert!(secrets.len() >= 20, "{}", secrets.len());
    let called = seen
        .iter()
        .filter(|text| text.windows(12).any(|part| part == b"BOOTSTRAP_MA"))
        .count();
    assert!(called > 20, "only {called} processes with a mark were seen");
    for text in &seen {
        let text = String::from_utf8_lossy(text);
        for secret in &secrets {
            assert!(
                !forms(secret).iter().any(|form| text.contains(form)),
                "a secret in the arguments or the environment of a process"
            );
        }
    }
    judge(&lab).is_well("a whole run");

    // And the program's own search finds what it should, where it may be, and nowhere else.
    let audit = lab.bootstrap(["audit", "--json"]).success().json();
    assert_eq!(audit["found"].as_array().unwrap().len(), 0, "{audit:#}");
    assert!(audit["references"].as_u64().unwrap() >= 28, "{audit:#}");
    assert!(
        !audit["allowed"].as_array().unwrap().is_empty(),
        "{audit:#}"
    );
    let report = lab.bootstrap(["report"]).success().stdout;
    assert!(report.contains("16 of 16 criteria met"), "{report}");

    // What people look at afterwards shows none either.
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["report"],
        &["report", "--json"],
        &["audit"],
        &["logs"],
        &["runs"],
        &["plan", "story", "1.3", "--diff"],
    ] {
        let said = lab.bootstrap(words.iter().copied());
        let text = said.stdout + &said.stderr;
        assert!(
            !secrets
                .iter()
                .flat_map(|secret| forms(secret))
                .any(|form| text.contains(&form)),
            "a secret in what `{}` shows",
            words.join(" ")
        );
    }
}

#[test]
fn law_08_a_session_that_ends_and_a_wrong_answer_show_no_secret() {
    let lab = Lab::with(&[
        "--fault",
        "op-expired-heals",
        "--fault",
        "apply-eof",
        "--fault",
        "unavailable=12",
    ]);
    Running::start(&lab, RUN, &[]).wait().success();
    judge(&lab).is_well("with faults");
}

#[test]
fn law_08_the_two_files_that_hold_secrets_are_their_owners_and_git_ignores_them() {
    let lab = Lab::new();
    Running::start(&lab, RUN, &[]).wait().success();
    let ignored = std::fs::read_to_string(repository().join(".gitignore")).unwrap();
    for name in ["talos/talosconfig", "kubernetes/kubeconfig"] {
        let mode = std::fs::metadata(lab.project().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert!(
            ignored.lines().any(|line| line == format!("/{name}")),
            "{name} is not in .gitignore"
        );
    }
    // The judge does see secrets where they are: without that, to find none would mean nothing.
    let secret = lab.secrets().pop().unwrap();
    let encoded = &forms(&secret)[2];
    lab.write("talos/careless.txt", &format!("token: {encoded}\n"));
    assert_eq!(leaks(&lab).len(), 1);
}
