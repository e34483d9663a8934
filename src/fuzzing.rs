//! What the fuzz targets in `fuzz/` run, a function each. The inputs that fuzzing found interesting
//! are tests as well.

pub use crate::dial::fuzzing::{http_parent, socks_parent};
pub use crate::ingress::fuzzing::{http_body, http_head, proxy_protocol, socks, target};
pub use crate::observe::fuzzing::observe;

#[cfg(test)]
mod tests {
    /// The inputs in `fuzz/seeds`, a line of hex digits each.
    fn seeds(lines: &str) -> impl Iterator<Item = Vec<u8>> + '_ {
        let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        lines.lines().map(move |line| line.as_bytes().chunks(2).map(byte).collect())
    }

    #[test]
    fn what_must_hold_holds_of_all_that_fuzzing_found_interesting() {
        type Check = fn(&[u8]);
        let all: [(Check, &str); 8] = [
            (super::http_head, include_str!("../fuzz/seeds/http_head.hex")),
            (super::http_body, include_str!("../fuzz/seeds/http_body.hex")),
            (super::socks, include_str!("../fuzz/seeds/socks.hex")),
            (super::target, include_str!("../fuzz/seeds/target.hex")),
            (super::proxy_protocol, include_str!("../fuzz/seeds/proxy_protocol.hex")),
            (super::observe, include_str!("../fuzz/seeds/observe.hex")),
            (super::http_parent, include_str!("../fuzz/seeds/http_parent.hex")),
            (super::socks_parent, include_str!("../fuzz/seeds/socks_parent.hex")),
        ];
        for (check, lines) in all {
            seeds(lines).for_each(|seed| check(&seed));
        }
    }
}
