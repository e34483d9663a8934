//! Rules, fuzzed: what names a target holds for it.

use super::{Access, Asker, TargetRule};
use crate::target::Target;

/// A rule that is spelled as the target is names it, whoever looks it up.
pub(crate) fn check_rules(target: &Target) {
    let host = match target.host() {
        host if host.contains(':') => format!("[{host}]"),
        host => host,
    };
    if host.contains('*') {
        // It would name more than one.
        return;
    }
    let rule: Result<TargetRule, _> = format!("{host}:{}", target.port()).parse();
    assert!(rule.is_ok(), "{host}");
    let Ok(rule) = rule else { return };
    let denying = Access { deny: vec![rule.clone()], ..Access::default() };
    let allowing = Access { allow: vec![rule], ..Access::default() };
    for asker in [Asker::LocalClient, Asker::RemoteClient] {
        let is_refused = |access: &Access| {
            access.refuse_target(asker, target).is_some()
                || match target.literal() {
                    Some(address) => access.refuse_address(asker, target, address).is_some(),
                    None => access.refuse_unresolved(asker, target).is_some(),
                }
        };
        assert!(is_refused(&denying), "{target}");
        // The rule names it, or (an address that may lead to several) one of them.
        let is_certain = target.literal().is_none_or(|address| address.is_ipv4());
        assert!(!is_certain || !is_refused(&allowing), "{target}");
    }
}
