//! Figures and names in few columns.

use std::borrow::Cow;
use std::time::Duration;

use crate::columns::{beginning, columns, shorten_middle};
use crate::figures;

/// At most four digits and a decimal unit, in at most five columns: `999`, `1.2k`, `34M`.
pub(super) fn amount(value: f64) -> String {
    figures::brief_bytes(value.max(0.0)).trim_end_matches('B').to_owned()
}

/// A short time in at most five columns: `85µs`, `1.2ms`, `312ms`, `4.5s`, `59s`.
pub(super) fn brief_time(time: Duration, has_unicode: bool) -> String {
    let text = match time.as_secs() {
        0..60 => figures::brief_time(time),
        _ => age(time),
    };
    if has_unicode { text } else { text.replace('µ', "u") }
}

/// How long something has lasted, in at most five columns: `59s`, `12m`, `3h05`, `12d`.
pub(super) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => format!("{}m{:02}", seconds / 60, seconds % 60),
        600..3600 => format!("{}m", seconds / 60),
        3600..36_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        36_000..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `text` in at most `width` columns: what is left out of its middle is one `…`, or `~`. A port at its
/// end stays whole where there is room for it.
pub(super) fn shorten(text: &str, width: usize, has_unicode: bool) -> Cow<'_, str> {
    let mut short = shorten_middle(text, width);
    if columns(&short) > width {
        short = Cow::Owned(beginning(&short, width).to_owned());
    }
    match short {
        Cow::Owned(short) if !has_unicode => Cow::Owned(short.replace('…', "~")),
        short => short,
    }
}

/// A text that a terminal without UTF-8 can show.
pub(super) fn to_ascii(text: &str) -> Cow<'_, str> {
    match text.is_ascii() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()),
    }
}

/// One column for each value, from 0 to the largest. Unknown values are blank.
pub(super) fn sparkline(values: &[Option<f64>], has_unicode: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];
    let largest = values.iter().flatten().copied().fold(0.0, f64::max);
    let bars = if has_unicode { BARS } else { ASCII };
    let bar = |value: &Option<f64>| match value {
        None => ' ',
        Some(value) => {
            let share = if largest > 0.0 { value / largest } else { 0.0 };
            bars.iter()
                .rev()
                .zip((0..8).rev())
                .find(|&(_, level)| share * 8.0 > f64::from(level))
                .map_or(bars[0], |(bar, _)| *bar)
        }
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn figures_take_at_most_five_columns() {
        let mut value = 0.0;
        while value < 1e20 {
            assert!(amount(value).len() <= 5, "{}", amount(value));
            value = value * 1.07 + 1.0;
        }
        let mut nanos = 1;
        while nanos < u64::MAX / 2 {
            let time = Duration::from_nanos(nanos);
            for text in [brief_time(time, true), age(time)] {
                // A day too many after centuries.
                assert!(text.width() <= 5 || nanos > 1 << 59, "{text}");
            }
            nanos += nanos / 9 + 1;
        }
        assert_eq!(amount(999.0) + " " + &amount(1234.0) + " " + &amount(34e6), "999 1.2k 34M");
    }

    #[test]
    fn times_are_rounded_to_what_people_read() {
        for (millis, text) in [(0, "0.0µs"), (312, "312ms"), (4500, "4.5s"), (61_000, "1m01")] {
            assert_eq!(brief_time(Duration::from_millis(millis), true), text);
        }
        let hours = Duration::from_secs(3 * 3600 + 300);
        assert_eq!((age(hours), age(hours * 24)), ("3h05".to_owned(), "3d".to_owned()));
    }

    #[test]
    fn names_are_shortened_by_columns_and_keep_their_port() {
        for (text, width, shown) in [
            ("example.com:443", 15, "example.com:443"),
            ("very-long-name.of.an.internal.example:443", 20, "very-long-…ample:443"),
            ("example.com:65535", 8, "e…:65535"),
            ("日本語.example:443", 12, "日本語…e:443"),
            ("text", 0, ""),
        ] {
            let short = shorten(text, width, true);
            assert_eq!(short, shown, "{text} in {width}");
            assert!(short.width() <= width);
        }
        assert_eq!(shorten("example.com:443", 10, false), "examp~:443");
        assert_eq!(to_ascii("bücher"), "b?cher");
    }

    #[test]
    fn a_sparkline_has_its_full_height_at_the_largest_value() {
        let values = [None, Some(0.0), Some(4.0), Some(8.0)];
        assert_eq!(sparkline(&values, true), " ▁▄█");
        assert_eq!(sparkline(&values, false), " _-#");
        assert_eq!(sparkline(&[Some(0.0)], true), "▁");
    }
}
