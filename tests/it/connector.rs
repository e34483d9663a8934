//! hyper-util's client over wrapped streams.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;

use conniver::{Conn, Connector};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::harness::peers::Upstream;

/// Answers so many requests on one connection; how many bytes it read.
fn serve(requests: usize) -> Upstream<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Upstream::on(listener, move |stream| {
        let mut reader = BufReader::new(&stream);
        let mut read = 0;
        for _ in 0..requests {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                read += reader.read_line(&mut line).unwrap() as u64;
            }
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong").unwrap();
        }
        // To the client's end of stream.
        read + std::io::copy(&mut reader, &mut std::io::sink()).unwrap()
    })
}

#[tokio::test]
async fn a_client_over_the_connector_reports_each_connection_once_with_what_it_was_for() {
    let server = serve(2);
    let (sender, reports) = channel();
    let connector = Connector::new(HttpConnector::new(), move |uri| {
        let sender = sender.clone();
        Conn::builder().context(uri.clone()).on_close(move |report| sender.send(report).unwrap())
    });
    let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(connector);
    let uri: http::Uri = format!("http://{}/first", server.address).parse().unwrap();
    let mut received = 0;
    for _ in 0..2 {
        let answer = client.get(uri.clone()).await.unwrap();
        assert!(answer.status().is_success());
        received += answer.into_body().collect().await.unwrap().to_bytes().len();
    }
    assert!(reports.try_recv().is_err(), "the connection is kept");
    let address = server.address;
    drop(client);
    let read = tokio::task::spawn_blocking(|| server.join()).await.unwrap();

    let report = reports.recv().unwrap();
    assert!(reports.recv().is_err(), "both requests took one connection");
    assert_eq!(received, 8);
    assert_eq!((report.remote_addr, report.tx_bytes), (Some(address), read));
    // hyper-util tells its connectors scheme and authority.
    assert_eq!(report.context::<http::Uri>().unwrap().authority(), uri.authority());
    assert!(report.closed_info.is_some(), "{:?}", report.info_err);
}
