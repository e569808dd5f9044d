//! A server as a process of its own: handshakes, then nothing until the client closes.

use super::material::{Files, Kind};
use clap::ValueEnum;
use std::error::Error;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Whose TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Our acceptor, all metrics on.
    Ours,
    /// tokio-rustls alone.
    Bare,
}

/// How to serve.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whose TLS.
    pub engine: Engine,
    /// The folder of the certificates.
    pub folder: PathBuf,
    /// Threads that serve.
    pub workers: usize,
    /// Require a certificate of clients.
    #[arg(long)]
    pub mutual: bool,
}

/// Prints the port, and serves until standard input ends.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let files = Files::at(&arguments.folder);
    let kind = Kind { resumed_12: false, mutual: arguments.mutual };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.workers).enable_all().build()?;
    let tcp = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = tcp.local_addr()?.port();
    match arguments.engine {
        Engine::Ours => {
            let acceptor = files.acceptor(kind)?;
            runtime.spawn(serve(tcp, move |tcp| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(tcp).await.ok() }
            }));
        }
        Engine::Bare => {
            let acceptor = files.bare(kind)?;
            runtime.spawn(serve(tcp, move |tcp| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(tcp).await.ok() }
            }));
        }
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{port}")?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// One task for each connection.
async fn serve<F, S>(tcp: TcpListener, accept: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Option<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    loop {
        let Ok((tcp, _)) = tcp.accept().await else {
            continue;
        };
        let handshake = accept(tcp);
        tokio::spawn(async move {
            if let Some(mut stream) = handshake.await {
                // The client's end, in whichever way, and ours.
                stream.read_u8().await.ok();
                stream.shutdown().await.ok();
            }
        });
    }
}
