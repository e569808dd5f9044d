//! `artstore upload FILE…`: sends files, one after another, and prints the identifier of each.

use super::connection::ConnectionArgs;
use super::media::media_type;
use super::output::{FailureDocument, Output, line, printable, report, warn};
use crate::exit::{EXIT_CODES, Exit};
use artstore_api::file::{FileRecord, RetentionPolicy};
use artstore_api::scope::FILES_WRITE;
use artstore_client::{Category, Digest, Error, Known, Session, Upload, Uploaded, Uploader};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::Serialize;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  . ./artstore-data/artstore.env          # written by a running `artstore up`
  artstore upload picture.png             # prints the file's identifier
  artstore upload --retention-policy permanent --tag art --tag 1889 *.tif
  artstore upload --ttl-days 7 --description 'drafts' notes.txt
  tar c folder | artstore upload --name folder.tar -
  artstore upload --json a b | jq -r .file_id

A file is read twice: once for its SHA-256, which the server verifies before it publishes, once to send it. When the
connection breaks, it is sent again from its first byte; a stream (-) cannot be.";

/// Send files to the Ingester
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct UploadArgs {
    /// Files to send; `-` is standard input and needs --name
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// How long the file is kept: temporary files expire, permanent ones are never removed
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "temporary",
        value_parser = PossibleValuesParser::new(["temporary", "permanent"]).try_map(|word| word.parse::<RetentionPolicy>())
    )]
    pub(crate) retention_policy: RetentionPolicy,

    /// Days until a temporary file expires [server's default: 30]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
    pub(crate) ttl_days: Option<u16>,

    /// Free text, at most 1000 characters
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,

    /// A word to find the file by; give it several times for several words
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,

    /// The name to store instead of the file's own; for one file only
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The media type [default: by the ending of the name]
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,

    /// The file's SHA-256 if you know it, in hexadecimal: saves the first reading; for one file only
    #[arg(long, value_name = "HEX", conflicts_with = "single_pass")]
    pub(crate) sha256: Option<Digest>,

    /// Read each file only once and compare its SHA-256 with the server's afterwards
    #[arg(long)]
    pub(crate) single_pass: bool,

    /// Attempts in a row before giving up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) attempts: u32,

    /// Print one JSON document per file: the server's record and `source`; or `source` and `error`
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the identifiers only, no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// One result for machines.
#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Done {
        source: String,
        attempts: u32,
        possible_duplicate: bool,
        #[serde(flatten)]
        record: &'a FileRecord,
    },
    Failed {
        source: String,
        error: FailureDocument,
    },
}

/// Sends all files. A failure of one leaves the others to be tried, unless they would fail alike; the first failure is the
/// exit code.
pub(crate) async fn run(args: &UploadArgs) -> Exit {
    if let Some(complaint) = contradiction(args) {
        super::output::complain(complaint);
        return Exit::Usage;
    }
    let session = match args.connection.open(vec![FILES_WRITE.to_owned()]) {
        Ok(connection) => match args.connection.session(&connection, args.attempts) {
            Ok(session) => session,
            Err(exit) => return exit,
        },
        Err(exit) => return exit,
    };
    let output = Output { json: args.json, quiet: args.quiet };
    let mut exit = Exit::Success;
    for (index, path) in args.files.iter().enumerate() {
        let (result, said) = one(args, output, &session, path).await;
        let Err(error) = result else {
            if let Err(silenced) = said {
                return silenced;
            }
            continue;
        };
        if exit == Exit::Success {
            exit = error.category().into();
        }
        let left = args.files.len() - index - 1;
        if would_repeat(error.category()) && left > 0 {
            warn(&format!("{left} more not tried: they would fail alike"));
            break;
        }
    }
    exit
}

/// Sends one file and tells how it went.
async fn one(
    args: &UploadArgs,
    output: Output,
    session: &Session,
    path: &Path,
) -> (Result<Uploaded, Error>, Result<(), Exit>) {
    let source = path.display().to_string();
    let bar = output.bar(&source);
    let uploader = Uploader::new(session.clone()).with_progress(bar.progress());
    let upload = upload(args, path);
    let result = if is_stdin(path) {
        match stdin() {
            Ok(input) => uploader.stream(input, None, &upload).await,
            Err(error) => Err(error),
        }
    } else {
        uploader.file(path, &upload).await
    };
    drop(bar);
    let said = match &result {
        Ok(uploaded) => success(output, source, uploaded),
        Err(error) => {
            report(&format!("upload {source}"), error);
            if output.json { output.document(&Document::Failed { source, error: error.into() }) } else { Ok(()) }
        }
    };
    (result, said)
}

