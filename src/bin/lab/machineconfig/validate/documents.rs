//! The documents beside the old one, each by its own rules; a document's errors are one entry of several lines.

use super::super::document::{Container, Document, OLD};
use super::super::go::{bytes, quote};
use super::super::schema::{self, Custom, Shape};
use super::super::url::Url;
use super::super::value::View;
use super::{Findings, expression, is_present};
use std::fmt::Write as _;

/// Checks every document, then the ones that must agree with the old one.
pub(super) fn check(container: &Container, found: &mut Findings) {
    for document in container.documents() {
        let Document::Config { kind, ty, value } = document else {
            continue;
        };
        if kind == OLD || !schema::document(kind).is_some_and(|known| known.validates) {
            continue;
        }
        let faults = faults(kind, View::new(value, ty));
        if !faults.is_empty() {
            found.error(faults.join("\n"));
        }
    }
    let Some(old) = container.old() else {
        return;
    };
    for (label, key) in [("STATE", "state"), ("EPHEMERAL", "ephemeral")] {
        let both = is_present(old, &format!("machine.systemDiskEncryption.{key}"))
            && container.documents().iter().any(|document| match document {
                Document::Config { kind, ty, value } if kind == "VolumeConfig" => {
                    let view = View::new(value, ty);
                    view.text("name") == label && view.number("encryption.provider") != 0
                }
                _ => false,
            });
        if both {
            found.error(format!("system disk encryption for \"{label}\" is configured in both v1alpha1.Config and VolumeConfig"));
        }
    }
}

fn faults(kind: &str, document: View<'_>) -> Vec<String> {
    let single = |fault: Option<String>| fault.into_iter().collect();
    match kind {
        "UserVolumeConfig" | "RawVolumeConfig" | "SwapVolumeConfig" => volume(kind, document),
        "ExistingVolumeConfig" => existing_volume(document),
        "VolumeConfig" => system_volume(document),
        "ZswapConfig" => {
            let percent = document.number("maxPoolPercent");
            single(
                (!(0..=100).contains(&percent))
                    .then(|| "maxPoolPercent must be between 0 and 100".to_owned()),
            )
        }
        "ExtensionServiceConfig" => single(extension_service(document)),
        "EventSinkConfig" => single(
            endpoint_fault(document.text("endpoint"))
                .map(|fault| format!("event sink endpoint: {fault}")),
        ),
        "KmsgLogConfig" => single(kernel_log(document)),
        "WatchdogTimerConfig" => single(watchdog(document)),
        "EthernetConfig" => single(
            document
                .text("name")
                .is_empty()
                .then(|| "name is required".to_owned()),
        ),
        "NetworkRuleConfig" => single(rule(document)),
        "SideroLinkConfig" => single(siderolink(document)),
        _ => Vec::new(),
    }
}

fn name_faults(document: View<'_>, most: Option<usize>) -> Vec<String> {
    let name = document.text("name");
    let mut faults = Vec::new();
    if name.is_empty() {
        faults.push("name is required".to_owned());
    }
    if let Some(most) = most.filter(|most| name.is_empty() || name.len() > *most) {
        faults.push(format!("name must be between 1 and {most} characters long"));
    }
    if name
        .chars()
        .any(|letter| !letter.is_ascii_alphanumeric() && letter != '-')
    {
        faults.push(
            "name can only contain lowercase and uppercase ASCII letters, digits, and hyphens"
                .to_owned(),
        );
    }
    faults
}

fn volume(kind: &str, document: View<'_>) -> Vec<String> {
    let mut faults = name_faults(document, Some(34));
    faults.extend(provisioning(document, true));
    if kind == "UserVolumeConfig" {
        faults.extend(filesystem(document));
    }
    faults.extend(encryption(document));
    faults
}

fn existing_volume(document: View<'_>) -> Vec<String> {
    let mut faults = name_faults(document, None);
    match document.text("discovery.volumeSelector.match") {
        "" => faults.push("volume selector is required".to_owned()),
        text => faults.extend(
            expression::fault(text, &["volume", "disk"])
                .map(|fault| format!("volume selector is invalid: {fault}")),
        ),
    }
    faults
}

fn system_volume(document: View<'_>) -> Vec<String> {
    let name = document.text("name");
    if !["STATE", "EPHEMERAL", "IMAGECACHE"].contains(&name) {
        return vec![
            "only [\"STATE\" \"EPHEMERAL\" \"IMAGECACHE\"] volumes are supported".to_owned(),
        ];
    }
    let mut faults = Vec::new();
    if name == "STATE" {
        let parts = ["grow", "minSize", "maxSize", "diskSelector.match"];
        if parts
            .iter()
            .any(|part| is_present(document, &format!("provisioning.{part}")))
        {
            faults.push(format!(
                "provisioning config is not allowed for the {} volume",
                quote(name)
            ));
        }
        for key in document.items("encryption.keys") {
            if key.flag("lockToState") == Some(true) {
                faults.push(format!(
                    "state-locked key is not allowed for the {} volume",
                    quote(name)
                ));
            }
        }
    }
    faults.extend(provisioning(document, false));
    faults.extend(encryption(document));
    faults
}

fn provisioning(document: View<'_>, required: bool) -> Vec<String> {
    let mut faults = Vec::new();
    match document.text("provisioning.diskSelector.match") {
        "" if required => faults.push("disk selector is required".to_owned()),
        "" => {}
        text => {
            faults.extend(
                expression::fault(text, &["disk", "system_disk"])
                    .map(|fault| format!("disk selector is invalid: {fault}")),
            );
        }
    }
    let (least, most) = (
        document.text("provisioning.minSize"),
        document.text("provisioning.maxSize"),
    );
    if !least.is_empty() && !most.is_empty() {
        if bytes(least) > bytes(most) {
            faults.push("min size is greater than max size".to_owned());
        }
    } else if required && least.is_empty() && most.is_empty() {
        faults.push("min size or max size is required".to_owned());
    }
    faults
}

