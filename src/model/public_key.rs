//! Fingerprints of public keys, also of the public half of a private key: whether two keys are one pair can be
//! told without either.
//!
//! A fingerprint is of the bits of the public key alone (`subjectPublicKey` of RFC 5280), so that all forms give
//! the same: `PUBLIC KEY`, `RSA PUBLIC KEY`, `PRIVATE KEY` (PKCS #8, RFC 5958), `EC PRIVATE KEY` (SEC 1, RFC 5915),
//! `RSA PRIVATE KEY` (PKCS #1, RFC 8017).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Class, Decode as _, Encode as _, Reader as _, Tag, Tagged as _};

/// The most keys that are looked at in one value.
const MOST: usize = 20;

/// The fingerprints of the keys in PEM text, in their order: 16 hexadecimal digits each. Keys of other forms, and EC
/// private keys that do not carry their public half, are left out.
#[must_use]
pub fn fingerprints(pem: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(pem) else { return Vec::new() };
    let blocks = text.split("-----BEGIN ").skip(1).take(MOST);
    blocks
        .filter_map(|block| {
            let (label, rest) = block.split_once("-----")?;
            let (body, _) = rest.split_once("-----END ")?;
            let compact: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            let bits = public_bits(label, &BASE64_STANDARD.decode(compact).ok()?)?;
            Some(Sha256::digest(bits)[..8].iter().map(|byte| format!("{byte:02x}")).collect())
        })
        .collect()
}

/// The bits of the public key in a key of this form.
fn public_bits(label: &str, der: &[u8]) -> Option<Vec<u8>> {
    match label {
        "PUBLIC KEY" => bit_string(sequence(der)?.get(1)?),
        "RSA PUBLIC KEY" => Some(der.to_vec()),
        "EC PRIVATE KEY" => of_ec(der),
        "RSA PRIVATE KEY" => of_rsa(der),
        "PRIVATE KEY" => {
            let parts = sequence(der)?;
            // Version 2 of the form carries the public half itself; else it stands in the key.
            let own = parts.iter().find(|part| is_context(part, 1));
            if let Some(own) = own {
                return own.value().get(1..).map(<[u8]>::to_vec);
            }
            let key = parts.get(2).filter(|part| part.tag() == Tag::OctetString)?;
            of_ec(key.value()).or_else(|| of_rsa(key.value()))
        }
        _ => None,
    }
}

/// `ECPrivateKey`: version, key, `[0]` parameters, `[1]` public key.
fn of_ec(der: &[u8]) -> Option<Vec<u8>> {
    let parts = sequence(der)?;
    let public = parts.iter().find(|part| is_context(part, 1))?;
    bit_string(&AnyRef::from_der(public.value()).ok()?)
}

/// `RSAPrivateKey`: version, modulus, public exponent, …; its public half is a sequence of the two.
fn of_rsa(der: &[u8]) -> Option<Vec<u8>> {
    let parts = sequence(der)?;
    let numbers = parts.get(1..3)?;
    if parts.len() < 9 || numbers.iter().any(|number| number.tag() != Tag::Integer) {
        return None;
    }
    let mut content = Vec::new();
    for number in numbers {
        number.encode_to_vec(&mut content).ok()?;
    }
    AnyRef::new(Tag::Sequence, &content).ok()?.to_der().ok()
}

fn sequence(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let whole = AnyRef::from_der(der).ok().filter(|whole| whole.tag() == Tag::Sequence)?;
    let mut reader = x509_cert::der::SliceReader::new(whole.value()).ok()?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(parts)
}

/// The bits, without the byte that counts unused ones.
fn bit_string(any: &AnyRef<'_>) -> Option<Vec<u8>> {
    (any.tag() == Tag::BitString).then(|| any.value().get(1..).map(<[u8]>::to_vec)).flatten()
}

fn is_context(any: &AnyRef<'_>, number: u32) -> bool {
    any.tag().class() == Class::ContextSpecific && any.tag().number().value() == number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let body: Vec<String> = BASE64_STANDARD
            .encode(der)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.join("\n"))
    }

    fn tlv(tag: Tag, content: &[u8]) -> Vec<u8> {
        AnyRef::new(tag, content).expect("short").to_der().expect("DER")
    }

    #[test]
    fn every_form_of_a_pair_has_one_fingerprint() {
        for algorithm in
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
        {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("randomness");
            let (public, private) = (pair.public_key_pem(), pair.serialize_pem());
            let expected = fingerprints(public.as_bytes());
            assert_eq!(expected.len(), 1);
            assert_eq!(expected[0].len(), 16);
            assert_eq!(fingerprints(private.as_bytes()), expected, "{private}");
            let other = rcgen::KeyPair::generate_for(algorithm).expect("randomness");
            assert_ne!(fingerprints(other.public_key_pem().as_bytes()), expected);
            // SEC 1 is what stands within PKCS #8.
            let der = pair.serialize_der();
            let inner = sequence(&der).expect("PKCS #8")[2].value().to_vec();
            if algorithm != &rcgen::PKCS_ED25519 {
                assert_eq!(fingerprints(pem("EC PRIVATE KEY", &inner).as_bytes()), expected);
            }
            assert_eq!(
                fingerprints(format!("{public}\n{private}").as_bytes()),
                [&expected[..], &expected[..]].concat()
            );
        }
    }

    #[test]
    fn the_public_half_of_rsa_is_modulus_and_exponent() {
        let number = |bytes: &[u8]| tlv(Tag::Integer, bytes);
        let (n, e) = (number(&[0x00, 0xc5, 0x11, 0x07]), number(&[0x01, 0x00, 0x01]));
        let public = tlv(Tag::Sequence, &[n.clone(), e.clone()].concat());
        let rest: Vec<u8> = (3..9).flat_map(|d| number(&[d])).collect();
        let private = tlv(Tag::Sequence, &[number(&[0]), n, e, rest].concat());
        let expected = fingerprints(pem("RSA PUBLIC KEY", &public).as_bytes());
        assert_eq!(expected.len(), 1);
        assert_eq!(fingerprints(pem("RSA PRIVATE KEY", &private).as_bytes()), expected);
        let wrapped = tlv(
            Tag::Sequence,
            &[tlv(Tag::Sequence, &[]), tlv(Tag::BitString, &[&[0][..], &public].concat())].concat(),
        );
        assert_eq!(fingerprints(pem("PUBLIC KEY", &wrapped).as_bytes()), expected);
    }

    #[test]
    fn what_is_no_key_has_none() {
        for text in [
            "",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMII",
        ] {
            assert!(fingerprints(text.as_bytes()).is_empty(), "{text}");
        }
        assert!(fingerprints(pem("PUBLIC KEY", &tlv(Tag::Sequence, &[])).as_bytes()).is_empty());
        assert!(fingerprints(pem("ENCRYPTED PRIVATE KEY", &[0x30, 0]).as_bytes()).is_empty());
    }
}
