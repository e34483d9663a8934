//! hyper-util's client, which tells of each of its connections:
//! `cargo run --example hyper_client -- http://example.com/`.

use conniver::{Conn, Connector};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: hyper_client URL")?;
    let connector = Connector::new(HttpConnector::new(), |_uri| {
        Conn::builder().on_close(|report| eprintln!("{report}"))
    });
    let client: Client<_, Empty<&[u8]>> = Client::builder(TokioExecutor::new()).build(connector);

    let answer = client.get(url.parse()?).await?;
    eprintln!("{}", answer.status());
    let body = answer.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));
    // A connection that the client keeps for later requests ends with it, or with the runtime.
    Ok(())
}
