//! `conniver demo`: an upstream, a proxy and a client in one process; the record of what they did.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use conniver::ingress::Forward;
use conniver::output::{self, Output, Recorder};
use conniver::proxy::{Listener, Proxy, Settings, Shutdown};
use conniver::record::{BriefLine, Line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::exit::{self, Failure};
use super::folded_json::folded;
use super::lines::{Format, Look, Stream};
use super::terminal::USUAL_WIDTH;
use super::{Verbosity, diagnostics, values};

#[derive(Debug, Args)]
#[command(override_usage = "conniver demo [OPTIONS]")]
pub(crate) struct DemoArgs {
    /// Data to send each way, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = mebibytes)]
    size: u64,

    /// What to print: the record as it is (ndjson), or a line for people and the record indented,
    /// in brief (line). auto means line on a terminal
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,

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
    let lines = args.format.lines(None, args.verbosity.quiet);
    runtime.block_on(show(args.size * 1024 * 1024, lines))
}

/// `lines`: where a line for people goes, instead of the record.
async fn show(size: u64, lines: Option<Stream>) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::new(format!("cannot run the demo: {error}"));
    let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failure)?;
    let target = origin.local_addr().map_err(failure)?;
    let upstream = tokio::spawn(serve_once(origin, size));

    let (recorder, writer) = match lines {
        Some(_) => (Recorder::default(), None),
        None => {
            let started = Recorder::start(Output::Stdout, output::QUEUE, || {});
            let (recorder, writer) = started.map_err(Failure::new)?;
            (recorder, Some(writer))
        }
    };
    let forward = Forward { listen: (Ipv4Addr::LOCALHOST, 0).into(), target: target.into() };
    let listener = Listener::forward(&forward).map_err(Failure::new)?;
    let address = listener.local_addr();
    exit::say(&format!("upstream on {target}, proxy on {address}: {} MiB each way", size >> 20));

    let (done, stop) = oneshot::channel::<()>();
    let (sender, mut records) = tokio::sync::mpsc::unbounded_channel();
    let mut proxy = Proxy::new(Settings::default(), recorder, vec![listener]);
    if lines.is_some() {
        // The receiver is there until the proxy has ended.
        proxy = proxy.on_close(move |record| _ = sender.send(record.clone()));
    }
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
    if let Some(writer) = writer {
        let tally = tokio::task::spawn_blocking(|| writer.finish())
            .await
            .map_err(|error| failure(io::Error::other(error)))?;
        if tally.unwritten > 0 {
            return Err(Failure::new("cannot write the record to standard output"));
        }
    }

    exit::say(&format!("the client sent {sent} bytes and received {received} in {took:.1?}"));
    let program = std::env::args().next().unwrap_or_else(|| "conniver".to_owned());
    if let (Some(stream), Ok(mut record)) = (lines, records.try_recv()) {
        // The only line of its run.
        record.line = 1;
        let line = Look::new(Vec::new()).connection(&record, stream.width());
        let record = indented(&Line::Close(Box::new(record)), stream.width())?;
        exit::print_styled(&format!("\n{line}\n\n{record}\n"))?;
        exit::say(&format!("the whole record has more: {program} demo | jq ."));
    } else {
        exit::say(&format!(
            "the record is on standard output; try: {program} demo | jq '.phases, .delivery'"
        ));
    }
    Ok(())
}

/// The line in brief as JSON, one key a line, with the values that have room for it in one line each.
fn indented(line: &Line, width: Option<usize>) -> Result<String, Failure> {
    let failed = |error| Failure::new(format!("cannot print the record: {error}"));
    let brief = serde_json::to_string(&BriefLine::from(line)).map_err(failed)?;
    folded(&brief, width.unwrap_or(USUAL_WIDTH)).map_err(failed)
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
