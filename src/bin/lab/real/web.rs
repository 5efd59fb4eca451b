//! What the clusters and the tools read outside of the room: charts, the Git remote, definitions to download. One real program on loopback
//! serves all of it under the names of the real hosts; the proxy leads there, and the world's own authority vouches for it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::identity::MARK;
use super::keeper::{Shared, pause};
use super::plane::complain;
use super::program::{Running, Start};
use super::{chart, folder, tool};
use crate::fault::Kind;
use crate::kubernetes::charts;
use crate::pki;
use crate::site::Site;
use crate::world::World;

/// How long the program may take to be there.
const READY: Duration = Duration::from_secs(10);

/// Where the program listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// For everybody.
    all: u16,
    /// For those whose password the Git host does not believe.
    strangers: u16,
}

/// Returns the port that leads a cluster's programs, or a person's, to what is outside.
pub(crate) fn port(world: &World, ports: Ports, cluster: Option<usize>) -> u16 {
    let refused = cluster
        .and_then(|index| world.clusters.get(index))
        .is_some_and(|cluster| world.suffers(Kind::GitRefuses, &cluster.name));
    if refused { ports.strangers } else { ports.all }
}

/// Returns the world's folder of what is served.
fn place(world: &Path) -> PathBuf {
    folder(world).join("web")
}

/// Returns the certificate that tools trust instead of the machine's.
pub(crate) fn authority(world: &Path) -> PathBuf {
    place(world).join("ca.crt")
}

/// Returns the hosts that charts come from.
fn registries() -> Result<BTreeSet<String>, String> {
    // Asked at every connection, and always the same.
    static KNOWN: OnceLock<Result<BTreeSet<String>, String>> = OnceLock::new();
    let read = || {
        let charts = charts::all()?;
        let urls = charts.iter().flat_map(|(urls, _)| urls);
        Ok(urls
            .filter_map(|url| url.split('/').next())
            .map(ToString::to_string)
            .collect())
    };
    KNOWN.get_or_init(read).clone()
}

/// Returns host and path of the Git remote.
fn git(site: &Site) -> (String, String) {
    let rest = site.git.url.split("://").last().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (host.to_string(), path.trim_end_matches('/').to_string())
}

/// Returns every host that is served.
fn hosts(site: &Site) -> Result<BTreeSet<String>, String> {
    let mut all = registries()?;
    all.insert(git(site).0);
    // Definitions to download; the same host as the remote's in the room that the lab brings along.
    all.insert("github.com".to_string());
    all.remove("");
    Ok(all)
}

/// Returns whether a host of the outside is served here.
pub(crate) fn serves(site: &Site, host: &str) -> bool {
    hosts(site).is_ok_and(|hosts| hosts.contains(host))
}

/// Writes what a new world serves: keys of its own, and what the tools' folder has to download.
pub(crate) fn create(world: &Path, tools: &Path, site: &Site) -> io::Result<()> {
    let place = place(world);
    fs::create_dir_all(&place)?;
    let (ca, key) = pki::authority("lab", false).map_err(io::Error::other)?;
    let names: Vec<String> = hosts(site).map_err(io::Error::other)?.into_iter().collect();
    let (crt, server) =
        pki::issue_server(&ca, &key, "web", &names, 365).map_err(io::Error::other)?;
    for (name, value) in [
        ("ca.crt", &ca),
        ("server.crt", &crt),
        ("server.key", &server),
    ] {
        let text = STANDARD.decode(value).map_err(io::Error::other)?;
        write(&place.join(name), &text)?;
    }
    symlink(tools.join("files"), place.join("files"))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let next = path.with_extension("next");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(text)?;
    fs::rename(next, path)
}

/// Serves until the keeper ends: starts the program, and again when it ends; puts the charts into its registry.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut running: Option<Running> = None;
    let mut told = String::new();
    loop {
        if let Err(error) = keep(shared, &mut running, &mut told) {
            complain("web", &error.to_string());
            pause(Duration::from_secs(1));
        }
        pause(Duration::from_millis(300));
    }
}

