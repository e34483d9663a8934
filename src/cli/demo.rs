//! `conniver demo`: an upstream, a proxy and a client in one process; the record of what they did.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use conniver::ingress::Forward;
use conniver::output::{self, Output, Recorder};
use conniver::proxy::{Listener, Proxy, Settings, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::exit::{self, Failure};
use super::{Verbosity, diagnostics, values};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Data to send each way, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = mebibytes)]
    size: u64,

    #[command(flatten)]
    verbosity: Verbosity,
}

fn mebibytes(text: &str) -> Result<u64, String> {
    let number = values::number(1..=65_536, 8)(text);
    number.map_err(|expected| format!("{expected}; it is in MiB, without a unit"))
}

/// What the upstream lets pass before it answers, so that the record shows where it went.
const THINKING: Duration = Duration::from_millis(20);

pub(crate) fn run(args: DemoArgs) -> Result<(), Failure> {
    diagnostics::start(&args.verbosity);
    let runtime = exit::runtime()?;
    runtime.block_on(show(args.size * 1024 * 1024))
}

async fn show(size: u64) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::new(format!("cannot run the demo: {error}"));
    let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failure)?;
    let target = origin.local_addr().map_err(failure)?;
    let upstream = tokio::spawn(serve_once(origin, size));

    let (recorder, writer) =
        Recorder::start(Output::Stdout, output::QUEUE, || {}).map_err(Failure::new)?;
    let forward = Forward { listen: (Ipv4Addr::LOCALHOST, 0).into(), target: target.into() };
    let listener = Listener::forward(&forward).map_err(Failure::new)?;
    let address = listener.local_addr();
    exit::say(&format!("upstream on {target}, proxy on {address}: {} MiB each way", size >> 20));

    let (done, stop) = oneshot::channel::<()>();
    let proxy = Proxy::new(Settings::default(), recorder, vec![listener]);
    let proxy = tokio::spawn(async move {
        let stop = async { drop(stop.await) };
        proxy.run(Shutdown::graceful(stop)).await;
    });

    let began = Instant::now();
    let (sent, received) = fetch(address, size).await.map_err(failure)?;
    let took = began.elapsed();
    upstream.await.map_err(io::Error::other).and_then(|served| served).map_err(failure)?;
    drop(done);
    proxy.await.map_err(|error| failure(io::Error::other(error)))?;
    let tally = tokio::task::spawn_blocking(|| writer.finish())
        .await
        .map_err(|error| failure(io::Error::other(error)))?;
    if tally.unwritten > 0 {
        return Err(Failure::new("cannot write the record to standard output"));
    }

    exit::say(&format!("the client sent {sent} bytes and received {received} in {took:.1?}"));
    let program = std::env::args().next().unwrap_or_else(|| "conniver".to_owned());
    exit::say(&format!(
        "the record is on standard output; try: {program} demo | jq '.phases, .delivery'"
    ));
    Ok(())
}

/// Takes all that one client sends, thinks, and answers with as much.
async fn serve_once(origin: TcpListener, size: u64) -> io::Result<()> {
    let (mut stream, _) = origin.accept().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    tokio::time::sleep(THINKING).await;
    tokio::io::copy(&mut tokio::io::repeat(b'u').take(size), &mut stream).await?;
    stream.shutdown().await
}

/// Sends, ends its stream, and reads the answer to its end.
async fn fetch(proxy: SocketAddr, size: u64) -> io::Result<(u64, u64)> {
    let mut stream = TcpStream::connect(proxy).await?;
    let sent = tokio::io::copy(&mut tokio::io::repeat(b'c').take(size), &mut stream).await?;
    stream.shutdown().await?;
    let received = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok((sent, received))
}
