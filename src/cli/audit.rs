//! `audit`: looks for every secret that can be had, in all its forms, in all that a run left behind.
//!
//! It says which reference was found where, and never the value. What could not be had could not be looked for: that is said, and is not
//! *clean*. Files that the playbook says may hold secrets are looked at and told apart.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::printed::print;
use crate::cli::{Context, SecretsFile, exit, history, locks, look, reopen, work};
use crate::journal::Journal;
use crate::observe::words::{Tone, count, paint};
use crate::project::Project;
use crate::run::Event;
use crate::secret::Search;
use crate::workspace::{FOLDER, RunFolder, Workspace};

/// How many places in one file are told one by one.
const TOLD: usize = 20;

/// Where a secret was found.
#[derive(Debug, Serialize)]
struct Finding {
    /// Below the project, where it is there.
    file: String,
    /// The first byte.
    offset: u64,
    reference: String,
}

/// What an audit came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Audit {
    run: String,
    files: usize,
    bytes: u64,
    /// What was looked for.
    references: usize,
    found: Vec<Finding>,
    /// In files that may hold secrets, as the playbook says.
    allowed: Vec<Finding>,
    /// Why a reference could not be looked for.
    unresolved: Vec<String>,
    /// References whose value is too short to be told from ordinary words.
    too_short: Vec<String>,
    /// Files that could not be read.
    unread: Vec<String>,
}

impl Audit {
    fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    fn is_complete(&self) -> bool {
        self.unresolved.is_empty() && self.unread.is_empty()
    }
}

/// `audit`.
pub(super) fn audit(
    context: &Context,
    wanted: Option<&str>,
    secrets: &SecretsFile,
    json: bool,
) -> Result<u8, Error> {
    let root = context.root()?;
    let workspace = Workspace::of(&root);
    let folder = history::folder(&workspace, wanted)?;
    let records = Journal::<Event>::load_read_only(&folder.journal())?.records;
    let Some(Event::RunStarted {
        selection, options, ..
    }) = records.first().map(|record| &record.event)
    else {
        return Err(Error::cannot_resume(
            format!("run {} has no beginning: it left nothing", folder.id()),
            None,
        ));
    };
    let project = Arc::new(context.project()?);
    let plan = Arc::new(work::make_plan(
        context,
        &project,
        selection,
        options.extent,
    )?);
    let secrets_file = secrets
        .secrets_file
        .clone()
        // A path into the project is kept as one of it.
        .or_else(|| {
            options
                .secrets_file
                .as_ref()
                .map(|path| project.root.join(path))
        });
    let performer = look::asking_performer(&project, &plan, secrets_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
    let (values, unresolved) = runtime.block_on(async {
        let references = performer.references().await;
        let values = performer.values(&references).await;
        performer.goodbye();
        values
    });
    runtime.shutdown_background();
    // A run without a reference has nothing to leave behind; one whose references cannot be had is another thing.
    if values.is_empty() && (!unresolved.is_empty() || secrets_file.is_some()) {
        let mut error = Error::cannot_start(
            "no secret of this run can be had, so none can be looked for",
            None,
        )
        .hint("sign in to where the secrets are, or pass `--secrets-file FILE`");
        for why in unresolved.iter().take(3) {
            error = error.hint(why.clone());
        }
        return Err(error);
    }
    let search = Search::of(&values);
    let past = reopen::past(&records);
    let began = records.first().map(|record| record.at.into());
    let named: BTreeSet<PathBuf> = past.files().map(|(file, ..)| root.join(file)).collect();
    let places = places(&workspace, &folder, &root, began, &named);
    let own = secrets_file.and_then(|path| path.canonicalize().ok());
    let mut audit = Audit {
        run: folder.id().to_string(),
        files: 0,
        bytes: 0,
        references: values.len(),
        found: Vec::new(),
        allowed: Vec::new(),
        unresolved,
        too_short: search.too_short().map(str::to_owned).collect(),
        unread: Vec::new(),
    };
    for place in places {
        // The file of secrets itself is no leak; it was given.
        if own.is_some() && place.canonicalize().ok() == own {
            continue;
        }
        look_at(&place, &root, &project, &search, &mut audit);
    }
    let text = if json {
        crate::observe::history::json(&audit)
    } else {
        text(&audit, context.colour_out)
    };
    let code = match (audit.is_clean(), audit.is_complete()) {
        (false, _) => exit::FAILED,
        (true, true) => exit::DONE,
        (true, false) => exit::CANNOT_START,
    };
    print(&text, code)
}

fn look_at(path: &Path, root: &Path, project: &Project, search: &Search, audit: &mut Audit) {
    let shown = path
        .strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string();
    let found = fs::File::open(path).and_then(|file| search.read(file));
    let (hits, bytes) = match found {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            audit.unread.push(format!("{shown}: {error}"));
            return;
        }
    };
    audit.files += 1;
    audit.bytes += bytes;
    let may = project.playbook.may_hold_secrets.contains(&shown);
    let into = if may {
        &mut audit.allowed
    } else {
        &mut audit.found
    };
    into.extend(hits.into_iter().map(|hit| Finding {
        file: shown.clone(),
        offset: hit.offset,
        reference: hit.name,
    }));
}