fn keep(shared: &Shared, running: &mut Option<Running>, told: &mut String) -> io::Result<()> {
    let world = shared.world();
    let settings = settings(&world, &shared.world).map_err(io::Error::other)?;
    if settings != *told {
        write(
            &place(&shared.world).join("settings.json"),
            settings.as_bytes(),
        )?;
        *told = settings;
    }
    if running.as_mut().is_some_and(Running::runs) {
        return Ok(());
    }
    announce(shared, None);
    // Both are held until both are chosen, so that they differ.
    let held = [
        TcpListener::bind(("127.0.0.1", 0))?,
        TcpListener::bind(("127.0.0.1", 0))?,
    ];
    let ports = Ports {
        all: held[0].local_addr()?.port(),
        strangers: held[1].local_addr()?.port(),
    };
    drop(held);
    let start = Start {
        program: shared.setup.tools.join("web"),
        argv: vec![
            place(&shared.world).to_string_lossy().into_owned(),
            format!("127.0.0.1:{}", ports.all),
            format!("127.0.0.1:{}", ports.strangers),
        ],
        env: Vec::new(),
        log: folder(&shared.world).join("log/web.log"),
    };
    *running = Some(start.start(&folder(&shared.world))?);
    let begun = Instant::now();
    let listens = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    while !listens(ports.all) || !listens(ports.strangers) {
        if begun.elapsed() > READY {
            return Err(io::Error::other("the program does not listen"));
        }
        pause(Duration::from_millis(20));
    }
    // The tools that push find it through the proxy, like everybody.
    announce(shared, Some(ports));
    push(shared)
}

fn announce(shared: &Shared, ports: Option<Ports>) {
    *shared.web.lock().unwrap_or_else(PoisonError::into_inner) = ports;
}

/// What the program reads at every request. The password is the one that the vault has now.
fn settings(world: &World, folder: &Path) -> Result<String, String> {
    let (host, path) = git(&world.site);
    let known = &world.site.git;
    let password = world
        .vaults
        .iter()
        .filter(|vault| vault.name == known.vault)
        .flat_map(|vault| &vault.items)
        .filter(|item| item.title == known.item && !item.archived)
        .flat_map(|item| &item.fields)
        .find(|field| field.label == known.field)
        .map(|field| field.value.clone())
        .unwrap_or_default();
    let missing = world.faults.iter();
    let missing: Vec<&str> = missing
        .filter(|fault| fault.kind == Kind::ChartMissing)
        .filter_map(|fault| fault.target.as_deref())
        .collect();
    Ok(json!({
        "git": { "host": host, "path": path, "folder": folder.join("remote.git"), "password": password },
        "registries": registries()?,
        "missing": missing,
    })
    .to_string())
}

/// Packs the lab's charts and pushes them to the addresses that they are known under.
fn push(shared: &Shared) -> io::Result<()> {
    let room = folder(&shared.world).join("charts");
    fs::create_dir_all(&room)?;
    for (urls, chart) in charts::all().map_err(io::Error::other)? {
        let at = room.join(&chart.name);
        chart::write(&at, &chart)?;
        helm(
            shared,
            &[
                "package",
                &at.to_string_lossy(),
                "-d",
                &room.to_string_lossy(),
            ],
        )?;
        let packed = room.join(format!("{}-{}.tgz", chart.name, chart.version));
        for url in urls {
            let above = url
                .rsplit_once('/')
                .map_or(url.as_str(), |(above, _)| above);
            helm(
                shared,
                &["push", &packed.to_string_lossy(), &format!("oci://{above}")],
            )?;
        }
    }
    Ok(())
}

fn helm(shared: &Shared, words: &[&str]) -> io::Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the keeper starts the processes of a real world"
    )]
    let said = Command::new(shared.setup.tools.join("helm"))
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env(MARK, folder(&shared.world))
        .envs(tool::surroundings(&shared.world, shared.proxy, None))
        .stdin(Stdio::null())
        .output()?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr);
    Err(io::Error::other(format!(
        "helm {}: {}",
        words.join(" "),
        why.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::{git, hosts};
    use crate::site::Site;

    #[test]
    fn what_is_outside_are_the_registries_of_the_charts_and_the_host_of_the_remote() {
        let mut site = Site::built_in();
        let all: Vec<String> = hosts(&site).unwrap().into_iter().collect();
        assert_eq!(all, ["ghcr.io", "github.com", "quay.io"]);
        site.git.url = "https://user@git.example.org/a/b/".to_string();
        assert_eq!(
            git(&site),
            ("git.example.org".to_string(), "a/b".to_string())
        );
    }
}
