//! Passwords and values derived from them.

use std::fmt;
use std::ops::Deref;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// Bytes that `Debug` does not show and that are wiped on drop. They are allocated once: growing
/// would leave copies behind.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(crate) fn concat(parts: &[&[u8]]) -> Self {
        // It allocates once.
        Self(Zeroizing::new(parts.concat()))
    }

    /// All of `bytes`, which are `most` at most.
    pub(crate) fn collect(most: usize, bytes: impl Iterator<Item = u8>) -> Self {
        let mut secret = Vec::with_capacity(most);
        secret.extend(bytes.take(most));
        Self(Zeroizing::new(secret))
    }

    /// The value of `Authorization` and `Proxy-Authorization` (RFC 7617 section 2).
    pub(crate) fn basic(user: &[u8], password: &[u8]) -> Self {
        const SCHEME: &[u8] = b"Basic ";
        let user_pass = Self::concat(&[user, b":", password]);
        // RFC 4648 section 4: four characters for three bytes, or for what is left.
        let mut value = vec![0; SCHEME.len() + user_pass.len().div_ceil(3) * 4];
        let (scheme, encoded) = value.split_at_mut(SCHEME.len());
        scheme.copy_from_slice(SCHEME);
        let written = BASE64_STANDARD.encode_slice(&*user_pass, encoded);
        debug_assert!(written.is_ok_and(|written| written == encoded.len()));
        Self(Zeroizing::new(value))
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self::concat(&[bytes])
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn basic_credentials_are_what_anyone_decodes(
            user in prop::collection::vec(any::<u8>(), 0..40), password in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let value = Secret::basic(&user, &password);
            let encoded = value.strip_prefix(b"Basic ").unwrap();
            prop_assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), [&user[..], b":", &password].concat());
        }
    }

    #[test]
    fn a_secret_is_not_shown_and_not_cut_short() {
        assert_eq!(format!("{:?}", Secret::from(&b"hunter2"[..])), "Secret(…)");
        assert_eq!(&*Secret::collect(10, b"hunter2".iter().copied()), b"hunter2");
    }
}
