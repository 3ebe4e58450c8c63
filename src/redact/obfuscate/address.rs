//! Addresses: a keyed permutation that keeps prefixes and classes (Crypto-PAn with fixed places).
//!
//! Bit by bit, the bits before decide under the run's key whether a bit is turned over, so that two
//! addresses share exactly as many leading bits afterwards as before: subnets stay subnets, and a
//! network in CIDR notation maps like the addresses in it. Above a border between classes (private,
//! link-local, documentation, …) no bit is turned, so that no address leaves its class, and well-known
//! addresses stay where they are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};

use crate::redact::placeholder::Key;

/// A prefix of the address space, left-aligned in 128 bits.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    bits: u128,
    len: u32,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u32) -> Prefix {
    Prefix { bits: (u32::from_be_bytes([a, b, c, d]) as u128) << 96, len }
}

const fn v6(a: u16, b: u16, len: u32) -> Prefix {
    Prefix { bits: ((a as u128) << 112) | ((b as u128) << 96), len }
}

/// Classes of IPv4 addresses (RFC 6890 and its registry): their borders stay.
const V4_CLASSES: &[Prefix] = &[
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(169, 254, 0, 0, 16),
    // Addresses of clouds that mean the same everywhere: metadata, time, DNS.
    v4(169, 254, 169, 254, 32),
    v4(169, 254, 169, 253, 32),
    v4(169, 254, 169, 123, 32),
    v4(169, 254, 170, 2, 32),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
];

/// What stays as a whole: unspecified, loopback, well-known multicast, and the reserved top, where
/// netmasks and the broadcast address are.
const V4_FIXED: &[Prefix] =
    &[v4(0, 0, 0, 0, 8), v4(127, 0, 0, 0, 8), v4(224, 0, 0, 0, 24), v4(240, 0, 0, 0, 4)];

/// Classes of IPv6 addresses.
const V6_CLASSES: &[Prefix] = &[
    v6(0x2000, 0, 3),
    v6(0x2001, 0x0db8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
    v6(0xfc00, 0, 8),
    v6(0xfd00, 0, 8),
    v6(0xfe80, 0, 64),
];

/// The unspecified and loopback addresses with all that is reserved around them, and multicast.
const V6_FIXED: &[Prefix] = &[v6(0, 0, 8), v6(0xff00, 0, 8)];

/// Whether the first `len` bits of two addresses are the same.
const fn same(a: u128, b: u128, len: u32) -> bool {
    len == 0 || (a ^ b) >> (128 - len) == 0
}

/// Maps addresses, and remembers what it mapped.
#[derive(Debug)]
pub(super) struct Addresses {
    known: RwLock<HashMap<IpAddr, IpAddr>>,
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self { known: RwLock::default() }
    }

    /// The pseudonym of an address.
    pub(super) fn map(&self, key: &Key, address: IpAddr) -> IpAddr {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&address) {
            return *known;
        }
        let mapped = map(key, address, full(address));
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(address, mapped);
        mapped
    }

    /// The pseudonym of a network: its bits map like those of the addresses in it, the rest stays zero.
    /// `None` when a bit behind the prefix is set: that is an address with the size of its network.
    pub(super) fn network(key: &Key, address: IpAddr, len: u32) -> Option<IpAddr> {
        let (bits, width) = aligned(address);
        (len <= width && (len == 128 || bits << len == 0)).then(|| map(key, address, len))
    }
}

/// How many bits an address has.
fn full(address: IpAddr) -> u32 {
    aligned(address).1
}

