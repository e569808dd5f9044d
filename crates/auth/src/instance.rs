//! One instance of the Admin Module: where it is, and how it is named in metrics.

use http::Uri;
use http::uri::Scheme;
use std::sync::Arc;

/// One Admin Module, by its base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminInstance {
    origin: Arc<str>,
    base_path: Arc<str>,
}

/// Why a text is not the base URL of an instance. It does not repeat the text, which might hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// It is not an absolute URL.
    #[error("not an absolute URL such as https://admin.example.org:8000")]
    NotAbsolute,
    /// Its scheme is neither `http` nor `https`.
    #[error("the scheme must be https or http")]
    Scheme,
    /// It holds a user name or password.
    #[error("a user name or password does not belong into the URL")]
    UserInfo,
    /// It has a query.
    #[error("a query does not belong into the base URL")]
    Query,
}

impl AdminInstance {
    /// Reads a base URL such as `https://127.0.0.1:8000`; a path is kept as a prefix.
    ///
    /// # Errors
    /// If it is not an absolute http(s) URL without user information and query.
    pub fn parse(url: &str) -> Result<Self, InstanceError> {
        let uri: Uri = url.trim().parse().map_err(|_| InstanceError::NotAbsolute)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(InstanceError::NotAbsolute);
        };
        let default_port = if *scheme == Scheme::HTTPS {
            443
        } else if *scheme == Scheme::HTTP {
            80
        } else {
            return Err(InstanceError::Scheme);
        };
        if authority.as_str().contains('@') {
            return Err(InstanceError::UserInfo);
        }
        if uri.query().is_some() {
            return Err(InstanceError::Query);
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() || (authority.port_u16().is_none() && authority.as_str().len() != authority.host().len()) {
            return Err(InstanceError::NotAbsolute);
        }
        let port = authority.port_u16().unwrap_or(default_port);
        Ok(Self {
            origin: format!("{scheme}://{host}:{port}").into(),
            base_path: uri.path().trim_end_matches('/').into(),
        })
    }

    /// `scheme://host:port`: the label `admin_module_url`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of a path below the base; `path` starts with a slash.
    ///
    /// # Errors
    /// If the path is not one.
    pub fn url(&self, path: &str) -> Result<Uri, InstanceError> {
        format!("{}{}{path}", self.origin, self.base_path).parse().map_err(|_| InstanceError::NotAbsolute)
    }

    /// Where the metadata are (RFC 8414 section 3.1): the well-known part stands between the host and the path.
    pub(crate) fn metadata_url(&self) -> Result<Uri, InstanceError> {
        let url = format!("{}/.well-known/oauth-authorization-server{}", self.origin, self.base_path);
        url.parse().map_err(|_| InstanceError::NotAbsolute)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }
}

impl std::str::FromStr for AdminInstance {
    type Err = InstanceError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Self::parse(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_is_scheme_host_and_port_only() {
        let cases = [
            ("https://Admin.example.org", "https://admin.example.org:443", "/oauth2/token"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", "/oauth2/token"),
            ("https://[::1]:8000/sub/", "https://[::1]:8000", "/sub/oauth2/token"),
            (" http://h/p ", "http://h:80", "/p/oauth2/token"),
        ];
        for (url, origin, path) in cases {
            let instance: AdminInstance = url.parse().unwrap();
            assert_eq!(instance.origin(), origin);
            assert_eq!(instance.url("/oauth2/token").unwrap().to_string(), format!("{origin}{path}"));
        }
    }

    #[test]
    fn the_well_known_part_stands_between_host_and_path() {
        let metadata = |url: &str| AdminInstance::parse(url).unwrap().metadata_url().unwrap().to_string();
        assert_eq!(metadata("https://h/"), "https://h:443/.well-known/oauth-authorization-server");
        assert_eq!(metadata("http://h/a/b/"), "http://h:80/.well-known/oauth-authorization-server/a/b");
        let https = |url: &str| AdminInstance::parse(url).unwrap().is_https();
        assert!(https("https://h") && !https("http://h"));
    }

    #[test]
    fn what_is_no_base_url_is_refused_without_repeating_it() {
        let cases = [
            ("", InstanceError::NotAbsolute),
            ("/path", InstanceError::NotAbsolute),
            ("admin:8000", InstanceError::NotAbsolute),
            ("https://h:99999", InstanceError::NotAbsolute),
            ("ftp://h", InstanceError::Scheme),
            ("https://user:canary@h", InstanceError::UserInfo),
            ("https://h/?secret=canary", InstanceError::Query),
        ];
        for (url, error) in cases {
            assert_eq!(AdminInstance::parse(url), Err(error), "{url}");
            assert!(!error.to_string().contains("canary"));
        }
        assert_eq!(AdminInstance::parse("https://h").unwrap().url(" "), Err(InstanceError::NotAbsolute));
    }
}
