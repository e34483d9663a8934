//! reqwest, which lends nobody its streams (its `connector_layer` passes them on sealed): it goes
//! through a proxy within the same program, which tells of both its sides:
//! `cargo run --example reqwest_client -- http://example.com/`.

use std::net::Ipv4Addr;

use conniver::ingress::ListenAddr;
use conniver::output::Recorder;
use conniver::proxy::{Listener, Proxy, Settings, Shutdown};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: reqwest_client URL")?;

    let listener = Listener::proxy(ListenAddr((Ipv4Addr::LOCALHOST, 0).into()))?;
    let address = listener.local_addr();
    // A recorder that writes nothing: the callback gets the records.
    let proxy =
        Proxy::new(Settings::default(), Recorder::default(), vec![listener]).on_close(|record| {
            match &record.upstream {
                Some(upstream) => eprintln!("{upstream}"),
                None => eprintln!("{:?}: {:?}", record.target, record.outcome),
            }
        });
    let (done, stop) = oneshot::channel::<()>();
    let stop = async { drop(stop.await) };
    let running = tokio::spawn(async move { proxy.run(Shutdown::graceful(stop)).await });

    let through = reqwest::Proxy::all(format!("http://{address}"))?;
    let client = reqwest::Client::builder().proxy(through).build()?;
    let answer = client.get(url).send().await?;
    eprintln!("{}", answer.status());
    print!("{}", answer.text().await?);

    // The connections that reqwest keeps end with the client.
    drop((client, done));
    running.await?;
    Ok(())
}
