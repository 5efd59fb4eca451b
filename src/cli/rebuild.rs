//! `rebuild`: finds out which way a cluster or a node can be rebuilt, shows why, and goes it.
//!
//! Choosing only reads, under the lock of the project (but for `--plan`): what was found would be no longer so if somebody worked meanwhile.
//! What is chosen is written into the journal with the answers that led to it, so that `resume` goes on with that way
//! and does not choose again: after the first step the world is another one.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cli::error::Error;
use crate::cli::work::need_tools;
use crate::cli::{Context, How, Output, PlanHow, SecretsFile, locks, look, work};
use crate::inventory::{Cluster, Node};
use crate::observe::words::{Tone, paint};
use crate::observe::{Detached, put};
use crate::perform::Verdict;
use crate::plan::{self, Extent, Found, Rebuilding, Selection};
use crate::playbook::{Choice, Path, Rebuild};
use crate::project::Project;
use crate::workspace::Workspace;

/// What `rebuild` was given.
#[derive(Debug, clap::Args)]
pub(super) struct RebuildArgs {
    /// A cluster; or `node` and a node, by name or address. Then what else there is to say, as NAME=VALUE.
    #[arg(required = true, value_name = "CLUSTER | node NODE")]
    what: Vec<String>,
    /// Show which way it would go, why, and what would be done; nothing is changed.
    #[arg(long)]
    plan: bool,
    /// Since when it is out of order: a time such as 2026-01-31T02:40:00Z, or how long ago, such as 25m. Phases are counted from then.
    #[arg(long, value_name = "TIME", value_parser = since)]
    outage_since: Option<Timestamp>,
    #[command(flatten)]
    how: How,
}

/// A time, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let at = match (text.parse::<Timestamp>(), text.parse::<SignedDuration>()) {
        (Ok(at), _) => at,
        (_, Ok(ago)) if !ago.is_negative() => now
            .checked_sub(ago)
            .map_err(|error| format!("`{text}` ago: {error}"))?,
        _ => {
            return Err(format!(
                "`{text}` is neither a time such as 2026-01-31T02:40:00Z nor a length of time such as 25m"
            ));
        }
    };
    if at > now {
        return Err(format!("`{text}` is still to come"));
    }
    Ok(at)
}

/// `rebuild`.
pub(super) fn rebuild(context: &Context, args: RebuildArgs) -> Result<u8, Error> {
    let project = Arc::new(context.project()?);
    let (words, typed) = parts(&args.what);
    let (kind, cluster, node) = subject(&project, &words)?;
    let Some(rebuild) = project.playbook.rebuilds.get(kind) else {
        return Err(
            Error::usage(format!("the playbook does not say how to rebuild a {kind}"))
                .hint("`rebuilds:` says it: see docs/rebuild.md"),
        );
    };
    let rebuilding = Rebuilding::new(&project, rebuild, (cluster, node), &typed)
        .map_err(|error| wrong(rebuild, kind, &error))?;
    // What is found out holds only as long as nobody else works here.
    let lock = if args.plan {
        None
    } else {
        let workspace = Workspace::open_or_create(&project.root)?;
        Some(locks::take_workspace_lock(&workspace, None)?)
    };
    let name = node.map_or_else(|| cluster.name().to_owned(), |node| node.name().to_owned());
    let (choice, found) = choose(context, &project, rebuild, &rebuilding, &name, &args.how)?;
    let (story, arguments) = match &choice.path {
        Path::Refuse(say) => {
            return Err(
                Error::cannot_start(format!("{kind} {name} is not rebuilt"), None)
                    .hint(rebuilding.text(&project, say))
                    .hint("nothing was touched"),
            );
        }
        Path::Story { id, arguments, .. } => (id, arguments),
    };
    let chosen = plan::chosen(
        &project,
        &rebuilding,
        (story, arguments),
        found,
        args.outage_since,
    )
    .map_err(|error| Error::cannot_start(error.message, None).hint("nothing was touched"))?;
    if args.how.output != Output::Json {
        let title = project
            .playbook
            .stories
            .get(story)
            .map_or("", |story| story.title.as_str());
        let given: String = chosen
            .arguments
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(text) => format!(", {name}={text}"),
                None => format!(", {name}={value}"),
            })
            .collect();
        let text = format!(
            "{} {story}: {title}{given}\n\n",
            paint(Tone::Good, "way      ", context.colour_err)
        );
        put(&mut Detached::new(std::io::stderr()), &text);
    }
    let selection = Selection::Rebuild(Box::new(chosen));
    if args.plan {
        let how = PlanHow {
            probe: false,
            diff: false,
            json: args.how.output == Output::Json,
            secrets: SecretsFile {
                secrets_file: args.how.secrets.secrets_file,
            },
        };
        return look::plan(context, &selection, Extent::Whole, &how);
    }
    work::run(context, selection, Extent::Whole, &args.how, lock)
}

