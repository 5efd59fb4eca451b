//! A real tool in a real world: started with the room's proxy around it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use super::{Setup, folder, keeper, proxy, web};

/// Runs the real tool to its end; returns its exit code.
pub(crate) fn run(name: &str, world: &Path, argv: &[String]) -> Result<u8, String> {
    let setup = Setup::of(world).ok_or("this world has no real tools")?;
    let port = keeper::proxy(world).ok_or_else(|| {
        format!(
            "nobody keeps the real clusters of {}: call the tool through `lab exec`",
            world.display()
        )
    })?;
    let real = folder(world);
    let program = setup.tools.join(name);
    #[expect(clippy::disallowed_methods, reason = "this is the real tool")]
    let mut command = Command::new(&program);
    command.args(argv);
    for (key, value) in surroundings(world, port, None) {
        command.env(key, value);
    }
    let status = command
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy")
        // What a tool remembers of this world is of no use in another.
        .env("KUBECACHEDIR", real.join("cache/kube"))
        .env("HELM_CACHE_HOME", real.join("cache/helm"))
        .env("HELM_CONFIG_HOME", real.join("cache/helm"))
        .env("HELM_DATA_HOME", real.join("cache/helm"))
        .status()
        .map_err(|error| format!("`{}`: {error}", program.display()))?;
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Returns whether a call is played even so: a real API server reaches no port of a machine of the room.
pub(crate) fn is_played(name: &str, argv: &[String]) -> bool {
    name == "kubectl"
        && argv.iter().any(|word| {
            word.trim_start_matches("--raw=")
                .strip_prefix("/api/v1/nodes/")
                .is_some_and(|rest| rest.contains("/proxy/"))
        })
}

/// Returns what makes a program go through the room's proxy, which leads nowhere outside. What runs in a cluster says which one that is.
pub(crate) fn surroundings(
    world: &Path,
    port: u16,
    cluster: Option<usize>,
) -> Vec<(String, String)> {
    let authority = web::authority(world).to_string_lossy().into_owned();
    let mut all = vec![("SSL_CERT_FILE".to_string(), authority)];
    let who = cluster.map_or_else(String::new, |index| format!("{}@", proxy::name(index)));
    let through = format!("http://{who}127.0.0.1:{port}");
    for key in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
        all.push((key.to_string(), through.clone()));
    }
    for key in ["NO_PROXY", "no_proxy"] {
        all.push((key.to_string(), "127.0.0.1,localhost,::1".to_string()));
    }
    all
}
