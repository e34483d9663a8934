//! Lines that are fitted to a width.

use anstream::adapter::strip_str;

/// Breaks the lines of `text` that are longer than `width` at spaces. What follows a break is indented
/// as its line is, or by four. A word alone may be longer; styles take no room.
pub(super) fn wrap(text: &str, width: usize) -> String {
    wrap_lines(text, width, |own| if own > 0 { own } else { CONTINUED })
}

/// Like [`wrap`], where a line that goes on must not look like the next one: what follows a break is
/// indented by four more than its line.
pub(super) fn wrap_message(text: &str, width: usize) -> String {
    wrap_lines(text, width, |own| own + CONTINUED)
}

/// A space at which no line breaks: a command stays whole, to be copied.
const NO_BREAK: &str = "\u{a0}";

/// `command` as [`wrap`] and [`wrap_message`] keep it together.
pub(super) fn unbroken(command: &str) -> String {
    command.replace(' ', NO_BREAK)
}

/// How far what follows a break is indented.
const CONTINUED: usize = 4;

fn wrap_lines(text: &str, width: usize, indent: fn(usize) -> usize) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| wrap_line(line, width, indent)).collect();
    lines.join("\n").replace(NO_BREAK, " ")
}

fn wrap_line(line: &str, width: usize, indent: fn(usize) -> usize) -> String {
    if columns(line) <= width {
        return line.to_owned();
    }
    let content = line.trim_start_matches(' ');
    let own_indent = line.len() - content.len();
    let indent = indent(own_indent);
    let mut wrapped = " ".repeat(own_indent);
    let mut used = own_indent;
    for (at, word) in content.split(' ').enumerate() {
        let length = columns(word);
        if at > 0 && used + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = indent;
        } else if at > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped
}

/// How many columns `text` takes, without its styles.
pub(super) fn columns(text: &str) -> usize {
    conniver::columns::columns(&strip_str(text).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_goes_on_is_indented_beyond_its_line() {
        for (text, wrapped) in [
            ("one two three", "one two three"),
            ("one two three four five", "one two three\n    four five"),
            ("  tip: one two three", "  tip: one\n      two\n      three"),
            (&format!("say: {}", unbroken("one two three")), "say:\n    one two three"),
        ] {
            assert_eq!(wrap_message(text, 13), wrapped);
        }
    }

    #[test]
    fn long_lines_break_at_spaces_and_keep_their_indentation() {
        for (text, wrapped) in [
            ("short enough", "short enough"),
            ("one two three four", "one two three\n    four"),
            ("  one two three four\nx", "  one two\n  three four\nx"),
            ("\u{1b}[33mone two three\u{1b}[0m four", "\u{1b}[33mone two three\u{1b}[0m\n    four"),
            ("averyveryverylongword x", "averyveryverylongword\n    x"),
            ("", ""),
        ] {
            assert_eq!(wrap(text, 13), wrapped);
        }
    }
}
