//! Certificates and secrets, as `talosctl gen secrets` makes them.
//!
//! The keys are real (P-256, Ed25519, RSA), in the PEM clothes that Talos's library insists on. The service account's RSA key has
//! 1024 bits instead of 4096: nobody waits for a lab. All of it is for the lab only.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, LineEnding};
use rsa::rand_core::{OsRng, RngCore as _};
use time::{Duration, OffsetDateTime};

/// Ten years, counted as Go's 87600 hours.
const CA_DAYS: u32 = 3650;

/// Around the two parts of a P-256 key: as `PKCS#8` (what the library here wants) and as SEC 1 (what Talos wants).
const PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
    0x01, 0x01, 0x04, 0x20,
];
const PKCS8_MIDDLE: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
const SEC1_HEAD: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const SEC1_MIDDLE: [u8; 17] = [
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42,
    0x00,
];
const ED25519_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Makes a secrets bundle for a Talos version, in the file's own form.
pub(crate) fn generate_bundle(talos_version: &str) -> Result<String, String> {
    let (major, minor) = contract(talos_version)?;
    let secretbox = (major, minor) > (1, 2);
    let (etcd, k8s, aggregator, os) = (
        authority("etcd", false)?,
        authority("kubernetes", false)?,
        authority("", false)?,
        authority("talos", true)?,
    );
    let account = RsaPrivateKey::new(&mut OsRng, 1024)
        .map_err(|fault| fault.to_string())?
        .to_pkcs1_pem(LineEnding::LF)
        .map_err(|fault| fault.to_string())?;
    let encryption = if secretbox {
        "secretboxencryptionsecret"
    } else {
        "aescbcencryptionsecret"
    };
    let pair = |(crt, key): (String, String)| format!("        crt: {crt}\n        key: {key}\n");
    Ok([
        format!(
            "cluster:\n    id: {}\n    secret: {}\n",
            URL_SAFE.encode(random()),
            STANDARD.encode(random())
        ),
        format!(
            "secrets:\n    bootstraptoken: {}\n    {encryption}: {}\n",
            token(),
            STANDARD.encode(random())
        ),
        format!("trustdinfo:\n    token: {}\ncerts:\n", token()),
        format!("    etcd:\n{}    k8s:\n{}", pair(etcd), pair(k8s)),
        format!("    k8saggregator:\n{}", pair(aggregator)),
        format!(
            "    k8sserviceaccount:\n        key: {}\n",
            STANDARD.encode(account.as_bytes())
        ),
        format!("    os:\n{}", pair(os)),
    ]
    .concat())
}

/// Issues a client certificate by a CA; everything is base64 of PEM. An Ed25519 CA gets an Ed25519 key, another a P-256 key.
pub(crate) fn issue_client(
    ca_crt_b64: &str,
    ca_key_b64: &str,
    common_name: &str,
    organization: &str,
    days: u32,
) -> Result<(String, String), String> {
    let (label, key) = unpem(ca_key_b64)?;
    let ed25519 = label.starts_with("ED25519");
    let ca_key = key_pair(&key, ed25519)?;
    let (_, certificate) = unpem(ca_crt_b64)?;
    let issuer =
        Issuer::from_ca_cert_der(&certificate.into(), ca_key).map_err(|fault| fault.to_string())?;
    let key = new_key(ed25519)?;
    let mut params = params(common_name, organization, days);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params
        .signed_by(&key, &issuer)
        .map_err(|fault| fault.to_string())?;
    Ok((
        pem("CERTIFICATE", certificate.der()),
        key_pem(&key, ed25519),
    ))
}

/// Issues a server certificate by a P-256 CA, for names and addresses; everything is base64 of PEM.
pub(crate) fn issue_server(
    ca_crt_b64: &str,
    ca_key_b64: &str,
    common_name: &str,
    names: &[String],
    days: u32,
) -> Result<(String, String), String> {
    let (_, key) = unpem(ca_key_b64)?;
    let (_, certificate) = unpem(ca_crt_b64)?;
    let issuer = Issuer::from_ca_cert_der(&certificate.into(), key_pair(&key, false)?)
        .map_err(|fault| fault.to_string())?;
    let key = new_key(false)?;
    let mut params = params(common_name, "", days);
    params.subject_alt_names = CertificateParams::new(names)
        .map_err(|fault| fault.to_string())?
        .subject_alt_names;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params
        .signed_by(&key, &issuer)
        .map_err(|fault| fault.to_string())?;
    Ok((pem("CERTIFICATE", certificate.der()), key_pem(&key, false)))
}