fn aligned(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

/// The IPv4 address within an IPv6 address, and the bits before it.
fn embedded(v6: Ipv6Addr) -> Option<(u128, Ipv4Addr)> {
    let bits = u128::from(v6);
    let high = bits >> 32;
    // `::ffff:0:0/96` (IPv4-mapped) and `64:ff9b::/96` (NAT64).
    let holds = high == 0xffff || high == 0x0064_ff9b_u128 << 64;
    holds.then(|| (high << 32, Ipv4Addr::from(u32::try_from(bits & 0xffff_ffff).unwrap_or_default())))
}

fn map(key: &Key, address: IpAddr, len: u32) -> IpAddr {
    if let IpAddr::V6(v6) = address
        && let Some((high, v4)) = embedded(v6)
    {
        let IpAddr::V4(v4) = map(key, IpAddr::V4(v4), len.saturating_sub(96)) else { return address };
        return IpAddr::V6(Ipv6Addr::from(high | u128::from(u32::from(v4))));
    }
    let (bits, width) = aligned(address);
    let (classes, fixed, family) = match address {
        IpAddr::V4(_) => (V4_CLASSES, V4_FIXED, 4),
        IpAddr::V6(_) => (V6_CLASSES, V6_FIXED, 6),
    };
    if fixed.iter().any(|prefix| same(prefix.bits, bits, prefix.len)) {
        return address;
    }
    let mut mapped = bits;
    for byte in 0..width / 8 {
        // One digest holds the decisions of all bits of a byte: a tree of 255 nodes.
        let before = if byte == 0 { 0 } else { bits >> (128 - byte * 8) };
        let mut input = [0u8; 19];
        input[0] = family;
        input[1] = u8::try_from(byte).unwrap_or_default();
        input[3..].copy_from_slice(&before.to_be_bytes());
        let digest = key.digest(&input);
        for bit in byte * 8..((byte + 1) * 8).min(len) {
            let within = bit - byte * 8;
            let path = if within == 0 { 0 } else { ((bits << (byte * 8)) >> (128 - within)) as usize };
            let node = (1usize << within) | path;
            let pinned =
                classes.iter().chain(fixed).any(|prefix| prefix.len > bit && same(prefix.bits, bits, bit));
            if !pinned && digest[node / 8] >> (node % 8) & 1 == 1 {
                mapped ^= 1 << (127 - bit);
            }
        }
    }
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(mapped >> 96).unwrap_or_default())),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(mapped)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(address: IpAddr) -> Option<usize> {
        let (bits, _) = aligned(address);
        let classes = if address.is_ipv4() { V4_CLASSES } else { V6_CLASSES };
        // The longest that holds it.
        (0..classes.len())
            .filter(|n| same(classes[*n].bits, bits, classes[*n].len))
            .max_by_key(|n| classes[*n].len)
    }

    fn common(a: IpAddr, b: IpAddr) -> u32 {
        (aligned(a).0 ^ aligned(b).0).leading_zeros().min(full(a))
    }

    #[test]
    fn well_known_addresses_stay() {
        let (key, addresses) = (Key::random(), Addresses::new());
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "127.3.2.1",
            "169.254.169.254",
            "255.255.255.255",
            "255.255.240.0",
            "224.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "::ffff:127.0.0.1",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(addresses.map(&key, address), address);
        }
    }

    #[test]
    fn most_addresses_change_and_two_keys_differ() {
        let (key, other) = (Key::random(), Key::random());
        let of =
            |key: &Key| (0..=255u8).map(|n| map(key, IpAddr::from([10, 1, n, n]), 32)).collect::<Vec<_>>();
        let same = (0..=255u8).zip(of(&key)).filter(|(n, a)| *a == IpAddr::from([10, 1, *n, *n])).count();
        assert!(same < 8, "{same} of 256 stayed");
        assert_ne!(of(&key), of(&other));
    }

    #[test]
    fn mapped_addresses_of_version_4_stay_equal_to_themselves() {
        let key = Key::random();
        let v4 = Ipv4Addr::new(10, 2, 3, 4);
        let IpAddr::V4(plain) = map(&key, v4.into(), 32) else { panic!("a version changed") };
        assert_eq!(map(&key, v4.to_ipv6_mapped().into(), 128), IpAddr::V6(plain.to_ipv6_mapped()));
    }

    fn some_v4() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|n| IpAddr::V4(n.into())),
            (0..V4_CLASSES.len(), any::<u32>()).prop_map(|(n, host)| {
                let class = V4_CLASSES[n];
                let mask = u32::MAX.checked_shr(class.len).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from((class.bits >> 96) as u32 | (host & mask)))
            }),
        ]
    }

    fn some_v6() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u128>().prop_map(|n| IpAddr::V6(n.into())),
            (0..V6_CLASSES.len(), any::<u128>()).prop_map(|(n, host)| {
                let class = V6_CLASSES[n];
                IpAddr::V6(Ipv6Addr::from(class.bits | (host & (u128::MAX >> class.len))))
            }),
        ]
    }

    proptest! {
        #[test]
        fn prefixes_and_classes_are_kept(
            (a, b) in prop_oneof![(some_v4(), some_v4()), (some_v6(), some_v6())],
            flip in 0u32..128,
        ) {
            let key = Key::random();
            // A neighbour that shares exactly the first bits.
            let near = match a {
                IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) ^ (1 << (flip % 32)))),
                IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) ^ (1 << flip))),
            };
            for other in [b, near] {
                let (left, right) = (map(&key, a, full(a)), map(&key, other, full(other)));
                // The IPv4 part of an IPv6 address follows the rules of IPv4.
                let special = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if embedded(v6).is_some());
                if !special(a) && !special(other) {
                    prop_assert_eq!(common(a, other), common(left, right), "{} {}", a, other);
                }
                prop_assert_eq!(class(other), class(right), "{} {}", other, right);
                let fixed = |ip: IpAddr| (ip.is_loopback(), ip.is_unspecified(), ip.is_multicast());
                prop_assert_eq!(fixed(other), fixed(right));
            }
        }

        #[test]
        fn a_network_maps_like_the_addresses_in_it(a in prop_oneof![some_v4(), some_v6()], len in 0u32..=128) {
            let key = Key::random();
            let (bits, width) = aligned(a);
            let len = len.min(width);
            let network = if len == 0 { 0 } else { bits & (u128::MAX << (128 - len)) };
            let network = match a {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((network >> 96) as u32)),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(network)),
            };
            let mapped = Addresses::network(&key, network, len).expect("no bit behind the prefix");
            // Where all of the network is of one kind, its addresses are in the mapped network.
            let uniform = |prefix: &Prefix| prefix.len <= len || !same(prefix.bits, bits, len);
            if V4_FIXED.iter().chain(V6_FIXED).all(uniform) && !matches!(a, IpAddr::V6(v6) if embedded(v6).is_some()) {
                let inside = map(&key, a, width);
                prop_assert!(same(aligned(mapped).0, aligned(inside).0, len), "{}/{} {} {}", network, len, mapped, inside);
            }
        }
    }
}
