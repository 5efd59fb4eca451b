//! Labels, annotations and taints, by the rules of Kubernetes.

use super::super::go::{Errors, quote};

const LONGEST: usize = 63;

/// Checks labels, given by key in order.
pub(super) fn labels(entries: &[(&str, &str)]) -> Errors {
    let mut errors = Errors::default();
    for (key, value) in entries {
        for fault in [name_fault(key), value_fault(value)].into_iter().flatten() {
            errors.push(fault);
        }
    }
    errors
}

/// Checks annotations.
pub(super) fn annotations(entries: &[(&str, &str)]) -> Errors {
    let mut errors = Errors::default();
    for (key, _) in entries {
        if let Some(fault) = name_fault(key) {
            errors.push(fault);
        }
        if [
            "talos.dev/owned-annotations",
            "talos.dev/owned-labels",
            "talos.dev/owned-taints",
        ]
        .contains(key)
        {
            errors.push(format!("annotation {} is reserved", quote(key)));
        }
    }
    let most = 256 << 10;
    if entries
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum::<usize>()
        > most
    {
        errors.push(format!(
            "total annotation size exceeds limit of {most} bytes"
        ));
    }
    errors
}

/// Checks taints: `value:Effect` or `Effect`.
pub(super) fn taints(entries: &[(&str, &str)]) -> Errors {
    let mut errors = Errors::default();
    for (key, taint) in entries {
        let (value, effect) = taint.split_once(':').unwrap_or(("", taint));
        let fault = name_fault(key).or_else(|| {
            if ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
                value_fault(value)
            } else {
                Some(format!("invalid taint effect: {}", quote(effect)))
            }
        });
        if let Some(fault) = fault {
            errors.push(fault);
        }
    }
    errors
}

fn is_qualified(name: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    edge(name.chars().next())
        && edge(name.chars().last())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

fn name_fault(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        ["", _] => return Some(format!("prefix cannot be empty: {}", quote(key))),
        [prefix, name] => {
            if let Some(fault) = domain_fault(prefix) {
                return Some(format!("prefix {} is invalid: {fault}", quote(prefix)));
            }
            name
        }
        _ => return Some(format!("invalid format: too many slashes: {}", quote(key))),
    };
    if name.is_empty() {
        Some(format!("name cannot be empty: {}", quote(key)))
    } else if name.len() > LONGEST {
        Some(format!(
            "name is too long: {} (limit is {LONGEST})",
            quote(key)
        ))
    } else if is_qualified(name) {
        None
    } else {
        Some(format!("name {} is invalid", quote(name)))
    }
}

fn domain_fault(domain: &str) -> Option<String> {
    if domain.len() > 253 {
        return Some(format!(
            "domain name length exceeds limit of 253: {}",
            quote(domain)
        ));
    }
    let word = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(word)
            && label.ends_with(word)
            && label.chars().all(|letter| word(letter) || letter == '-')
    };
    (!domain.split('.').all(label))
        .then(|| format!("domain doesn't match required format: {}", quote(domain)))
}

fn value_fault(value: &str) -> Option<String> {
    if value.len() > LONGEST {
        Some(format!(
            "label value length exceeds limit of {LONGEST}: {}",
            quote(value)
        ))
    } else if value.is_empty() || is_qualified(value) {
        None
    } else {
        Some(format!("label value {} is invalid", quote(value)))
    }
}
