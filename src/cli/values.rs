//! Values as they are typed. What is malformed gets a sentence on what was expected, with an example.

use std::fmt::Display;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

/// A year: what is longer is a slip of the finger.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `5s`, `250ms`, `1m 30s`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    // Some write it for a point, others between thousands.
    if text.contains(',') {
        return Err("expected a time without commas, such as 1.5s or 1500ms".to_owned());
    }
    let seconds = || text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let friendly = || Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok();
    seconds()
        .or_else(friendly)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "expected a time such as 5s, 250ms, 1m or 24h, at most a year".to_owned())
}

/// A [`duration`] that is not shorter than this one, which is shown as `shown`.
pub(super) fn duration_from(
    shortest: Duration,
    shown: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| match duration(text)? {
        duration if duration < shortest => Err(format!("expected at least {shown}")),
        duration => Ok(duration),
    }
}

/// A whole number of this range, which has the type of the option's field: clap cannot check that
/// before the option is read.
pub(super) fn number<N>(
    range: RangeInclusive<N>,
    example: N,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            format!("expected a whole number from {first} to {last}, such as {example}")
        })
    }
}

/// The machine's name in records.
pub(super) fn host(text: &str) -> Result<String, String> {
    let address: Option<IpAddr> = text.trim_matches(['[', ']']).parse().ok();
    match address {
        _ if text.is_empty() => Err("expected a name, such as web1".to_owned()),
        Some(address) if address.is_unspecified() || address.is_loopback() => Err(
            "it is the machine's name in records; an address to listen on stands before the port: -D ADDRESS:PORT or \
             -L ADDRESS:PORT:HOST:HOSTPORT"
                .to_owned(),
        ),
        _ => Ok(text.to_owned()),
    }
}

/// How many there may be; 0 is as many as there are.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    let expected = "expected a whole number such as 1000, or 0 for no limit";
    text.parse().map_err(|_| expected.to_owned())
}

/// Room for some records.
const SMALLEST_QUEUE: ByteSize = ByteSize::kb(16);

/// `64MiB`, `500kB`, or 0; a bare number is bytes.
pub(super) fn queue(text: &str) -> Result<ByteSize, String> {
    let expected = |_| "expected a size such as 64MiB, 500kB or 65536".to_owned();
    match text.parse().map_err(expected)? {
        size if size == ByteSize::b(0) || size >= SMALLEST_QUEUE => Ok(size),
        // As a rule the unit is missing.
        _ => Err("expected at least 16kB, or 0; a number without a unit is in bytes".to_owned()),
    }
}

/// `7`, `0x7`.
pub(super) fn mark(text: &str) -> Result<NonZeroU32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok().and_then(NonZeroU32::new).ok_or_else(|| {
        "expected a number from 1 to 4294967295, in decimal or hexadecimal, such as 7 or 0x7"
            .to_owned()
    })
}

/// `site=fra1`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as site=fra1".to_owned()),
    }
}

/// `0640`: the permissions of a file, in octal, with which its owner can write to it.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    let expected = "expected octal permissions with write permission for the owner, such as 0600 \
                    or 0640";
    mode.filter(|mode| mode & 0o200 != 0).ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_and_lets_the_owner_write() {
        for (text, expected) in [("0640", 0o640), ("600", 0o600), ("0200", 0o200), ("777", 0o777)] {
            assert_eq!(mode(text), Ok(expected));
        }
        for text in ["", "0o640", "+640", "0440", "0", "1777", "0689", "rw-r-----", "77777777777"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
