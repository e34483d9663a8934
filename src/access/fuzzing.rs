//! Fuzzing of rules: a rule spelled like a target covers it.

use super::{Access, RequestOrigin, TargetRule};
use crate::target::Target;

/// Checks that a rule spelled like the target names it, whoever resolves it.
pub(crate) fn check_rules(target: &Target) {
    if target.host().contains('*') {
        // The rule would name more than one target.
        return;
    }
    // In the usual spelling: rules do not take every short one.
    let usual = match target.literal() {
        Some(address) => address.to_string(),
        None => format!("{}:{}", target.host(), target.port()),
    };
    let rule: Result<TargetRule, _> = usual.parse();
    assert!(rule.is_ok(), "{usual}");
    let Ok(rule) = rule else { return };
    let denying = Access { deny: vec![rule.clone()], ..Access::default() };
    let allowing = Access { allow: vec![rule], ..Access::default() };
    for origin in [RequestOrigin::LocalClient, RequestOrigin::RemoteClient] {
        let is_refused = |access: &Access| {
            access.check_target(origin, target).is_err()
                || match target.literal() {
                    Some(address) => access.check_address(origin, target, address).is_err(),
                    None => access.check_unresolved(origin, target).is_err(),
                }
        };
        assert!(is_refused(&denying), "{target}");
        // The rule names it, or (an address that may lead to several) one of them.
        let is_certain = target.literal().is_none_or(|address| address.is_ipv4());
        assert!(!is_certain || !is_refused(&allowing), "{target}");
    }
}