fn success(output: Output, source: String, uploaded: &Uploaded) -> Result<(), Exit> {
    let Uploaded { record, attempts, possible_duplicate } = uploaded;
    if *possible_duplicate {
        warn(&format!(
            "{}: an earlier attempt broke after its last byte without a clear answer; the server may hold the file twice",
            printable(&source)
        ));
    }
    if output.json {
        let (attempts, possible_duplicate) = (*attempts, *possible_duplicate);
        output.document(&Document::Done { source, attempts, possible_duplicate, record })
    } else if output.quiet {
        line(&record.file_id.to_string())
    } else {
        line(&format!("{}  {}  {}", record.file_id, record.checksum, printable(&source)))
    }
}

fn upload(args: &UploadArgs, path: &Path) -> Upload {
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|_| !is_stdin(path));
    let filename = args.name.clone().or(own);
    let guessed = media_type(filename.as_deref().unwrap_or_default());
    Upload {
        content_type: Some(args.content_type.clone().unwrap_or_else(|| guessed.to_owned())),
        filename,
        retention_policy: args.retention_policy,
        ttl_days: args.ttl_days,
        description: args.description.clone(),
        tags: args.tags.clone(),
        digest: match args.sha256 {
            Some(digest) => Known::Is(digest),
            None if args.single_pass => Known::OnTheWay,
            None => Known::ReadFirst,
        },
    }
}

/// Standard input as a stream of bytes.
fn stdin() -> Result<tokio::fs::File, Error> {
    let owned = io::stdin().as_fd().try_clone_to_owned();
    owned
        .map(|fd| tokio::fs::File::from_std(fd.into()))
        .map_err(|source| Error::Stream { action: "read standard input", source })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What clap cannot know.
fn contradiction(args: &UploadArgs) -> Option<&'static str> {
    let stdin = args.files.iter().filter(|path| is_stdin(path)).count();
    if stdin > 1 {
        return Some("standard input (-) can be sent only once");
    }
    if stdin == 1 && args.name.is_none() {
        return Some("standard input (-) needs --name, the name to store");
    }
    if args.files.len() > 1 && args.name.is_some() {
        return Some("--name is for one file: send the files one by one");
    }
    if args.files.len() > 1 && args.sha256.is_some() {
        return Some("--sha256 is for one file: send the files one by one");
    }
    if args.retention_policy == RetentionPolicy::Permanent && args.ttl_days.is_some() {
        return Some("--ttl-days is for temporary files: a permanent file does not expire");
    }
    None
}

/// Whether the next file would meet the same failure.
const fn would_repeat(category: Category) -> bool {
    match category {
        Category::Network | Category::Tls | Category::Authentication => true,
        Category::Usage
        | Category::Local
        | Category::NotFound
        | Category::Refused
        | Category::Unavailable
        | Category::Integrity => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        upload: UploadArgs,
    }

    fn parse(arguments: &[&str]) -> UploadArgs {
        Command::parse_from([&["test"], arguments].concat()).upload
    }

    #[test]
    fn options_become_attributes() {
        let args = parse(&["--ttl-days", "7", "--tag", "a", "--tag", "b", "--description", "d", "x/picture.png"]);
        let expected = Upload {
            filename: Some("picture.png".to_owned()),
            content_type: Some("image/png".to_owned()),
            retention_policy: RetentionPolicy::Temporary,
            ttl_days: Some(7),
            description: Some("d".to_owned()),
            tags: vec!["a".to_owned(), "b".to_owned()],
            digest: Known::ReadFirst,
        };
        assert_eq!(upload(&args, &args.files[0]), expected);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let complaint = |arguments: &[&str]| contradiction(&parse(arguments));
        let zeros = "0".repeat(64);
        assert_eq!(complaint(&["-"]), Some("standard input (-) needs --name, the name to store"));
        assert_eq!(complaint(&["-", "-"]), Some("standard input (-) can be sent only once"));
        assert_eq!(complaint(&["a", "b", "--name", "c"]), Some("--name is for one file: send the files one by one"));
        assert_eq!(
            complaint(&["a", "b", "--sha256", &zeros]),
            Some("--sha256 is for one file: send the files one by one")
        );
        assert_eq!(
            complaint(&["a", "--retention-policy", "permanent", "--ttl-days", "3"]),
            Some("--ttl-days is for temporary files: a permanent file does not expire")
        );
        assert_eq!(complaint(&["-", "--name", "a.txt"]), None);
    }

    #[test]
    fn days_policy_and_digest_are_checked_by_the_command_line() {
        for wrong in [
            &["a", "--ttl-days", "0"][..],
            &["a", "--ttl-days", "366"],
            &["a", "--retention-policy", "forever"],
            &["a", "--sha256", "12"],
            &["a", "--attempts", "0"],
            &[],
        ] {
            assert!(Command::try_parse_from([&["test"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }
}
