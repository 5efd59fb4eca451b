//! The cluster's part of the old document.

use super::super::go::{Errors, quote};
use super::super::url::Url;
use super::super::value::View;
use super::{Findings, Role, is_present, network};

/// Checks `.cluster`.
pub(super) fn check(old: View<'_>, role: Role) -> Errors {
    let mut errors = Errors::default();
    let Some(cluster) = old.at("cluster") else {
        errors.push("cluster instructions are required");
        return errors;
    };
    if !is_present(cluster, "controlPlane.endpoint") {
        errors.push("cluster controlplane endpoint is required");
        return errors;
    }
    if let Err(fault) = endpoint(cluster.text("controlPlane.endpoint")) {
        errors.push(format!("invalid controlplane endpoint: {fault}"));
    }
    let domain = cluster.text("network.dnsDomain");
    if !domain.is_empty() && !is_dns_name(domain) {
        errors.push(format!("{} is not a valid DNS name", quote(domain)));
    }
    check_cloud_provider(cluster, &mut errors);
    if is_present(cluster, "etcd") {
        if role == Role::ControlPlane {
            check_etcd(cluster, &mut errors);
        } else {
            errors.push("etcd config is only allowed on control plane machines");
        }
    }
    if role != Role::ControlPlane && !cluster.text("ca.key").is_empty() {
        errors.push("cluster CA key is not allowed on non-controlplane nodes (.cluster.ca)");
    }
    check_manifests(cluster, &mut errors);
    check_discovery(cluster, &mut errors);
    if let Some(fault) = api_server(cluster) {
        errors.push(fault);
    }
    for (key, name) in [
        ("controllerManager", "controller-manager"),
        ("scheduler", "scheduler"),
    ] {
        if let Some(fault) = resources(cluster, key) {
            errors.push(format!("{name} resource validation failed: {fault}"));
        }
    }
    errors
}

/// Checks the network plugin; control planes only.
pub(super) fn check_cni(old: View<'_>) -> Findings {
    let mut found = Findings::default();
    let Some(cni) = old.at("cluster.network.cni") else {
        return found;
    };
    let name = cni.text("name");
    let urls = cni.texts("urls");
    let arguments = !cni.items("flannel.extraArgs").is_empty();
    if ["flannel", "none"].contains(&name) && !urls.is_empty() {
        found.error(format!(
            "\"urls\" field should be empty for {} CNI",
            quote(name)
        ));
    }
    if name == "custom" && urls.is_empty() {
        found.warn(format!(
            "\"urls\" field should not be empty for {} CNI",
            quote(name)
        ));
    }
    if ["none", "custom"].contains(&name) && arguments {
        found.error(format!(
            "\"flanneldExtraArgs\" field should be empty for {} CNI",
            quote(name)
        ));
    }
    match name {
        "custom" => {
            for fault in urls.into_iter().filter_map(|url| endpoint(url).err()) {
                found.error(fault);
            }
        }
        "flannel" | "none" => {}
        _ => found.error("cni name should be one of [\"flannel\", \"custom\", \"none\"]"),
    }
    found
}

/// An endpoint's URL needs a host, and a port that is one.
fn endpoint(text: &str) -> Result<(), String> {
    let url = Url::parse(text)?;
    if url.host.matches(':').count() > 2 && !(url.host.contains('[') && url.host.contains(']')) {
        return Err("IPv6 addresses MUST be enclosed by square brackets".to_owned());
    }
    if url.hostname().is_empty() {
        return Err("hostname must not be blank".to_owned());
    }
    match url.port() {
        "" => Ok(()),
        port => match port.parse::<i64>() {
            Err(_) => Err("port number must be numeric".to_owned()),
            Ok(1..=65535) => Ok(()),
            Ok(_) => Err("port number must be between 1 and 65535".to_owned()),
        },
    }
}

fn is_dns_name(name: &str) -> bool {
    let length = name.len() - name.matches('.').count();
    let body = name.strip_suffix(['.', '_']).unwrap_or(name);
    let label = |label: &str| {
        let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        (1..=63).contains(&label.len())
            && label.starts_with(word)
            && label.chars().all(|letter| word(letter) || letter == '-')
    };
    length <= 255 && !name.is_empty() && body.split('.').all(label)
}

fn check_cloud_provider(cluster: View<'_>, errors: &mut Errors) {
    let Some(provider) = cluster.at("externalCloudProvider") else {
        return;
    };
    let manifests = provider.texts("manifests");
    if provider.flag("enabled") != Some(true) && !manifests.is_empty() {
        errors.push("external cloud provider is disabled, but manifests are provided");
        return;
    }
    for manifest in manifests {
        if let Err(fault) = endpoint(manifest) {
            errors.push(format!(
                "invalid external cloud provider manifest url {}: {fault}",
                quote(manifest)
            ));
        }
    }
}

