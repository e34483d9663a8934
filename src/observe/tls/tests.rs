//! Handshakes, put together by hand.

use proptest::prelude::*;

use super::*;

const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER: u8 = 20;
const APPLICATION: u8 = 23;

fn vector8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

fn record(content_type: u8, content: &[u8]) -> Vec<u8> {
    [&[content_type, 3, 1], &vector16(content)[..]].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &vector16(data)[..]].concat()
}

fn protocols(names: &[&[u8]]) -> Vec<u8> {
    vector16(&names.iter().flat_map(|name| vector8(name)).collect::<Vec<_>>())
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector16(&[&[0], &vector16(name)[..]].concat()))
}

/// A ClientHello of version 1.2 with these extensions.
fn client_hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = match extensions {
        [] => Vec::new(),
        some => vector16(&some.concat()),
    };
    let random = [7; 32];
    let body = [
        &[3, 3],
        &random[..],
        &vector8(&[1; 32]),
        &vector16(&[0x13, 0x01]),
        &vector8(&[0]),
        &extensions,
    ];
    message(1, &body.concat())
}

fn modern_hello() -> Vec<u8> {
    client_hello(&[
        server_name(b"Example.COM"),
        extension(16, &protocols(&[b"jj", b"h2", b"http/1.1", b"a\nb"])),
        extension(43, &vector8(&[0x3a, 0x3a, 3, 4, 3, 3])),
    ])
}

fn server_hello(random: [u8; 32], cipher: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3],
        &random[..],
        &vector8(&[]),
        &cipher.to_be_bytes(),
        &[0],
        &vector16(&extensions.concat()),
    ];
    message(2, &body.concat())
}

const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

fn tls_1_3(random: [u8; 32]) -> Vec<u8> {
    record(HANDSHAKE, &server_hello(random, 0x1301, &[extension(43, &[3, 4])]))
}

/// A conversation, a turn at a time, the client first, each in pieces of this size.
struct Talk {
    handshake: Handshake,
    client: (ClientSide, ControlFlow<()>),
    server: (ServerSide, ControlFlow<()>),
    piece: usize,
}

impl Talk {
    fn new(piece: usize) -> Self {
        Self {
            handshake: Handshake::default(),
            client: (ClientSide::new(Instant::now()), Continue(())),
            server: (ServerSide::new(), Continue(())),
            piece,
        }
    }

    fn client(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let Self { handshake, client: (client, goes_on), piece, .. } = self;
        for bytes in bytes.chunks(*piece) {
            if goes_on.is_continue() {
                *goes_on = client.observe(bytes, handshake);
            }
        }
        *goes_on
    }

    fn server(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let Self { handshake, server: (server, goes_on), piece, .. } = self;
        for bytes in bytes.chunks(*piece) {
            if goes_on.is_continue() {
                *goes_on = server.observe(bytes, handshake);
            }
        }
        *goes_on
    }

    fn seen(&self) -> Tls {
        self.handshake.seen().unwrap()
    }
}

fn of_client(bytes: &[u8]) -> Option<Tls> {
    let mut talk = Talk::new(bytes.len().max(1));
    let _ = talk.client(bytes);
    talk.handshake.seen()
}

#[test]
fn a_client_hello_shows_name_protocols_and_versions() {
    let hello = modern_hello();
    let expected = of_client(&record(HANDSHAKE, &hello)).unwrap();
    assert_eq!(expected.server_name.as_deref(), Some("example.com"));
    assert_eq!(expected.alpn_offered, ["h2", "http/1.1"]);
    assert_eq!(expected.versions_offered, ["TLSv1.3", "TLSv1.2"]);
    assert!(!expected.encrypted_client_hello);
    assert_eq!((&expected.version, &expected.cipher, &expected.alpn), (&None, &None, &None));
    // In several records, and several pieces of each.
    let records: Vec<u8> = hello.chunks(20).flat_map(|part| record(HANDSHAKE, part)).collect();
    for piece in [1, 3, 50, records.len()] {
        let mut talk = Talk::new(piece);
        assert_eq!(talk.client(&records), Continue(()));
        assert_eq!(talk.seen(), expected, "{piece}");
    }
}

