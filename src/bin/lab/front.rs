//! What the front ends `helm`, `flux` and `cilium` share: the server of a call, and a look at its cluster.
//!
//! Each tool has words of its own for what goes wrong on the way; client-go's sentences in them are the same for all.

use std::env;
use std::fs;

use crate::answer::Answer;
use crate::client::{NoWay, Server};
use crate::kube::Kubeconfig;
use crate::kubernetes::{Objects, Outside};
use crate::room::{Reply, Room};

/// Reads the kubeconfig that flag or environment name, and returns the context's server; an error is client-go's sentence.
pub(crate) fn server(kubeconfig: Option<&str>, context: Option<&str>) -> Result<Server, String> {
    let given = kubeconfig.filter(|path| !path.is_empty());
    let path = given
        .map(ToString::to_string)
        .or_else(|| env::var("KUBECONFIG").ok().filter(|path| !path.is_empty()))
        .unwrap_or_else(|| format!("{}/.kube/config", env::var("HOME").unwrap_or_default()));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if given.is_some() => return Err(format!("stat {path}: no such file or directory")),
        Err(_) => String::new(),
    };
    let config = Kubeconfig::read(&text)
        .map_err(|why| format!("error loading config file \"{path}\": {why}"))?;
    let name = context.unwrap_or_else(|| config.current());
    Server::of(&config, context, None).ok_or_else(|| format!("context \"{name}\" does not exist"))
}

/// Returns the sentence about a request that found no way: `Get "https://…/version": dial tcp …`.
pub(crate) fn sentence(server: &Server, path: &str, trouble: &NoWay) -> String {
    match trouble {
        NoWay::Unauthorized => trouble.why().to_string(),
        NoWay::Unreachable(why) | NoWay::Refused(why) | NoWay::Untrusted(why) => {
            format!("Get \"{}{path}\": {why}", server.url.trim_end_matches('/'))
        }
    }
}

/// Plays a call that looks at the objects of a cluster, once or again and again.
pub(crate) fn ask(
    server: &Server,
    latency: u64,
    tell: impl Fn(&NoWay) -> Answer,
    mut question: impl FnMut(&Objects, &mut Outside) -> Reply,
) -> Answer {
    let room = match Room::open() {
        Ok(room) => room,
        Err(answer) => return answer,
    };
    room.play(latency, |world| match server.reach(world) {
        Err(trouble) => Reply::After(trouble.takes(), tell(&trouble)),
        Ok(cluster) => world.ask(cluster, &mut question),
    })
}

/// Plays a call that changes the objects of a cluster, once or in several steps. Between two steps the connection stays.
pub(crate) fn change(
    server: &Server,
    latency: u64,
    tell: impl Fn(&NoWay) -> Answer,
    mut work: impl FnMut(&mut Objects, &mut Outside) -> Reply,
) -> Answer {
    let room = match Room::open() {
        Ok(room) => room,
        Err(answer) => return answer,
    };
    let mut reached = None;
    room.play(latency, |world| {
        let cluster = match reached {
            Some(cluster) => cluster,
            None => match server.reach(world) {
                Err(trouble) => return Reply::After(trouble.takes(), tell(&trouble)),
                Ok(cluster) => cluster,
            },
        };
        reached = Some(cluster);
        world.through_api(cluster, &mut work)
    })
}

#[cfg(test)]
mod tests {
    use super::{sentence, server};
    use crate::client::NoWay;
    use crate::kube::{Entry, Kubeconfig};

    #[test]
    fn a_file_and_a_context_that_are_named_must_be_there() {
        assert_eq!(
            server(Some("/nonexistent/config"), None).unwrap_err(),
            "stat /nonexistent/config: no such file or directory"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let config = Kubeconfig::of(&Entry {
            cluster: "infra".to_string(),
            server: "https://infra.example.org:6443".to_string(),
            ca: "Y2E=".to_string(),
            crt: "Y3J0".to_string(),
            key: "a2V5".to_string(),
        });
        std::fs::write(&path, config.to_yaml()).unwrap();
        let path = path.to_str();
        let found = server(path, Some("admin@infra")).unwrap();
        assert_eq!(found, server(path, None).unwrap());
        assert_eq!(
            server(path, Some("nope")).unwrap_err(),
            "context \"nope\" does not exist"
        );
        let refused = NoWay::Refused("dial tcp 10.0.0.1:6443: connect: connection refused".into());
        assert_eq!(
            sentence(&found, "/version", &refused),
            "Get \"https://infra.example.org:6443/version\": dial tcp 10.0.0.1:6443: connect: connection refused"
        );
    }
}
