//! `doctor`: what this machine has, and what the system lets the program do.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::Value;
use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::printed::print;
use crate::cli::{Context, environment, exit};
use crate::observe::words::{Tone, paint};
use crate::playbook::{Playbook, ToolVersion};
use crate::process::{Cancel, Command, Exit};
use crate::project::Project;
use crate::secret::Mask;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    fine: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// The programs that a playbook can start, by the names that were written.
pub(super) fn programs(playbook: &Playbook) -> BTreeSet<String> {
    playbook
        .commands()
        .into_iter()
        .filter_map(|(argv, _)| argv.first())
        .map(|first| first.source.clone())
        .filter(|program| !program.contains('{') && !program.contains('/'))
        .collect()
}

/// `doctor`.
pub(super) fn doctor(context: &Context, json: bool) -> Result<u8, Error> {
    let project = context.project()?;
    let mut findings = Vec::new();
    for program in programs(&project.playbook) {
        let found = which::which(&program);
        findings.push(match found {
            Err(_) => Finding {
                what: program,
                fine: false,
                found: "not on PATH".into(),
                help: Some("install it".into()),
            },
            Ok(path) => match project
                .playbook
                .tools
                .get(&program)
                .and_then(|tool| tool.version.as_ref())
            {
                None => Finding {
                    what: program,
                    fine: true,
                    found: path.display().to_string(),
                    help: None,
                },
                Some(version) => version_of(&project, &program, version)?,
            },
        });
    }
    findings.push(state(&project));
    findings.push(Finding {
        what: "process trees".into(),
        fine: true,
        found: if cfg!(target_os = "linux") {
            "whole trees are owned, also what leaves its session; survivors of a crash are found and ended"
                .into()
        } else {
            "process groups only: on this system nothing tells what has left its group, or survived a crash (docs/trust.md)".into()
        },
        help: None,
    });
    let fine = findings.iter().all(|finding| finding.fine);
    let text = if json {
        format!(
            "{}\n",
            serde_json::json!({ "fine": fine, "findings": findings })
        )
    } else {
        findings.iter().fold(String::new(), |text, finding| {
            let (word, tone) = if finding.fine {
                ("ok  ", Tone::Good)
            } else {
                ("FAIL", Tone::Bad)
            };
            let help = finding
                .help
                .as_ref()
                .map_or_else(String::new, |help| format!(" — {help}"));
            let word = paint(tone, word, context.colour_out);
            text + &format!("{word} {:<14} {}{help}\n", finding.what, finding.found)
        })
    };
    print(&text, if fine { exit::DONE } else { exit::CANNOT_START })
}

/// The versions of the tools that the playbook asks about, and those that will not do, or cannot be told, in a sentence each.
pub(super) fn versions(
    project: &Project,
    programs: &BTreeSet<String>,
) -> Result<(BTreeMap<String, String>, Vec<String>), Error> {
    let mut versions = BTreeMap::new();
    let mut wrong = Vec::new();
    for program in programs {
        let tool = project.playbook.tools.get(program);
        let Some(version) = tool.and_then(|tool| tool.version.as_ref()) else {
            continue;
        };
        let finding = version_of(project, program, version)?;
        if finding.fine {
            versions.insert(program.clone(), finding.found);
        } else {
            let help = finding
                .help
                .map_or_else(String::new, |help| format!(": {help}"));
            wrong.push(format!("`{program}` is {}{help}", finding.found));
        }
    }
    Ok((versions, wrong))
}

fn state(project: &Project) -> Finding {
    match crate::workspace::Workspace::open_or_create(&project.root) {
        Ok(workspace) => Finding {
            what: "state folder".into(),
            fine: true,
            found: workspace.path().display().to_string(),
            help: None,
        },
        Err(error) => Finding {
            what: "state folder".into(),
            fine: false,
            found: error.to_string(),
            help: Some("the project's folder must be writable".into()),
        },
    }
}

fn version_of(project: &Project, program: &str, version: &ToolVersion) -> Result<Finding, Error> {
    let scope = project.inventory.scope();
    let argv: Vec<String> = version
        .run
        .iter()
        .map(|word| {
            project
                .templates
                .text(word, &scope)
                .map_err(|error| Error::usage(error.to_string()))
        })
        .collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
    let mut command = Command::new(
        argv,
        environment(),
        project.root.clone(),
        format!("doctor-{}/", std::process::id()),
    );
    command.timeout = Some(std::time::Duration::from_secs(10));
    let ended = runtime.block_on(crate::process::run(
        command,
        &Mask::new(),
        &Cancel::new(),
        |_| {},
        |_, _| {},
    ));
    let finding = |fine: bool, found: String, help: Option<String>| Finding {
        what: program.to_owned(),
        fine,
        found,
        help,
    };
    Ok(match ended {
        Err(error) => finding(false, error.to_string(), None),
        Ok(ended) if ended.exit != Exit::Code(0) => {
            finding(false, "in a version that cannot be asked".into(), None)
        }
        Ok(ended) => {
            let text = String::from_utf8_lossy(&ended.stdout).into_owned();
            let found = regex_lite::Regex::new(&version.find)
                .ok()
                .and_then(|regex| {
                    regex.captures(&text).map(|groups| {
                        groups
                            .get(groups.len() - 1)
                            .map_or("", |group| group.as_str())
                            .to_owned()
                    })
                });
            match found {
                None => finding(false, "in a version that cannot be read".into(), None),
                Some(found) => {
                    let scope = scope.with("found", Value::from(found.as_str()));
                    let fits = match &version.fits {
                        None => true,
                        Some(fits) => project
                            .templates
                            .holds(fits, &scope)
                            .map_err(|error| Error::usage(error.to_string()))?,
                    };
                    finding(fits, found, if fits { None } else { version.say.clone() })
                }
            }
        }
    })
}