fn check_etcd(cluster: View<'_>, errors: &mut Errors) {
    if !is_present(cluster, "etcd.ca") {
        errors.push("key/cert combination should not be empty");
    }
    let subnet = cluster.text("etcd.subnet");
    let advertised = cluster.texts("etcd.advertisedSubnets");
    let listen = cluster.texts("etcd.listenSubnets");
    if !subnet.is_empty() && !advertised.is_empty() {
        errors.push("etcd subnet can't be set when advertised subnets are set");
    }
    let only = if advertised.is_empty() && !subnet.is_empty() {
        vec![subnet]
    } else {
        advertised.clone()
    };
    let listen = if listen.is_empty() {
        advertised
    } else {
        listen
    };
    for (what, subnets) in [("advertised", only), ("listen", listen)] {
        for subnet in subnets {
            let subnet = subnet.strip_prefix('!').unwrap_or(subnet);
            if !network::is_subnet_or_address(subnet) {
                errors.push(format!(
                    "etcd {what} subnet is not valid: {}",
                    quote(subnet)
                ));
            }
        }
    }
}

fn check_manifests(cluster: View<'_>, errors: &mut Errors) {
    let mut names = Vec::new();
    for manifest in cluster.items("inlineManifests") {
        let name = manifest.text("name");
        if name.trim().is_empty() {
            errors.push("inline manifest name can't be empty");
        }
        if names.contains(&name) {
            errors.push(format!("inline manifest name {} is duplicate", quote(name)));
        }
        names.push(name);
    }
}

fn check_discovery(cluster: View<'_>, errors: &mut Errors) {
    if cluster.flag("discovery.enabled") != Some(true)
        || cluster.flag("discovery.registries.service.disabled") == Some(true)
    {
        return;
    }
    let endpoint = match cluster.text("discovery.registries.service.endpoint") {
        "" => "https://discovery.talos.dev/",
        endpoint => endpoint,
    };
    match Url::parse_request(endpoint) {
        Err(fault) => errors.push(format!(
            "cluster discovery service registry endpoint is invalid: {fault}"
        )),
        Ok(url) if !["", "/"].contains(&url.path.as_str()) => {
            errors.push("cluster discovery service path should be empty");
        }
        Ok(_) => {}
    }
    for key in ["id", "secret"] {
        if cluster.text(key).is_empty() {
            errors.push(format!("cluster discovery service requires .cluster.{key}"));
        }
    }
}

fn api_server(cluster: View<'_>) -> Option<String> {
    let authorizers = cluster.items("apiServer.authorizationConfig");
    if is_present(cluster, "apiServer.authorizationConfig") {
        for (key, _) in cluster.entries("apiServer.extraArgs") {
            if key == "authorization-mode" {
                return Some(
                    "authorization-mode cannot be used in conjunction with AuthorizationConfig, use eitherr AuthorizationConfig or authorization-mode"
                        .to_owned(),
                );
            }
            if key.starts_with("authorization-webhook-") {
                return Some(
                    "authorization-webhook-* flags cannot be used in conjunction with AuthorizationConfig, use either AuthorizationConfig or authorization-webhook-* flags"
                        .to_owned(),
                );
            }
        }
    }
    for authorizer in authorizers {
        if let Some(fault) = authorizer_fault(authorizer) {
            return Some(format!(
                "apiserver authorization config validation failed: {fault}"
            ));
        }
    }
    resources(cluster, "apiServer")
        .map(|fault| format!("apiserver resource validation failed: {fault}"))
}

fn authorizer_fault(authorizer: View<'_>) -> Option<String> {
    let (kind, name) = (authorizer.text("type"), authorizer.text("name"));
    if kind.is_empty() {
        Some("authorizer type must be set".to_owned())
    } else if name.is_empty() {
        Some("authorizer name must be set".to_owned())
    } else if ["Node", "RBAC", "Webhook"].contains(&kind) {
        None
    } else {
        Some(format!(
            "authorizer type {kind} is not allowed, allowed types are [Node RBAC Webhook]"
        ))
    }
}

fn resources(cluster: View<'_>, key: &str) -> Option<String> {
    for part in ["requests", "limits"] {
        for (name, _) in cluster.entries(&format!("{key}.resources.{part}")) {
            if !["cpu", "memory"].contains(&name) {
                return Some(format!("unsupported pod resource {}", quote(name)));
            }
        }
    }
    None
}
