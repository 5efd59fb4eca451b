//! Certificates: a stand-in until the real model of the PKI is merged over this file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Issues a client certificate; the stand-in's is only text in PEM's clothes.
pub(crate) fn issue_client(
    ca_crt_b64: &str,
    _ca_key_b64: &str,
    common_name: &str,
    organization: &str,
    days: u32,
) -> Result<(String, String), String> {
    if ca_crt_b64.is_empty() {
        return Err("no CA".to_string());
    }
    let now = crate::clock::wall_ms();
    let text = STANDARD.encode(format!("{common_name} {organization} {days} {now}"));
    let pem = |kind: &str| STANDARD.encode(format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n"));
    Ok((pem("CERTIFICATE"), pem("EC PRIVATE KEY")))
}