/// All that a run may have written to: its folder, what else lies in the workspace, the locks of clusters, the files that it says it
/// wrote, and whatever in the project has changed since it began.
fn places(
    workspace: &Workspace,
    folder: &RunFolder,
    root: &Path,
    began: Option<SystemTime>,
    named: &BTreeSet<PathBuf>,
) -> BTreeSet<PathBuf> {
    let mut places: BTreeSet<PathBuf> = named.clone();
    walk(folder.path(), &|_| true, &mut places);
    let runs = workspace.path().join("runs");
    walk(workspace.path(), &|path| path != runs, &mut places);
    if let Some(state) = locks::state_folder() {
        walk(&state.join("bootstrap"), &|_| true, &mut places);
    }
    let mut project = BTreeSet::new();
    let elsewhere = [root.join(FOLDER), root.join(".git")];
    walk(
        root,
        &|path| !elsewhere.iter().any(|other| other == path),
        &mut project,
    );
    places.extend(project.into_iter().filter(|path| {
        let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
        match (changed, began) {
            (Ok(changed), Some(began)) => changed >= began,
            _ => true,
        }
    }));
    places
}

/// All regular files below a folder; links are not followed.
fn walk(folder: &Path, enter: &dyn Fn(&Path) -> bool, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && enter(&path) {
            walk(&path, enter, into);
        } else if kind.is_file() {
            into.insert(path);
        }
    }
}

fn text(audit: &Audit, colour: bool) -> String {
    let mut text = String::new();
    let mut told: (&str, usize) = ("", 0);
    for finding in &audit.found {
        told = match told {
            (file, number) if file == finding.file => (file, number + 1),
            _ => (&finding.file, 1),
        };
        if told.1 <= TOLD {
            let line = format!(
                "found      {}:{}: the value of {}",
                finding.file, finding.offset, finding.reference
            );
            let _ = writeln!(text, "{}", paint(Tone::Bad, &line, colour));
        } else if told.1 == TOLD + 1 {
            let _ = writeln!(text, "found      {}: and more", finding.file);
        }
    }
    let allowed: BTreeSet<&str> = audit
        .allowed
        .iter()
        .map(|finding| finding.file.as_str())
        .collect();
    for file in allowed {
        let number = audit
            .allowed
            .iter()
            .filter(|finding| finding.file == file)
            .count();
        let _ = writeln!(
            text,
            "allowed    {file}: {}; the playbook says that it may hold secrets",
            count(number, "place")
        );
    }
    for why in &audit.unresolved {
        let _ = writeln!(text, "not sought {why}");
    }
    for reference in &audit.too_short {
        let _ = writeln!(
            text,
            "not sought {reference}: its value is too short to be told from ordinary words"
        );
    }
    for why in &audit.unread {
        let _ = writeln!(text, "not read   {why}");
    }
    let (word, tone) = match (audit.is_clean(), audit.is_complete()) {
        (false, _) => ("secrets found", Tone::Bad),
        (true, true) => ("clean", Tone::Good),
        (true, false) => ("nothing found, but not all could be looked for", Tone::Warn),
    };
    let _ = writeln!(
        text,
        "run {}: {}; {} in {} ({} KiB)",
        audit.run,
        paint(tone, word, colour),
        count(audit.references, "reference"),
        count(audit.files, "file"),
        audit.bytes.div_ceil(1024),
    );
    text
}