/// Words, and what looks like NAME=VALUE.
fn parts(all: &[String]) -> (Vec<&str>, Vec<(String, String)>) {
    let mut words = Vec::new();
    let mut typed = Vec::new();
    for word in all {
        match word.split_once('=') {
            Some((name, value)) => typed.push((name.to_owned(), value.to_owned())),
            None => words.push(word.as_str()),
        }
    }
    (words, typed)
}

/// What is to be rebuilt.
fn subject<'a>(
    project: &'a Project,
    words: &[&str],
) -> Result<(&'static str, &'a Cluster, Option<&'a Node>), Error> {
    let inventory = &project.inventory;
    match words {
        ["node", word] => {
            let found = inventory.node(word).and_then(|node| {
                let cluster = inventory.cluster(node.cluster())?;
                Some(("node", cluster, Some(node)))
            });
            found.ok_or_else(|| {
                let known: Vec<&str> = inventory.nodes().map(Node::name).collect();
                Error::usage(format!("there is no node `{word}`"))
                    .hint(format!("the nodes are: {}", known.join(", ")))
            })
        }
        [word] if *word != "node" => {
            let known: Vec<&str> = inventory.clusters().iter().map(Cluster::name).collect();
            inventory
                .cluster(word)
                .map(|cluster| ("cluster", cluster, None))
                .ok_or_else(|| {
                    let error = Error::usage(format!("there is no cluster `{word}`"))
                        .hint(format!("the clusters are: {}", known.join(", ")));
                    match inventory.node(word) {
                        Some(node) => error.hint(format!(
                            "`{}` is a node: bootstrap rebuild node {}",
                            node.name(),
                            node.name()
                        )),
                        None => error,
                    }
                })
        }
        _ => Err(Error::usage("`rebuild` takes one cluster, or `node` and one node")
            .hint("bootstrap rebuild CLUSTER, or bootstrap rebuild node NODE; what else there is to say follows as NAME=VALUE")),
    }
}

fn wrong(rebuild: &Rebuild, kind: &str, error: &plan::bind::Error) -> Error {
    let known: Vec<String> = rebuild
        .parameters
        .iter()
        .map(|parameter| format!("{} ({})", parameter.name, parameter.kind.noun()))
        .collect();
    Error::usage(error.message.clone()).hint(if known.is_empty() {
        format!("of a {kind} there is nothing else to say")
    } else {
        format!("of a {kind} may be said: {}", known.join(", "))
    })
}

