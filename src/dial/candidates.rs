//! Selects the addresses of an answer to dial: an answer may have thousands.

use std::net::SocketAddr;

use crate::fault::Fault;

/// Maximum number of addresses dialled. It keeps records small, and a foreign name cannot make us
/// connect to thousands of hosts.
pub(super) const MOST_DIALLED: usize = 16;

/// Maximum number of addresses refused by a rule that are recorded.
pub(super) const MOST_REFUSED: usize = 16;

/// An address to dial, or one that the record shows as refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    pub(super) refused: Option<Fault>,
}

/// RFC 8305 section 4: alternates the family of the first address, which the system prefers, with
/// the other one.
pub(super) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == v6_first);
    let (mut turn, mut next) = (preferred.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(turn.len() + next.len());
    while let Some(address) = turn.next() {
        mixed.push(address);
        std::mem::swap(&mut turn, &mut next);
    }
    mixed.extend(next);
    mixed
}

/// Selects from interleaved addresses the first ones that `check` permits, and the first ones that
/// it refuses. Refused addresses take no place from permitted ones, and neither family takes more
/// than half of the places while the other one could fill them.
pub(super) fn select(
    addresses: &[SocketAddr],
    check: &dyn Fn(SocketAddr) -> Result<(), Fault>,
) -> Vec<Candidate> {
    let mut permitted = Families::default();
    let mut refused = Vec::new();
    // How many permitted addresses precede each refused one.
    let mut before_refused = Vec::new();
    for &address in addresses {
        if permitted.are_full() {
            break;
        }
        if permitted.get_mut(address).len() >= MOST_DIALLED {
            continue;
        }
        match check(address) {
            Ok(()) => permitted.get_mut(address).push(address),
            Err(fault) if refused.len() < MOST_REFUSED => {
                before_refused.push(permitted.v4.len() + permitted.v6.len());
                refused.push(Candidate { address, refused: Some(fault) });
            }
            Err(_) => {}
        }
    }

    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let dialled = permitted.interleaved(v6_first).into_iter().take(MOST_DIALLED);
    let mut dialled = dialled.map(|address| Candidate { address, refused: None });
    let mut candidates = Vec::new();
    let mut taken = 0;
    for (refused, before) in refused.into_iter().zip(before_refused) {
        candidates.extend(dialled.by_ref().take(before - taken));
        taken = before;
        candidates.push(refused);
    }
    candidates.extend(dialled);
    candidates
}

/// Permitted addresses by family.
#[derive(Debug, Default)]
struct Families {
    v4: Vec<SocketAddr>,
    v6: Vec<SocketAddr>,
}

impl Families {
    fn get_mut(&mut self, address: SocketAddr) -> &mut Vec<SocketAddr> {
        if address.is_ipv6() { &mut self.v6 } else { &mut self.v4 }
    }

    fn are_full(&self) -> bool {
        self.v4.len().min(self.v6.len()) >= MOST_DIALLED
    }

    fn interleaved(self, v6_first: bool) -> Vec<SocketAddr> {
        let Self { v4, v6 } = self;
        let order = if v6_first { [v6, v4] } else { [v4, v6] };
        interleave(order.concat())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn v4(index: u16) -> SocketAddr {
        let [high, low] = index.to_be_bytes();
        (Ipv4Addr::new(10, 0, high, low), 80).into()
    }

    fn v6(index: u16) -> SocketAddr {
        (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, index), 80).into()
    }

    fn denied() -> Fault {
        Fault { code: "DENIED".into(), text: "a rule".into() }
    }

    fn permit(is_permitted: bool) -> Result<(), Fault> {
        match is_permitted {
            true => Ok(()),
            false => Err(denied()),
        }
    }

    fn dialled(candidates: &[Candidate]) -> Vec<SocketAddr> {
        candidates.iter().filter(|c| c.refused.is_none()).map(|c| c.address).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_begins() {
        assert_eq!(
            interleave(vec![v6(1), v6(2), v6(3), v4(1), v4(2)]),
            [v6(1), v4(1), v6(2), v4(2), v6(3)]
        );
        assert_eq!(interleave(vec![v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(interleave(vec![v4(1), v4(2)]), [v4(1), v4(2)]);
        assert_eq!(interleave(Vec::new()), []);
    }

    #[test]
    fn of_thousands_both_families_stay() {
        let addresses = interleave((0..2000).map(v6).chain((0..1000).map(v4)).collect());
        let chosen = select(&addresses, &|_| Ok(()));
        let expected: Vec<_> = (0..8).flat_map(|index| [v6(index), v4(index)]).collect();
        assert_eq!(dialled(&chosen), expected);
        assert_eq!(chosen.len(), MOST_DIALLED);
    }

    #[test]
    fn the_21st_address_is_dialled_when_20_are_denied() {
        let addresses: Vec<_> = (1..=3000).map(v4).collect();
        let chosen = select(&addresses, &|a| permit(a == v4(21)));
        assert_eq!(dialled(&chosen), [v4(21)]);
        assert_eq!(chosen.len(), 1 + MOST_REFUSED);

        // Of one family the first 20 are denied, the other one alone would fill the places.
        let addresses = interleave((0..100).map(v6).chain((0..100).map(v4)).collect());
        let chosen = select(&addresses, &|a| permit(!(a.is_ipv4() && a < v4(20))));
        let v4_dialled = dialled(&chosen).iter().filter(|a| a.is_ipv4()).count();
        assert_eq!((dialled(&chosen).len(), v4_dialled), (16, 8));
    }

    #[test]
    fn a_refused_address_keeps_its_place_in_the_order() {
        let addresses = [v6(1), v4(1), v6(2), v4(2)];
        let chosen = select(&addresses, &|a| permit(a != v4(1)));
        let order: Vec<_> = chosen.iter().map(|c| (c.address, c.refused.is_some())).collect();
        // Those that are dialled go on taking turns.
        assert_eq!(order, [(v6(1), false), (v4(1), true), (v4(2), false), (v6(2), false)]);
    }

    proptest! {
        #[test]
        fn what_is_selected_is_bounded_permitted_and_in_the_answer(
            families in prop::collection::vec(any::<(bool, bool)>(), 0..120)
        ) {
            let answer: Vec<_> = (0..).zip(&families)
                .map(|(index, &(is_v6, _))| if is_v6 { v6(index) } else { v4(index) }).collect();
            let denied_ones: Vec<_> = answer.iter().zip(&families)
                .filter(|(_, (_, denied))| *denied).map(|(address, _)| *address).collect();
            let check = |address| permit(!denied_ones.contains(&address));
            let chosen = select(&interleave(answer.clone()), &check);
            let permitted = dialled(&chosen);
            let possible = answer.len() - denied_ones.len();
            prop_assert_eq!(permitted.len(), possible.min(MOST_DIALLED));
            prop_assert!(permitted.iter().all(|a| !denied_ones.contains(a) && answer.contains(a)));
            prop_assert!(chosen.len() - permitted.len() <= MOST_REFUSED);
            for is_v6 in [true, false] {
                let there = answer.iter().filter(|a| a.is_ipv6() == is_v6 && !denied_ones.contains(a));
                let taken = permitted.iter().filter(|a| a.is_ipv6() == is_v6).count();
                prop_assert!(taken >= there.count().min(MOST_DIALLED / 2));
            }
        }
    }
}