#[test]
fn an_old_client_hello_offers_its_one_version() {
    let seen = of_client(&record(HANDSHAKE, &client_hello(&[]))).unwrap();
    assert_eq!((seen.server_name, seen.versions_offered), (None, vec!["TLSv1.2".to_owned()]));
}

#[test]
fn an_encrypted_client_hello_is_said_to_be_there_beside_the_outer_name() {
    let hello = client_hello(&[server_name(b"outer.test"), extension(0xfe0d, &[0; 50])]);
    let seen = of_client(&record(HANDSHAKE, &hello)).unwrap();
    assert!(seen.encrypted_client_hello);
    assert_eq!(seen.server_name.as_deref(), Some("outer.test"));
}

#[test]
fn a_name_that_is_none_is_not_told() {
    for name in [&b""[..], b"a b", b"a\"b", b"\xff", &[b'a'; 300]] {
        let seen = of_client(&record(HANDSHAKE, &client_hello(&[server_name(name)]))).unwrap();
        assert_eq!(seen.server_name, None, "{name:?}");
    }
}

#[test]
fn what_begins_like_tls_and_is_none_is_let_go() {
    let mut long = modern_hello();
    long[1] = 1;
    for bytes in [
        &b"\x16garbage that begins like TLS"[..],
        &record(HANDSHAKE, &message(2, &[0; 40])),
        &record(HANDSHAKE, &message(1, &[0; 40])),
        &record(HANDSHAKE, &message(1, &[])),
        &record(HANDSHAKE, &long),
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 255, 255],
        &[record(HANDSHAKE, &modern_hello()[..20]), record(APPLICATION, b"x")].concat(),
    ] {
        let mut talk = Talk::new(1);
        assert_eq!(talk.client(bytes), Break(()), "{bytes:?}");
        assert_eq!(talk.handshake.seen(), None);
    }
}

#[test]
fn tls_1_3_ends_with_the_clients_first_encrypted_record() {
    let mut talk = Talk::new(7);
    let _ = talk.client(&record(HANDSHAKE, &modern_hello()));
    let flight = [tls_1_3([1; 32]), record(CHANGE_CIPHER, &[1]), record(APPLICATION, &[0; 900])];
    assert_eq!(talk.server(&flight.concat()), Break(()));
    assert_eq!(talk.seen().handshake, None);
    assert_eq!(talk.client(&record(CHANGE_CIPHER, &[1])), Continue(()));
    assert_eq!(talk.seen().handshake, None);
    assert_eq!(talk.client(&record(APPLICATION, &[0; 60])), Continue(()));
    assert_eq!(talk.client.0.content_kind(), ContentKind::Handshake);
    let seen = talk.seen();
    assert!(seen.handshake.is_some());
    // What follows the Finished message is the client's own.
    assert_eq!(talk.client(&record(APPLICATION, &[0; 60])), Break(()));
    assert_eq!(talk.client.0.content_kind(), ContentKind::Payload);
    assert_eq!(talk.seen(), seen);
    assert_eq!(seen.version.as_deref(), Some("TLSv1.3"));
    assert_eq!(seen.cipher.as_deref(), Some("TLS_AES_128_GCM_SHA256"));
}

#[test]
fn a_hello_retry_request_is_not_the_server_hello() {
    let mut talk = Talk::new(11);
    let hello = record(HANDSHAKE, &modern_hello());
    let _ = talk.client(&hello);
    let retry = [tls_1_3(RETRY), record(CHANGE_CIPHER, &[1])].concat();
    assert_eq!(talk.server(&retry), Continue(()));
    assert_eq!(talk.seen().version, None);
    let again = [record(CHANGE_CIPHER, &[1]), hello].concat();
    assert_eq!(talk.client(&again), Continue(()));
    assert_eq!(talk.server(&tls_1_3([2; 32])), Break(()));
    assert_eq!(talk.client(&record(APPLICATION, &[0; 60])), Continue(()));
    assert_eq!(talk.seen().version.as_deref(), Some("TLSv1.3"));
    assert!(talk.seen().handshake.is_some());
}

