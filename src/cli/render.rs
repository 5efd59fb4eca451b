//! `render`: files that the playbook knows how to make, to look at, to compare or to keep.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::cli::error::Error;
use crate::cli::look::asking_performer;
use crate::cli::printed::Printed;
use crate::cli::{Context, SecretsFile, exit};
use crate::inventory::{Axis, Cluster};
use crate::observe::put;
use crate::perform::tree::{self, TreeError};
use crate::perform::write_file;
use crate::plan::{Extent, Selection};
use crate::playbook::{ForEach, References, RenderTarget};
use crate::project::Project;
use crate::template::Scope;

/// What `render` is asked.
#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    /// Which target.
    target: String,
    /// Only files whose name contains this.
    filter: Option<String>,
    /// Write the files below this folder; without it they are printed (a tree is written to its own folder).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show how the files there differ; nothing is written, exit 2 if they do.
    #[arg(long)]
    diff: bool,
    /// Of a tree: only what is shared and what is this cluster's.
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Of a tree: overwrite and remove also what a person changed.
    #[arg(long)]
    force: bool,
    /// What becomes of references to secrets.
    #[arg(long, value_name = "HOW", default_value = "references")]
    secrets: Secrets,
    #[command(flatten)]
    secrets_file: SecretsFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Secrets {
    /// They stay as they are written: to look at.
    References,
    /// Base64 of themselves: what wants base64 there can read the file.
    Placeholders,
    /// The values; only to a folder, files of mode 0600.
    Resolve,
}

