//! Lines that are fitted to a width.

use anstream::adapter::strip_str;

/// Breaks the lines of `text` that are longer than `width` at spaces. What follows a break is indented
/// as its line is, or by four. A word alone may be longer; styles take no room.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| wrap_line(line, width)).collect();
    lines.join("\n")
}

fn wrap_line(line: &str, width: usize) -> String {
    if columns(line) <= width {
        return line.to_owned();
    }
    let content = line.trim_start_matches(' ');
    let own_indent = line.len() - content.len();
    let indent = if own_indent > 0 { own_indent } else { 4 };
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

fn columns(text: &str) -> usize {
    strip_str(text).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

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
