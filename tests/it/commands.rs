//! Every command line that the shipped playbook can issue, before the strict parsers of the tools.
//!
//! `--help` is appended: Cobra finds the command, then reads the flags, and only then shows the help. So what is asked is whether the
//! command exists and takes these flags; nothing is done.

use std::path::Path;

use bootstrap::project::Project;

use crate::lab::{Lab, Outcome, repository, run};

/// The command lines with something in the place of each template.
fn command_lines() -> Vec<Vec<String>> {
    let project = Project::load(repository()).unwrap();
    project
        .playbook
        .commands()
        .iter()
        .map(|(argv, _)| argv.iter().map(|word| filled(&word.source)).collect())
        .collect()
}

/// A text with a stand-in for each `{{ … }}`: an address, a version or a word, as its name has it.
fn filled(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{{") {
        let (expression, after) = after.split_once("}}").unwrap();
        out.push_str(before);
        out.push_str(if expression.contains("talos") {
            "1.11.2"
        } else if expression.contains("kubernetes") {
            "1.34.1"
        } else if expression.contains("ip") {
            "10.25.11.11"
        } else {
            "infra"
        });
        rest = after;
    }
    out + rest
}

/// Complains about all command lines that are not taken.
fn judge(lines: &[Vec<String>], ask: impl Fn(&[String]) -> Outcome) {
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|argv| {
            let outcome = ask(argv);
            (outcome.code != Some(0)).then(|| {
                format!(
                    "{}\n  exit {:?}: {}{}",
                    argv.join(" "),
                    outcome.code,
                    outcome.stderr,
                    outcome.stdout
                )
            })
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} command lines are refused\n{}",
        wrong.len(),
        lines.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_command_line_of_the_playbook_is_one_that_the_lab_takes() {
    let lab = Lab::new();
    let lines = command_lines();
    for tool in ["talosctl", "kubectl", "op", "dig"] {
        assert!(
            lines.iter().any(|argv| argv[0] == tool),
            "no command line of {tool}"
        );
    }
    // Git is nobody's to play. A tool that the lab does not play at all cannot be run in it, and `run` says so before anything starts.
    let bin = lab.world().join("bin");
    let lines: Vec<Vec<String>> = lines
        .into_iter()
        .filter(|argv| bin.join(&argv[0]).exists())
        .collect();
    judge(&lines, |argv| {
        let mut command = lab.command(lab.world().join("bin").join(&argv[0]));
        command.env("LAB_WORLD", lab.world()).args(&argv[1..]);
        // dig is no Cobra program; asking is harmless, and what it is asked here nobody can answer (9).
        if argv[0] == "dig" {
            let said = run(command);
            return Outcome {
                code: said.code.map(|code| if code == 9 { 0 } else { code }),
                ..said
            };
        }
        command.arg("--help");
        run(command)
    });
}

#[test]
fn a_flag_that_no_tool_has_is_refused() {
    let lab = Lab::new();
    for tool in ["talosctl", "kubectl", "op"] {
        let mut command = lab.command(lab.world().join("bin").join(tool));
        command
            .env("LAB_WORLD", lab.world())
            .args(["--certainly-not-a-flag", "--help"]);
        let said = run(command);
        assert_ne!(said.code, Some(0), "{tool}");
        assert!(said.stderr.contains("unknown flag"), "{}", said.stderr);
    }
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn every_command_line_is_one_that_the_real_tool_takes() {
    const TOOLS: [&str; 4] = ["kubectl", "helm", "flux", "cilium"];
    let Some(judges) = std::env::var_os("BOOTSTRAP_JUDGES") else {
        return;
    };
    let lab = Lab::without_world();
    let lines: Vec<Vec<String>> = command_lines()
        .into_iter()
        .filter(|argv| TOOLS.contains(&argv[0].as_str()))
        // kubectl is always built, the others where the GitOps tree is judged.
        .filter(|argv| argv[0] == "kubectl" || Path::new(&judges).join(&argv[0]).exists())
        .collect();
    assert!(lines.iter().any(|argv| argv[0] == "kubectl"));
    judge(&lines, |argv| {
        let mut command = lab.command(Path::new(&judges).join(&argv[0]));
        command.args(&argv[1..]).arg("--help");
        run(command)
    });
}
