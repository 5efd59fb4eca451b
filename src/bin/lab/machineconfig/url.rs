//! URLs as Go's `net/url` reads and writes them, with its complaints.

use super::go::quote;

/// A URL in parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Url {
    /// `https`.
    pub(crate) scheme: String,
    opaque: String,
    user: Option<String>,
    /// Host and port.
    pub(crate) host: String,
    /// The path, escaped as written.
    pub(crate) path: String,
    force_query: bool,
    query: String,
    fragment: String,
}

impl Url {
    /// Reads a URL (`url.Parse`).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (front, fragment) = text.split_once('#').unwrap_or((text, ""));
        let mut url =
            Self::read(front, false).map_err(|fault| format!("parse {}: {fault}", quote(front)))?;
        fragment.clone_into(&mut url.fragment);
        Ok(url)
    }

    /// Reads a URL as it stands in a request (`url.ParseRequestURI`).
    pub(crate) fn parse_request(text: &str) -> Result<Self, String> {
        Self::read(text, true).map_err(|fault| format!("parse {}: {fault}", quote(text)))
    }

    fn read(text: &str, request: bool) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text.is_empty() && request {
            return Err("empty url".to_owned());
        }
        let (scheme, rest) = scheme(text)?;
        let mut url = Self {
            scheme: scheme.to_lowercase(),
            ..Self::default()
        };
        let mut rest = rest;
        if rest.ends_with('?') && rest.matches('?').count() == 1 {
            url.force_query = true;
            rest = &rest[..rest.len() - 1];
        } else if let Some((front, query)) = rest.split_once('?') {
            query.clone_into(&mut url.query);
            rest = front;
        }
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                rest.clone_into(&mut url.opaque);
                return Ok(url);
            }
            if request {
                return Err("invalid URI for request".to_owned());
            }
            if rest
                .split('/')
                .next()
                .is_some_and(|segment| segment.contains(':'))
            {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        if (!url.scheme.is_empty() || !request && !rest.starts_with("///"))
            && rest.starts_with("//")
        {
            let end = rest[2..].find('/').map_or(rest.len(), |at| at + 2);
            url.authority(&rest[2..end])?;
            rest = &rest[end..];
        }
        check_escapes(rest)?;
        rest.clone_into(&mut url.path);
        Ok(url)
    }

    fn authority(&mut self, text: &str) -> Result<(), String> {
        let host = match text.rsplit_once('@') {
            Some((user, host)) => {
                self.user = Some(user.to_owned());
                host
            }
            None => text,
        };
        let port = if host.starts_with('[') {
            let Some(end) = host.rfind(']') else {
                return Err("missing ']' in host".to_owned());
            };
            &host[end + 1..]
        } else {
            host.rfind(':').map_or("", |at| &host[at..])
        };
        let digits = port
            .strip_prefix(':')
            .map(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        if !port.is_empty() && digits != Some(true) {
            return Err(format!("invalid port {} after host", quote(port)));
        }
        let odd = |letter: char| {
            letter.is_ascii()
                && !letter.is_ascii_alphanumeric()
                && !"-_.~!$&'()*+,;=:[]<>\"%".contains(letter)
        };
        if let Some(letter) = host.chars().find(|letter| odd(*letter)) {
            return Err(format!(
                "invalid character {} in host name",
                quote(&letter.to_string())
            ));
        }
        host.clone_into(&mut self.host);
        Ok(())
    }

    /// The host without its port and brackets.
    pub(crate) fn hostname(&self) -> &str {
        let host = match self.host.rfind(':') {
            Some(at)
                if self.host[at + 1..]
                    .bytes()
                    .all(|byte| byte.is_ascii_digit()) =>
            {
                &self.host[..at]
            }
            _ => &self.host,
        };
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port; empty without one.
    pub(crate) fn port(&self) -> &str {
        match self.host.rfind(':') {
            Some(at)
                if self.host[at + 1..]
                    .bytes()
                    .all(|byte| byte.is_ascii_digit()) =>
            {
                &self.host[at + 1..]
            }
            _ => "",
        }
    }

    /// Takes over every part that the other one has, as merging structs does.
    pub(crate) fn merge(&mut self, other: Self) {
        let take = |left: &mut String, right: String| {
            if !right.is_empty() {
                *left = right;
            }
        };
        take(&mut self.scheme, other.scheme);
        take(&mut self.opaque, other.opaque);
        take(&mut self.host, other.host);
        take(&mut self.path, other.path);
        take(&mut self.query, other.query);
        take(&mut self.fragment, other.fragment);
        self.user = other.user.or(self.user.take());
        self.force_query = other.force_query;
    }

    /// Writes it.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        if !self.scheme.is_empty() {
            out.push_str(&self.scheme);
            out.push(':');
        }
        if self.opaque.is_empty() {
            if !self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some() {
                if !self.host.is_empty() || !self.path.is_empty() || self.user.is_some() {
                    out.push_str("//");
                }
                if let Some(user) = &self.user {
                    out.push_str(user);
                    out.push('@');
                }
                out.push_str(&self.host);
            }
            if !self.path.is_empty() && !self.path.starts_with('/') && !self.host.is_empty() {
                out.push('/');
            }
            out.push_str(&self.path.replace(' ', "%20"));
        } else {
            out.push_str(&self.opaque);
        }
        if self.force_query || !self.query.is_empty() {
            out.push('?');
            out.push_str(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push('#');
            out.push_str(&self.fragment);
        }
        out
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let hex = |offset: usize| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        if *byte == b'%' && !(hex(1) && hex(2)) {
            let end = (at + 3).min(text.len());
            return Err(format!(
                "invalid URL escape {}",
                quote(text.get(at..end).unwrap_or("%"))
            ));
        }
    }
    Ok(())
}
