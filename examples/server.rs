//! A server that tells what TCP did on each connection it accepted: `cargo run --example server --
//! 127.0.0.1:8080`. It sends back what it gets.

use conniver::Conn;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: server ADDRESS:PORT")?;
    let listener = TcpListener::bind(&address).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let conn = Conn::builder().on_close(|report| eprintln!("{report}")).wrap(stream);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(conn);
            // The report has the errors of both directions, in whichever way the connection ends.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
    }
}
