//! What the fuzz targets in `fuzz/` run, a function each. The inputs that fuzzing found interesting
//! are tests as well.

pub use crate::dial::fuzzing::{http_parent, socks_parent};
pub use crate::ingress::fuzzing::{
    http_body, http_exchange, http_head, proxy_protocol, socks, target,
};
pub use crate::observe::fuzzing::observe;
pub use crate::record::fuzzing::check;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use crate::sockets::fuzzing::process;
#[cfg(feature = "stat")]
pub use crate::stat::fuzzing::{certificate, content_disposition, location};
pub use crate::tcp_info::fuzzing::tcp_info;

#[cfg(test)]
mod tests {
    /// Runs a target on the inputs in its file in `fuzz/seeds`, a line of hex digits each.
    macro_rules! assert_holds_of_seeds {
        ($($(#[$meta:meta])* $target:ident),+ $(,)?) => {$(
            $(#[$meta])*
            for line in include_str!(concat!("../fuzz/seeds/", stringify!($target), ".hex")).lines() {
                super::$target(&seed(line));
            }
        )+};
    }

    fn seed(line: &str) -> Vec<u8> {
        let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        line.as_bytes().chunks(2).map(byte).collect()
    }

    #[test]
    fn what_must_hold_holds_of_all_that_fuzzing_found_interesting() {
        assert_holds_of_seeds!(
            check,
            http_body,
            http_exchange,
            http_head,
            http_parent,
            observe,
            proxy_protocol,
            socks,
            socks_parent,
            target,
            tcp_info,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            process,
            #[cfg(feature = "stat")]
            certificate,
            #[cfg(feature = "stat")]
            content_disposition,
            #[cfg(feature = "stat")]
            location,
        );
    }
}