/// `render`.
pub(super) fn render(context: &Context, args: &RenderArgs) -> Result<u8, Error> {
    let project = Arc::new(context.project()?);
    // Everything is checked before anything runs, here too.
    let plan = Arc::new(crate::cli::work::make_plan(
        context,
        &project,
        &Selection::Everything,
        Extent::Whole,
    )?);
    let Some(target) = project.playbook.renders.get(&args.target) else {
        let known: Vec<&str> = project
            .playbook
            .renders
            .keys()
            .map(String::as_str)
            .collect();
        return Err(Error::usage(format!(
            "there is nothing to render called `{}`",
            args.target
        ))
        .hint(format!("there is: {}", known.join(", "))));
    };
    if !target.trees.is_empty() {
        return render_tree(&project, target, args);
    }
    if args.cluster.is_some() || args.force {
        return Err(
            Error::usage("`--cluster` and `--force` are for trees").hint(format!(
                "`{}` is no tree; it takes a part of a name: bootstrap render {} infra",
                args.target, args.target
            )),
        );
    }
    if args.diff && args.out.is_none() {
        return Err(Error::usage("`--diff` compares with files in a folder").hint("give --out DIR"));
    }
    if args.secrets == Secrets::Resolve && args.out.is_none() {
        return Err(Error::usage("resolved secrets are not printed")
            .hint("give --out DIR: the files get mode 0600"));
    }
    let performer = asking_performer(&project, &plan, args.secrets_file.secrets_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
    let scopes = scopes(&project, target)?;
    let references = match args.secrets {
        Secrets::References | Secrets::Placeholders => References::Placeholders,
        Secrets::Resolve => References::Resolve,
    };
    let rendered = runtime.block_on(futures_util::future::join_all(
        scopes
            .iter()
            .map(|scope| performer.render(target, scope, references)),
    ));
    let mut files = Vec::new();
    for result in rendered {
        let (name, text) = result.map_err(|failure| {
            let lines = failure.last_lines.join("\n    ");
            let error = Error::cannot_start(
                format!(
                    "`{}` cannot be rendered: {}\n    {lines}",
                    args.target,
                    failure.line()
                ),
                None,
            );
            match failure.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        let text = if args.secrets == Secrets::References {
            performer.reveal_references(&text)
        } else {
            text
        };
        if args
            .filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
        {
            files.push((name, text));
        }
    }
    performer.goodbye();
    runtime.shutdown_background();
    if files.is_empty() {
        return Err(
            Error::usage("no file has such a name").hint("leave the filter out to see all names")
        );
    }
    emit(args, &files)
}

/// A tree: written where it belongs, nothing but what differs, and nothing that a person changed.
fn render_tree(project: &Project, target: &RenderTarget, args: &RenderArgs) -> Result<u8, Error> {
    if args.secrets != Secrets::References {
        return Err(Error::usage("a tree holds references only")
            .hint("what it is for resolves them itself; leave `--secrets` out"));
    }
    if args.filter.is_some() {
        return Err(Error::usage("a tree is rendered as a whole")
            .hint("`--cluster CLUSTER` leaves the files of the others alone"));
    }
    if let Some(name) = &args.cluster
        && project.inventory.cluster(name).is_none()
    {
        let known: Vec<&str> = project
            .inventory
            .clusters()
            .iter()
            .map(Cluster::name)
            .collect();
        return Err(Error::usage(format!("there is no cluster `{name}`"))
            .hint(format!("there is: {}", known.join(", "))));
    }
    let files = crate::tree::make(project, target).map_err(|problems| {
        Error::cannot_start(
            format!(
                "`{}` does not hold; nothing was written\n    {}",
                args.target,
                problems.join("\n    ")
            ),
            None,
        )
    })?;
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| project.root.join(&target.into));
    let shown = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(&target.into));
    let cluster = args.cluster.as_deref();
    let mut out = Printed::new();
    if args.diff {
        let differences = tree::differences(&folder, &files, cluster);
        for (_, diff) in &differences {
            put(&mut out, diff);
        }
        return out.end(if differences.is_empty() {
            exit::DONE
        } else {
            exit::PENDING
        });
    }
    let done = tree::write(&folder, &files, cluster, args.force).map_err(|error| match &error {
        TreeError::ByHand(paths) => Error::cannot_start(
            format!(
                "a person changed these since they were rendered; nothing was written\n    {}",
                paths
                    .iter()
                    .map(|path| shown.join(path).display().to_string())
                    .collect::<Vec<_>>()
                    .join("\n    ")
            ),
            None,
        )
        .hint("take the change over into the templates (--diff shows it), or give it up: --force"),
        TreeError::Disk { .. } => Error::cannot_start(error.to_string(), None),
    })?;
    for path in &done.written {
        put(&mut out, &format!("wrote {}\n", shown.join(path).display()));
    }
    for path in &done.removed {
        put(
            &mut out,
            &format!("removed {}\n", shown.join(path).display()),
        );
    }
    put(
        &mut out,
        &format!(
            "{}: {} written, {} removed, {} as they were\n",
            shown.display(),
            done.written.len(),
            done.removed.len(),
            done.same
        ),
    );
    out.end(exit::DONE)
}

fn emit(args: &RenderArgs, files: &[(String, String)]) -> Result<u8, Error> {
    let mut out = Printed::new();
    let Some(folder) = &args.out else {
        for (name, text) in files {
            put(&mut out, &format!("# {name}\n{text}"));
        }
        return out.end(exit::DONE);
    };
    let mode = if args.secrets == Secrets::Resolve {
        0o600
    } else {
        0o644
    };
    let mut differ = false;
    for (name, text) in files {
        let path = folder.join(name);
        if args.diff {
            let old = std::fs::read_to_string(&path).unwrap_or_default();
            if old != *text {
                differ = true;
                put(&mut out, &crate::perform::unified_diff(name, &old, text));
            }
            continue;
        }
        let wrote = write_file(&path, text.as_bytes(), mode).map_err(|error| {
            Error::cannot_start(
                format!("{} cannot be written", path.display()),
                Some(&error),
            )
        })?;
        let word = if wrote { "wrote" } else { "same " };
        put(&mut out, &format!("{word} {}\n", path.display()));
    }
    out.end(if differ { exit::PENDING } else { exit::DONE })
}

fn scopes(project: &Project, target: &RenderTarget) -> Result<Vec<Scope>, Error> {
    let base = project.inventory.scope();
    Ok(match &target.for_each {
        ForEach::Once => vec![base],
        ForEach::Axis(Axis::Clusters) => project
            .inventory
            .clusters()
            .iter()
            .map(|cluster| base.with("cluster", cluster.value()))
            .collect(),
        ForEach::Axis(Axis::Nodes) => project
            .inventory
            .clusters()
            .iter()
            .flat_map(|cluster| cluster.nodes().iter().map(move |node| (cluster, node)))
            .map(|(cluster, node)| {
                base.with("cluster", cluster.value())
                    .with("node", node.value())
            })
            .collect(),
        ForEach::List { name, list } => {
            let values = project
                .templates
                .value(list, &base)
                .map_err(|error| Error::usage(error.to_string()))?;
            values
                .try_iter()
                .map_err(|_| Error::usage(format!("`{}` is not a list", list.source)))?
                .map(|value| base.with(name.clone(), value))
                .collect()
        }
    })
}