fn filesystem(document: View<'_>) -> Option<String> {
    let number = document.number("filesystem.type");
    let word = match schema::shape("block.FilesystemType") {
        Shape::Custom(Custom::Enum(named)) => named.word(number).unwrap_or_default(),
        _ => "",
    };
    if !["none", "xfs", "ext4"].contains(&word) {
        return Some(format!("unsupported filesystem type: {word}"));
    }
    let quota = document.flag("filesystem.projectQuotaSupport") == Some(true);
    (quota && word == "ext4")
        .then(|| "project quota support is only available for xfs filesystem".to_owned())
}

fn encryption(document: View<'_>) -> Vec<String> {
    let keys = document.items("encryption.keys");
    let provider = document.number("encryption.provider");
    let mut faults = Vec::new();
    if provider == 0 && keys.is_empty() {
        return faults;
    }
    if provider == 0 {
        faults.push("unsupported encryption provider: none".to_owned());
    }
    if keys.is_empty() {
        faults.push("encryption keys are required".to_owned());
    }
    let mut slots = Vec::new();
    for key in keys {
        let slot = key.number("slot");
        if slots.contains(&slot) {
            faults.push(format!("duplicate key slot {slot}"));
        }
        slots.push(slot);
        if !["static", "nodeID", "kms", "tpm"]
            .iter()
            .any(|kind| is_present(key, kind))
        {
            faults.push(format!(
                "at least one encryption key type must be specified for slot {slot}"
            ));
        }
    }
    faults
}

fn extension_service(document: View<'_>) -> Option<String> {
    let name = document.text("name");
    if name.is_empty() {
        return Some("name is required".to_owned());
    }
    let files = document.items("configFiles");
    if files.is_empty() && document.items("environment").is_empty() {
        return Some(format!(
            "no config files found for extension {}",
            quote(name)
        ));
    }
    files.into_iter().find_map(|file| {
        if file.text("content").is_empty() {
            Some(format!(
                "extension content is required for extension {}",
                quote(name)
            ))
        } else if file.text("mountPath").is_empty() {
            Some(format!(
                "extension mount path is required for extension {}",
                quote(name)
            ))
        } else {
            None
        }
    })
}

/// Go's `net.SplitHostPort`, its complaints only.
fn endpoint_fault(text: &str) -> Option<String> {
    let what = if let Some(host) = text.strip_prefix('[') {
        match host.split_once(']') {
            None => "missing ']' in address",
            Some((_, rest)) if !rest.starts_with(':') => "missing port in address",
            Some(_) => return None,
        }
    } else {
        match text.matches(':').count() {
            0 => "missing port in address",
            1 => return None,
            _ => "too many colons in address",
        }
    };
    Some(format!("address {text}: {what}"))
}

fn kernel_log(document: View<'_>) -> Option<String> {
    if document.text("name").is_empty() {
        return Some("name is required".to_owned());
    }
    if !is_present(document, "url") {
        return Some("url is required".to_owned());
    }
    let url = Url::parse(document.text("url")).unwrap_or_default();
    let fault = if !["tcp", "udp"].contains(&url.scheme.as_str()) {
        "url scheme must be tcp:// or udp://"
    } else if !["", "/"].contains(&url.path.as_str()) {
        "url path must be empty"
    } else if url.port().is_empty() {
        "url port is required"
    } else {
        return None;
    };
    Some(fault.to_owned())
}

fn watchdog(document: View<'_>) -> Option<String> {
    let timeout = document.number("timeout");
    if document.text("device").is_empty() {
        Some("watchdog device: empty value".to_owned())
    } else if timeout != 0 && timeout < 10_000_000_000 {
        Some("watchdog timeout: minimum value is 10s".to_owned())
    } else {
        None
    }
}

fn rule(document: View<'_>) -> Option<String> {
    if document.text("name").is_empty() {
        return Some("name is required".to_owned());
    }
    let mut ports: Vec<(u16, u16)> = Vec::new();
    for text in document.texts("portSelector.ports") {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        ports.push((
            low.parse().unwrap_or_default(),
            high.parse().unwrap_or_default(),
        ));
    }
    if ports.is_empty() {
        return Some("portSelector.ports is required".to_owned());
    }
    ports.sort_by_key(|(low, _)| *low);
    for (at, (low, high)) in ports.iter().enumerate() {
        let mut fault = format!("invalid port range: {low}-{high}");
        if low > high {
            return Some(fault);
        }
        if let Some((before, end)) = at.checked_sub(1).map(|before| ports[before])
            && *low <= end
        {
            write!(fault, ", overlaps with {before}-{end}").expect("a string takes any text");
            return Some(fault);
        }
    }
    let invalid = document
        .items("ingress")
        .into_iter()
        .any(|rule| rule.text("subnet").is_empty());
    invalid.then(|| "invalid subnet: invalid Prefix".to_owned())
}

fn siderolink(document: View<'_>) -> Option<String> {
    if !is_present(document, "apiUrl") {
        return Some("apiUrl is required".to_owned());
    }
    let url = Url::parse(document.text("apiUrl")).unwrap_or_default();
    if !["https", "grpc"].contains(&url.scheme.as_str()) {
        return Some("apiUrl scheme must be https:// or grpc://".to_owned());
    }
    (!["", "/"].contains(&url.path.as_str())).then(|| "apiUrl path must be empty".to_owned())
}
