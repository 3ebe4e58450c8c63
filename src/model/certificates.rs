//! Certificates: subject, names, validity, issuer, as far as the public part tells.