/// Asks all questions at once, and gives the first choice whose question is met, with all answers up to it. What cannot be told and would
/// have come first stops it.
fn choose<'a>(
    context: &Context,
    project: &Arc<Project>,
    rebuild: &'a Rebuild,
    rebuilding: &Rebuilding<'_>,
    name: &str,
    how: &How,
) -> Result<(&'a Choice, Vec<Found>), Error> {
    let questions = Arc::new(plan::questions(project, rebuilding));
    need_tools(project, &questions)?;
    let performer =
        look::asking_performer(project, &questions, how.secrets.secrets_file.as_deref())?;
    let say = |word: &str, tone: Tone, text: &str| {
        if how.output != Output::Json {
            let word = paint(tone, &format!("{word:<9}"), context.colour_err);
            put(
                &mut Detached::new(std::io::stderr()),
                &format!("{word} {text}\n"),
            );
        }
    };
    say(
        "rebuild",
        Tone::Plain,
        &format!("{name}: asking which way it can go; this changes nothing"),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
    let answers = runtime.block_on(async {
        let asked = questions.tasks().map(|(ix, _)| performer.probe(ix));
        futures_util::future::join_all(asked).await
    });
    let masked: Vec<(&'static str, String)> = answers
        .into_iter()
        .map(|answer| {
            let answer = answer.unwrap_or_else(|| Verdict::Unknown("it asks nothing".into()));
            let seen = performer.masked_text(answer.seen()).clone();
            (answer.word(), seen)
        })
        .collect();
    performer.goodbye();
    runtime.shutdown_background();
    let mut found = Vec::new();
    let mut answers = questions.tasks().zip(masked);
    for choice in &rebuild.choices {
        if choice.when.is_empty() {
            return Ok((choice, found));
        }
        let mine: Vec<_> = answers.by_ref().take(choice.when.len()).collect();
        let title = mine
            .first()
            .map_or("", |((_, task), _)| task.title.as_str());
        // As long as one of them says no, it does not matter what the others say.
        let no = mine.iter().find(|(_, (word, _))| *word == "unmet");
        let open = mine.iter().find(|(_, (word, _))| *word == "unknown");
        let (met, seen) = match (no, open) {
            (Some((_, (_, seen))), _) => (false, seen.clone()),
            (None, Some((_, (_, seen)))) => {
                say("unknown", Tone::Bad, &format!("{title} ({seen})"));
                return Err(Error::cannot_start(format!("it cannot be told: {title}"), None)
                    .hint(format!("what was seen: {seen}"))
                    .hint("what could not be asked is never taken for an answer; nothing was touched"));
            }
            (None, None) => {
                let seen: Vec<&str> = mine.iter().map(|(_, (_, seen))| seen.as_str()).collect();
                (true, seen.join("; "))
            }
        };
        let (word, tone) = if met {
            ("yes", Tone::Good)
        } else {
            ("no", Tone::Quiet)
        };
        say(word, tone, &format!("{title} ({seen})"));
        found.push(Found {
            question: title.to_owned(),
            met,
            seen,
        });
        if met {
            return Ok((choice, found));
        }
    }
    Err(Error::cannot_start(
        format!("none of the ways to rebuild {name} fits what was found"),
        None,
    )
    .hint("nothing was touched; `rebuilds:` in the playbook says which ways there are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_began_at_a_time_or_so_long_ago_and_never_in_the_future() {
        assert_eq!(
            since("2026-01-31T02:40:00Z").unwrap(),
            "2026-01-31T02:40:00Z".parse().unwrap()
        );
        let ago = since("1h 30m").unwrap();
        let length = Timestamp::now().duration_since(ago).as_secs();
        assert!((5_400..5_500).contains(&length), "{length}");
        assert!(
            since("9999-01-01T00:00:00Z")
                .unwrap_err()
                .contains("still to come")
        );
        assert!(since("yesterday").unwrap_err().contains("neither a time"));
    }

    #[test]
    fn what_is_said_of_it_is_told_from_what_it_is() {
        let all = ["node".to_owned(), "a".to_owned(), "data=lost".to_owned()];
        let (words, typed) = parts(&all);
        assert_eq!(words, ["node", "a"]);
        assert_eq!(typed, [("data".to_owned(), "lost".to_owned())]);
    }
}