/// Reads `v1.11.2` or `1.11`.
pub(crate) fn contract(version: &str) -> Result<(u32, u32), String> {
    let parts: Vec<&str> = version
        .strip_prefix('v')
        .unwrap_or(version)
        .splitn(3, '.')
        .collect();
    match parts.as_slice() {
        [major, minor, ..] => match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Ok((major, minor)),
            _ => Err(format!("error parsing version \"{version}\"")),
        },
        _ => Err(format!("error parsing version \"{version}\"")),
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// A token in kubeadm's form: six letters or digits, a dot, sixteen more.
fn token() -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    let letters: String = random().iter().take(22).map(letter).collect();
    format!("{}.{}", &letters[..6], &letters[6..])
}

fn new_key(ed25519: bool) -> Result<KeyPair, String> {
    let algorithm = if ed25519 {
        &PKCS_ED25519
    } else {
        &PKCS_ECDSA_P256_SHA256
    };
    KeyPair::generate_for(algorithm).map_err(|fault| fault.to_string())
}

fn params(common_name: &str, organization: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    if !organization.is_empty() {
        name.push(DnType::OrganizationName, organization);
    }
    if !common_name.is_empty() {
        name.push(DnType::CommonName, common_name);
    }
    params.distinguished_name = name;
    let seconds = i64::try_from(crate::clock::wall_ms() / 1_000).unwrap_or_default();
    params.not_before =
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_after = params.not_before + Duration::days(days.into());
    params
}

pub(crate) fn authority(organization: &str, ed25519: bool) -> Result<(String, String), String> {
    let key = new_key(ed25519)?;
    let mut params = params("", organization, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params
        .self_signed(&key)
        .map_err(|fault| fault.to_string())?;
    Ok((
        pem("CERTIFICATE", certificate.der()),
        key_pem(&key, ed25519),
    ))
}

fn key_pem(key: &KeyPair, ed25519: bool) -> String {
    let der = key.serialize_der();
    if ed25519 {
        let seed = &der[ED25519_HEAD.len()..][..32];
        return pem("ED25519 PRIVATE KEY", &[&ED25519_HEAD, seed].concat());
    }
    let secret = &der[PKCS8_HEAD.len()..][..32];
    let public = &der[der.len() - 65..];
    pem(
        "EC PRIVATE KEY",
        &[&SEC1_HEAD, secret, &SEC1_MIDDLE, public].concat(),
    )
}

fn key_pair(der: &[u8], ed25519: bool) -> Result<KeyPair, String> {
    if ed25519 {
        return KeyPair::try_from(der).map_err(|fault| fault.to_string());
    }
    let long_enough = der.len() == SEC1_HEAD.len() + 32 + SEC1_MIDDLE.len() + 65;
    if !long_enough {
        return Err("the CA's key is no P-256 key".to_owned());
    }
    let secret = &der[SEC1_HEAD.len()..][..32];
    let public = &der[der.len() - 65..];
    let pkcs8 = [&PKCS8_HEAD, secret, &PKCS8_MIDDLE, public].concat();
    KeyPair::try_from(pkcs8.as_slice()).map_err(|fault| fault.to_string())
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    STANDARD.encode(format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    ))
}

fn unpem(text_b64: &str) -> Result<(String, Vec<u8>), String> {
    let fault = || "failed to parse PEM block".to_owned();
    let text =
        String::from_utf8(STANDARD.decode(text_b64).map_err(|_| fault())?).map_err(|_| fault())?;
    let mut lines = text.lines();
    let head = lines.next().ok_or_else(fault)?;
    let label = head
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.strip_suffix("-----"))
        .ok_or_else(fault)?;
    let body: String = lines
        .take_while(|line| !line.starts_with("-----"))
        .collect();
    Ok((
        label.to_owned(),
        STANDARD.decode(body).map_err(|_| fault())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_is_issued_by_either_kind_of_ca() {
        for ed25519 in [true, false] {
            let (crt, key) = authority("talos", ed25519).unwrap();
            let (client, _) = issue_client(&crt, &key, "admin", "os:admin", 365).unwrap();
            assert_eq!(unpem(&client).unwrap().0, "CERTIFICATE");
        }
    }

    #[test]
    fn versions_are_read_with_or_without_v() {
        assert_eq!(contract("v1.11.2"), Ok((1, 11)));
        assert_eq!(contract("x"), Err("error parsing version \"x\"".to_owned()));
    }
}
