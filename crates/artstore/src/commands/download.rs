//! `artstore download ID`: fetches a file, goes on where an earlier run stopped, and keeps it only if its SHA-256 is right.

use super::connection::ConnectionArgs;
use super::output::{FailureDocument, Output, line, report, warn};
use crate::exit::{EXIT_CODES, Exit};
use artstore_api::FileId;
use artstore_api::file::FileRecord;
use artstore_api::scope::FILES_READ;
use artstore_client::{DownloadOptions, Downloaded, Downloader, Error, Overwrite, Session, Target};
use clap::Args;
use serde::Serialize;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  artstore download 0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3
  artstore download -o picture.png 0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3
  artstore download -o - 0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3 | tar t

The bytes go to NAME.part; when all are there and their SHA-256 is right, the file gets its name. After an interruption
the same command goes on where it stopped. An existing file is left alone unless you say --force.";

/// Fetch a file from the Ingester
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct DownloadArgs {
    /// The file's identifier, as `artstore upload` printed it
    #[arg(value_name = "ID", value_parser = file_id)]
    pub(crate) id: FileId,

    /// Where to: a file, a folder, or `-` for standard output [default: the stored name, in this folder]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long, short)]
    pub(crate) force: bool,

    /// Attempts in a row without a byte before giving up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) attempts: u32,

    /// Print one JSON document: the server's record and `path`; or `file_id` and `error`
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// The result for machines.
#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Done {
        path: Option<String>,
        resumed_from: u64,
        attempts: u32,
        #[serde(flatten)]
        record: &'a FileRecord,
    },
    Failed {
        file_id: FileId,
        error: FailureDocument,
    },
}

fn file_id(text: &str) -> Result<FileId, &'static str> {
    text.parse().map_err(|_| "an identifier looks like 0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3")
}

/// Fetches the file.
pub(crate) async fn run(args: &DownloadArgs) -> Exit {
    let to_stdout = args.output.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if to_stdout && args.json {
        super::output::complain("--json and -o - both want standard output: choose one");
        return Exit::Usage;
    }
    let session = match args.connection.open(vec![FILES_READ.to_owned()]) {
        Ok(connection) => match args.connection.session(&connection, args.attempts) {
            Ok(session) => session,
            Err(exit) => return exit,
        },
        Err(exit) => return exit,
    };
    let output = Output { json: args.json, quiet: args.quiet };
    match fetch(args, output, session, to_stdout).await {
        Ok(downloaded) => success(args, output, &downloaded).err().unwrap_or(Exit::Success),
        Err(error) => {
            report(&format!("download {}", args.id), &error);
            if output.json {
                let failed = Document::Failed { file_id: args.id, error: (&error).into() };
                if let Err(exit) = output.document(&failed) {
                    return exit;
                }
            }
            error.category().into()
        }
    }
}

async fn fetch(args: &DownloadArgs, output: Output, session: Session, to_stdout: bool) -> Result<Downloaded, Error> {
    let bar = output.bar(&args.id.to_string());
    let downloader = Downloader::new(session).with_progress(bar.progress());
    if to_stdout {
        return downloader.stream(args.id, &mut stdout()?).await;
    }
    let target = match &args.output {
        None => Target::Folder(PathBuf::from(".")),
        Some(path) if path.is_dir() => Target::Folder(path.clone()),
        Some(path) => Target::File(path.clone()),
    };
    let overwrite = if args.force { Overwrite::Replace } else { Overwrite::Refuse };
    downloader.file(args.id, &target, DownloadOptions { overwrite }).await
}

/// Standard output as a stream of bytes, without a buffer of lines.
fn stdout() -> Result<tokio::fs::File, Error> {
    let owned = io::stdout().as_fd().try_clone_to_owned();
    owned
        .map(|fd| tokio::fs::File::from_std(fd.into()))
        .map_err(|source| Error::Stream { action: "write standard output", source })
}

fn success(args: &DownloadArgs, output: Output, downloaded: &Downloaded) -> Result<(), Exit> {
    let Downloaded { record, path, resumed_from, attempts } = downloaded;
    let Some(path) = path else { return Ok(()) };
    let named_by_us = path.file_name().is_some_and(|name| name.to_string_lossy() == args.id.to_string());
    if named_by_us && args.output.as_ref().is_none_or(|output| output != path) {
        warn("the stored name is no harmless file name: the identifier is used instead");
    }
    let path = path.strip_prefix("./").unwrap_or(path).display().to_string();
    if output.json {
        let (resumed_from, attempts) = (*resumed_from, *attempts);
        return output.document(&Document::Done { path: Some(path), resumed_from, attempts, record });
    }
    if *resumed_from > 0 {
        output.note(&format!("{resumed_from} bytes were there from an earlier run"));
    }
    if output.quiet { Ok(()) } else { line(&super::output::printable(&path)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        download: DownloadArgs,
    }

    #[test]
    fn an_identifier_is_checked_by_the_command_line() {
        let refused = Command::try_parse_from(["test", "../etc/passwd"]).unwrap_err().to_string();
        assert!(refused.contains("an identifier looks like 0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3"), "{refused}");
        let id = FileId::generate();
        let parsed = Command::try_parse_from(["test", "-f", "-o", "x", &id.to_string()]).unwrap().download;
        assert_eq!((parsed.id, parsed.force, parsed.output), (id, true, Some(PathBuf::from("x"))));
    }
}
