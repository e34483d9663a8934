//! A table of nftables that lives as long as this process.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::cli::exit::Failure;

/// nft answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A table that belongs to the `nft` which made it (`flags owner`): the kernel removes it when that
/// ends, and that ends when the pipe does by which we speak to it, whatever becomes of us.
pub(super) struct Table {
    nft: Child,
    pipe: ChildStdin,
}

impl Table {
    /// Makes a table with this content, and returns when it is in force.
    pub(super) async fn hold(name: &str, content: &str) -> Result<Self, Failure> {
        let failed = |what: String| {
            Failure::new(format!("cannot create nftables rules for --intercept: {what}"))
        };
        let mut nft = Command::new("nft")
            .arg("-i")
            // Nowhere to keep a history of what was typed.
            .env("HOME", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's interrupt is not for it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => failed("nft not found; install nftables".to_owned()),
                _ => failed(format!("cannot run nft: {error}")),
            })?;
        let (Some(mut pipe), Some(said), Some(wrong)) =
            (nft.stdin.take(), nft.stdout.take(), nft.stderr.take())
        else {
            return Err(failed("nft was started without pipes".to_owned()));
        };
        // The listing's last line tells that both were done.
        let commands =
            format!("add table inet {name} {{ flags owner; {content} }}\nlist table inet {name}\n");
        let in_force = async {
            pipe.write_all(commands.as_bytes()).await?;
            let (mut said, mut wrong) =
                (BufReader::new(said).lines(), BufReader::new(wrong).lines());
            loop {
                tokio::select! {
                    line = said.next_line() => match line?.as_deref() {
                        Some("}") => return Ok(()),
                        Some(_) => {}
                        None => return Err(io::Error::other("nft ended")),
                    },
                    Ok(Some(line)) = wrong.next_line() => {
                        return Err(io::Error::other(format!(
                            "nft reports '{line}'; Linux 5.13 with nf_tables and nftables 1.0 are \
                             required"
                        )));
                    }
                }
            }
        };
        match tokio::time::timeout(PATIENCE, in_force).await {
            Ok(Ok(())) => Ok(Self { nft, pipe }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("nft does not respond".to_owned())),
        }
    }

    /// The `nft` that holds it, unless that was waited for.
    pub(super) fn process(&self) -> Option<u32> {
        self.nft.id()
    }

    /// Returns when the table is gone.
    pub(super) async fn release(self) {
        let Self { mut nft, pipe } = self;
        drop(pipe);
        if tokio::time::timeout(PATIENCE, nft.wait()).await.is_err() {
            tracing::error!(
                "nft did not exit and is killed; the rules of --intercept are removed with it"
            );
            let _ = nft.kill().await;
        }
    }
}
