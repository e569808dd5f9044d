//! The client secret or private key: given directly, or kept in a file that is read again when the issuer refuses it.

use secrecy::SecretString;
use std::path::PathBuf;
use tokio::io::AsyncReadExt;

/// The longest secret file that is read.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where the client secret, or the PEM of a private key, comes from.
#[derive(Clone)]
pub enum SecretSource {
    /// The secret itself.
    Inline(SecretString),
    /// A file that holds it; white space at its end is dropped.
    File(PathBuf),
}

impl SecretSource {
    /// A secret given as text.
    #[must_use]
    pub fn inline(secret: impl Into<String>) -> Self {
        Self::Inline(SecretString::from(secret.into()))
    }

    /// Reads the secret, or what else this is. The error says what is wrong without any of the file's content.
    pub(crate) async fn read(&self, what: &str) -> Result<SecretString, String> {
        let describe = |error: std::io::Error| format!("the {what} file cannot be read: {}", error.kind());
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(describe)?;
                let mut text = String::new();
                file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).await.map_err(describe)?;
                checked(&text, what)
            }
        }
    }

    /// The same for a start-up, outside of a runtime.
    pub(crate) fn read_blocking(&self, what: &str) -> Result<SecretString, String> {
        let describe = |error: std::io::Error| format!("the {what} file cannot be read: {}", error.kind());
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(describe)?;
                std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_SECRET_BYTES + 1), &mut text)
                    .map_err(describe)?;
                checked(&text, what)
            }
        }
    }
}

/// What was read, if it can be a secret.
fn checked(text: &str, what: &str) -> Result<SecretString, String> {
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("the {what} file is larger than 64 KiB"));
    }
    let secret = text.trim_end();
    if secret.is_empty() {
        return Err(format!("the {what} file is empty"));
    }
    Ok(SecretString::from(secret.to_owned()))
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline([redacted])"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[tokio::test]
    async fn a_file_is_read_without_the_white_space_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret \r\n\n").unwrap();
        assert_eq!(SecretSource::File(path).read("secret").await.unwrap().expose_secret(), "s3cret");
        let file = SecretSource::File(folder.path().join("secret"));
        assert_eq!(file.read_blocking("secret").unwrap().expose_secret(), "s3cret");
        assert_eq!(SecretSource::inline("x").read("secret").await.unwrap().expose_secret(), "x");
    }

    #[tokio::test]
    async fn what_cannot_be_a_secret_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |path: PathBuf| async { SecretSource::File(path).read("secret").await.map(|_| ()).unwrap_err() };
        assert_eq!(read(path.clone()).await, "the secret file cannot be read: entity not found");
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(read(path.clone()).await, "the secret file is empty");
        std::fs::write(&path, "x".repeat(64 * 1024 + 1)).unwrap();
        assert_eq!(read(path.clone()).await, "the secret file is larger than 64 KiB");
        assert_eq!(
            SecretSource::File(path.clone()).read_blocking("x").unwrap_err(),
            "the x file is larger than 64 KiB"
        );
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read(path).await, "the secret file cannot be read: invalid data");
    }

    #[test]
    fn debug_shows_the_file_but_no_secret() {
        assert_eq!(format!("{:?}", SecretSource::inline("canary")), "Inline([redacted])");
        assert_eq!(format!("{:?}", SecretSource::File("/run/secret".into())), "File(\"/run/secret\")");
    }
}