#[test]
fn what_follows_a_hello_retry_request_in_its_record_is_read() {
    let version = [extension(43, &[3, 4])];
    let messages = [RETRY, [2; 32]].map(|random| server_hello(random, 0x1301, &version)).concat();
    for piece in 1..messages.len() + 5 {
        let mut talk = Talk::new(piece);
        let _ = talk.client(&record(HANDSHAKE, &modern_hello()));
        assert_eq!(talk.server(&record(HANDSHAKE, &messages)), Break(()));
        assert_eq!(talk.seen().version.as_deref(), Some("TLSv1.3"), "{piece}");
    }
}

#[test]
fn tls_1_2_ends_with_both_finished_messages_and_shows_the_protocol() {
    let chosen = extension(16, &protocols(&[b"h2"]));
    let mut talk = Talk::new(5);
    let _ = talk.client(&record(HANDSHAKE, &modern_hello()));
    let certificate = message(11, &[0; 3000]);
    let hello = [server_hello([1; 32], 0xc02f, &[chosen]), certificate].concat();
    assert_eq!(talk.server(&record(HANDSHAKE, &hello)), Continue(()));
    let flight = [record(HANDSHAKE, &message(16, &[0; 66])), record(CHANGE_CIPHER, &[1])].concat();
    assert_eq!(talk.client(&flight), Continue(()));
    assert_eq!(talk.client(&record(HANDSHAKE, &[9; 40])), Continue(()));
    assert_eq!(talk.client.0.content_kind(), ContentKind::Handshake);
    assert_eq!(talk.seen().handshake, None);
    // A client may go on before the server has finished (RFC 7918).
    assert_eq!(talk.client(&record(APPLICATION, &[0; 60])), Break(()));
    assert_eq!(talk.client.0.content_kind(), ContentKind::Payload);
    let flight = [record(CHANGE_CIPHER, &[1]), record(HANDSHAKE, &[9; 40])].concat();
    assert_eq!(talk.server(&flight), Break(()));
    assert_eq!(talk.server.0.content_kind(), ContentKind::Handshake);
    let seen = talk.seen();
    assert!(seen.handshake.is_some());
    assert_eq!((seen.version.as_deref(), seen.alpn.as_deref()), (Some("TLSv1.2"), Some("h2")));
    assert_eq!(seen.cipher.as_deref(), Some("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
}

#[test]
fn with_early_data_no_end_of_the_handshake_is_claimed() {
    let hello = client_hello(&[extension(42, &[]), extension(43, &vector8(&[3, 4]))]);
    let mut talk = Talk::new(100);
    assert_eq!(talk.client(&record(HANDSHAKE, &hello)), Break(()));
    let _ = talk.server(&tls_1_3([1; 32]));
    assert_eq!(talk.seen().handshake, None);
    assert_eq!(talk.seen().version.as_deref(), Some("TLSv1.3"));
}

#[test]
fn an_alert_for_an_answer_leaves_what_the_client_said() {
    let mut talk = Talk::new(100);
    let _ = talk.client(&record(HANDSHAKE, &modern_hello()));
    assert_eq!(talk.server(&record(21, &[2, 40])), Break(()));
    assert_eq!((talk.seen().version, talk.seen().handshake), (None, None));
}

#[test]
fn suites_are_found_by_number() {
    assert_eq!(cipher_name(0x1303), "TLS_CHACHA20_POLY1305_SHA256");
    assert_eq!(cipher_name(0x000a), "TLS_RSA_WITH_3DES_EDE_CBC_SHA");
    assert_eq!(cipher_name(0xfefe), "0xfefe");
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_show_the_same(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        place in 0usize..200,
        piece in 1usize..60,
    ) {
        // A good hello with some bytes of another kind in it.
        let hello = record(HANDSHAKE, &modern_hello());
        let place = place.min(hello.len());
        bytes.splice(0..0, hello[..place].iter().copied());
        let mut in_pieces = Talk::new(piece);
        let _ = in_pieces.client(&bytes);
        prop_assert_eq!(in_pieces.handshake.seen(), of_client(&bytes));
        let _ = in_pieces.server(&bytes);
    }
}
