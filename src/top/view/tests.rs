use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::top::order::Sort;
use crate::top::samples::{at, close, line, model, open, sample, socket_end, socket_sample};

const PLAIN: Theme = Theme { has_colours: false, has_unicode: true };
const COLOURS: Theme = Theme { has_colours: true, has_unicode: true };
const ASCII: Theme = Theme { has_colours: true, has_unicode: false };

/// The screen of this size, ten seconds after the start.
fn screen(
    known: &Model,
    theme: Theme,
    controls: &mut Controls,
    (width, height): (u16, u16),
) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let scene = Scene {
        model: known,
        now: at(10.0),
        name: "records.ndjson",
        theme,
        silence: None,
        is_recorded: true,
        is_printed: false,
    };
    terminal.draw(|frame| _ = draw(&scene, controls, frame.buffer_mut())).unwrap();
    terminal
}

fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let row = |row: Rect| {
        let cells = row.columns().map(|column| buffer[(column.x, column.y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    buffer.area.rows().map(row).collect()
}

fn drawn(known: &Model, theme: Theme, size: (u16, u16)) -> Vec<String> {
    lines(&screen(known, theme, &mut Controls::default(), size))
}

/// A stuck query, a download, a stalled path, an idle connection, and two failures.
fn busy() -> Model {
    let mut known = vec![open(1, 0.0)];
    for second in 1..=10_u32 {
        known.push(sample(2, second.into(), [1_000, 5_000_000 * u64::from(second % 4)], None));
    }
    known.push(sample(1, 9.0, [100, 0], Some(("upstream", 6.5))));
    known.push(sample(3, 9.5, [0, 10], Some(("network-client", 9.188))));
    known.push(sample(4, 9.0, [0, 0], Some(("idle", 2.0))));
    known.push(close(5, 8.0, "refused", Some("ECONNREFUSED")));
    known.push(close(5, 9.0, "refused", Some("ECONNREFUSED")));
    model(&known)
}

#[test]
fn at_80_by_24_every_column_is_shown() {
    let lines = drawn(&busy(), PLAIN, (80, 24));
    let expected = "\
conniver top: records.ndjson                              by worst  00:00:10 UTC
4 open  waiting: 1 server, 1 network, 0 client  ↑ 1.1kB/s ↓ 10MB/s  2 closed
program    target                    age  ↑B/s  ↓B/s   RTT  retr waiting for▾
program-1  host-1.example:80         10s   100     0 250µs     2 server 3.5s
program-3  host-3.example:80         10s     0    10 250µs     4 network ↓ 812ms
program-2  host-2.example:80         10s  1.0k   10M 250µs     3 data
program-4  host-4.example:80         10s     0     0 250µs     5 idle 8.0s";
    for (line, expected) in lines.iter().zip(expected.lines()) {
        assert_eq!(line, expected, "\n{}", lines.join("\n"));
    }
    assert_eq!(lines[21], "failed in the last minute: 2");
    assert_eq!(lines[22], "00:00:09  2 × refused ECONNREFUSED  host-5.example:80");
    assert!(lines[23].starts_with("q quit  ? help"), "{}", lines[23]);
}

#[test]
fn wide_and_narrow_screens_show_more_and_less() {
    let wide = drawn(&busy(), PLAIN, (120, 40));
    assert_eq!(wide[39].split("  ").count(), 8, "{}", wide[39]);
    assert!(wide[2].ends_with("waiting for▾"), "{}", wide[2]);
    let narrow = drawn(&busy(), PLAIN, (40, 10));
    assert_eq!(narrow[1], "4 open  waiting: 2  2 failed/min");
    assert_eq!(narrow[3], "host-1.example:80    10s server 3.5s");
    assert!(!narrow.iter().any(|line| line.starts_with("failed")), "{narrow:#?}");
    // Nothing of these is too small to be drawn.
    for width in [1, 3, 10, 30, 55, 79, 200] {
        for height in [1, 2, 3, 5, 15, 16, 50] {
            let drawn = drawn(&busy(), PLAIN, (width, height));
            assert_eq!(drawn.len(), usize::from(height));
        }
    }
}

#[test]
fn without_utf8_everything_is_ascii() {
    let mut known = busy();
    known.apply(&line("open", 9, 9.0, &serde_json::json!({"target": "bücher.example:80"})));
    for page in [Page::List, Page::Help, Page::Detail(key(&known, 2))] {
        let mut controls = Controls { page, ..Controls::default() };
        let drawn = lines(&screen(&known, ASCII, &mut controls, (80, 24)));
        assert!(drawn.concat().is_ascii(), "{drawn:#?}");
    }
    let drawn = drawn(&known, ASCII, (80, 24)).join("\n");
    for words in ["b?cher.example:80", "network dn 812ms", "upB/s", "2 x refused"] {
        assert!(drawn.contains(words), "{words}:\n{drawn}");
    }
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    let has_colours = |theme| {
        let terminal = screen(&busy(), theme, &mut Controls::default(), (80, 24));
        let cells = terminal.backend().buffer().content.iter();
        cells.into_iter().any(|cell| cell.fg != ratatui::style::Color::Reset)
    };
    assert!(has_colours(COLOURS));
    assert!(!has_colours(PLAIN));
}

fn key(known: &Model, seq: u64) -> Key {
    known.connections().find(|known| known.key.seq == seq).unwrap().key
}

#[test]
fn the_detail_has_history_both_sockets_and_the_last_turns() {
    let mut known = busy();
    let turn = serde_json::json!({"at": at(3.0), "duration": 900_000_000, "wait": 512_000_000, "requestBytes": 84,
        "answerBytes": 2_114, "limitedBy": "upstream", "number": 1, "crossed": false});
    known.apply(&line("turn", 2, 9.0, &turn));
    let mut controls = Controls { page: Page::Detail(key(&known, 2)), ..Controls::default() };
    let drawn = lines(&screen(&known, PLAIN, &mut controls, (80, 24))).join("\n");
    for words in [
        "program-2 (PID 4711) → host-2.example:80",
        "waiting for: data  (open 10s, forward)",
        "↓                                         ▃▆█▁▃▆█▁▃▆ 10MB/s, 10MB in all",
        "received, sent  1.0kB, 10MB         10MB, 1.0kB",
        "RTT             -                   250µs ±50µs",
        "turn at   request  wait     answer   in all   limited by",
        "00:00:03  84B      512ms    2.1kB    900ms    upstream",
    ] {
        assert!(drawn.contains(words), "{words}:\n{drawn}");
    }
}

#[test]
fn what_a_name_commands_never_reaches_the_terminal() {
    let hostile = "\u{1b}]0;x\u{7}\u{202e}\u{9b}2J\r\nexample:80";
    let mut known = model(&[line(
        "open",
        1,
        0.0,
        &serde_json::json!({
            "target": hostile, "process": {"pid": 1, "name": hostile},
            "clientHost": hostile, "clientPort": 1,
        }),
    )]);
    known.apply(&line(
        "close",
        2,
        9.0,
        &serde_json::json!({
            "target": hostile, "outcome": "error", "ending": {"errorCode": hostile},
        }),
    ));
    known.apply(&line(
        "open",
        3,
        0.0,
        &serde_json::json!({"target": "日本語のとても長い名前.example:443"}),
    ));
    let pages = [Page::List, Page::Detail(key(&known, 1))];
    for page in pages {
        let filter = if page == Page::List { "\u{1b}" } else { "" };
        for edited_from in [None, Some(String::new())] {
            let mut controls =
                Controls { page, filter: filter.to_owned(), edited_from, ..Controls::default() };
            let text = lines(&screen(&known, PLAIN, &mut controls, (80, 24))).concat();
            let is_hostile = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!text.contains(is_hostile), "{text:?}");
        }
    }
    let wide = drawn(&known, PLAIN, (80, 24)).join("\n");
    assert!(wide.contains("…") && wide.contains(":443"), "{wide}");
}

#[test]
fn what_the_figures_lack_is_said() {
    let start = || line("start", 0, 0.0, &serde_json::json!({}));
    let mut known = model(&[start(), close(1, 5.0, "ok", None)]);
    known.bad_line();
    let text = drawn(&known, PLAIN, (80, 24)).join("\n");
    for words in [
        "ended connections only, none open; conniver report shows them\n",
        "no samples: add --events open,sample,close --sample-interval 1s to the proxy\n",
        "1 line could not be read\n",
        "no open connections",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let text = drawn(&Model::default(), PLAIN, (80, 24)).join("\n");
    assert!(text.contains("no records yet"), "{text}");
}

#[test]
fn order_selection_and_pause_are_seen() {
    let known = busy();
    let mut controls = Controls {
        sort: Sort::Target,
        is_reversed: true,
        selected: Some(key(&known, 3)),
        is_paused: true,
        ..Controls::default()
    };
    let terminal = screen(&known, PLAIN, &mut controls, (80, 24));
    let text = lines(&terminal);
    assert!(text[0].ends_with("PAUSED  by target, reversed  00:00:10 UTC"), "{}", text[0]);
    assert!(text[3].starts_with("program-4"), "{text:#?}");
    let selected = &terminal.backend().buffer()[(0, 4)];
    assert!(text[4].starts_with("program-3"), "{text:#?}");
    assert_eq!(selected.style().add_modifier, ratatui::style::Modifier::REVERSED);
}

/// Sockets of a watch: one that was accepted, a download, one that is quiet and older than the watch, a reset.
fn sockets() -> Model {
    model(&[
        socket_sample(1, 9.0, Some("accepted"), Some(1.0), [12_000, 0]),
        socket_sample(2, 9.5, Some("connected"), Some(1.0), [0, 3_000_000]),
        socket_sample(3, 9.0, None, None, [100, 100]),
        socket_end(4, 9.0, Some("reset"), None),
    ])
}

#[test]
fn sockets_have_columns_of_their_own() {
    let narrow = drawn(&sockets(), PLAIN, (80, 24));
    let expected = "\
conniver top: records.ndjson                              by worst  00:00:10 UTC
3 open  2 with data  ↑ 12kB/s ↓ 3.0MB/s  1 closed
program    local  remote                  age  ↑B/s  ↓B/s   RTT  lost activity▾
program-2  :40000 → 192.0.2.2:443          0s     0  3.0M 250µs     2 data
program-1  :40000 ← 192.0.2.1:443          1s   12k     0 250µs     1 data
program-3  :40000   192.0.2.3:443        >10s     -     - 250µs     3 quiet 4.0s";
    for (line, expected) in narrow.iter().zip(expected.lines()) {
        assert_eq!(line, expected, "\n{}", narrow.join("\n"));
    }
    assert_eq!(narrow[22], "00:00:09  reset  192.0.2.4:443");
    let wide = drawn(&sockets(), PLAIN, (120, 24));
    assert!(
        wide[4].starts_with("program-1       192.168.1.10:40000    ← 192.0.2.1:443"),
        "{}",
        wide[4]
    );
    let ascii = drawn(&sockets(), ASCII, (80, 24));
    assert!(ascii.concat().is_ascii() && ascii[3].contains("-> 192.0.2.2:443"), "{ascii:#?}");
    // With a proxy's connections among them they have the columns of those.
    let mut mixed = sockets();
    mixed.apply(&sample(5, 9.0, [0, 0], Some(("upstream", 8.0))));
    let mixed = drawn(&mixed, PLAIN, (80, 24));
    assert!(mixed[2].ends_with("waiting for▾"), "{}", mixed[2]);
    assert!(mixed[4].starts_with("program-2  192.0.2.2:443"), "{mixed:#?}");
    assert!(mixed[4].ends_with("data"), "{mixed:#?}");
    for width in [1, 3, 10, 30, 55, 79, 200] {
        assert_eq!(drawn(&sockets(), PLAIN, (width, 5)).len(), 5);
    }
}

#[test]
fn the_detail_of_a_socket_has_what_one_socket_shows() {
    let known = sockets();
    let mut controls = Controls { page: Page::Detail(key(&known, 1)), ..Controls::default() };
    let drawn = lines(&screen(&known, PLAIN, &mut controls, (80, 24))).join("\n");
    for words in [
        "192.0.2.1:443 → program-1 (PID 4711) 192.168.1.10:40000",
        "activity: data  (open 1s)",
        "socket to       peer\nreceived, sent  0B, 12kB\n",
        "retransmitted   2, 1 lost",
    ] {
        assert!(drawn.contains(words), "{words}:\n{drawn}");
    }
    for words in ["write blocked", "turn", "waiting for"] {
        assert!(!drawn.contains(words), "{words}:\n{drawn}");
    }
}
