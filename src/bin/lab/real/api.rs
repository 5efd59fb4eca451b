//! The lab's own way to an API server: plain HTTP through the socket of a `kubectl proxy`, which has the certificates.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

const JSON: &str = "application/json";

/// An API server, spoken to with all rights.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// The socket; short, so relative to the keeper's folder.
    pub(crate) socket: PathBuf,
}

/// What an API server answered.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Said {
    /// Returns whether it was done.
    pub(crate) fn good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the body as JSON, `null` if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Api {
    /// Reads a path.
    pub(crate) fn get(&self, path: &str) -> io::Result<Said> {
        self.call("GET", path, JSON, "", b"")
    }

    /// Reads a list of which only the objects' metadata count.
    pub(crate) fn outline(&self, path: &str) -> io::Result<Said> {
        let outline = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        self.call("GET", path, outline, "", b"")
    }

    /// Sends an object.
    pub(crate) fn send(&self, method: &str, path: &str, object: &Value) -> io::Result<Said> {
        self.call(method, path, JSON, JSON, &serde_json::to_vec(object)?)
    }

    /// Makes an object's fields be these (server-side apply, by force): for a status, name its path.
    pub(crate) fn apply(&self, path: &str, manager: &str, object: &Value) -> io::Result<Said> {
        let body = serde_json::to_vec(object)?;
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.call("PATCH", &path, JSON, "application/apply-patch+yaml", &body)
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        kind: &str,
        body: &[u8],
    ) -> io::Result<Said> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {accept}\r\n{}Content-Length: {}\r\n\r\n",
            if kind.is_empty() {
                String::new()
            } else {
                format!("Content-Type: {kind}\r\n")
            },
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        read(&answer)
    }
}

/// Takes an answer apart.
fn read(answer: &[u8]) -> io::Result<Said> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP answer");
    let at = find(answer, b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let rest = &answer[at + 4..];
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(broken)?;
    let chunked = head
        .lines()
        .any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    let body = if chunked {
        join(rest).ok_or_else(broken)?
    } else {
        rest.to_vec()
    };
    Ok(Said { status, body })
}

/// Puts the chunks of a body together.
fn join(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let at = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..at]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[at + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn an_answer_in_chunks_is_put_together() {
        let said =
            read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nreal\r\n1;x=y\r\n!\r\n0\r\n\r\n").unwrap();
        assert_eq!((said.status, said.body.as_slice()), (200, &b"real!"[..]));
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        assert!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nre").is_err());
        assert!(read(b"HTTP/1.1 200").is_err());
    }
}
