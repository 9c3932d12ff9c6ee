//! Whom a client believes beside those whom its machine does: the file of `--ca`.

use std::fs;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The certificates in a file.
///
/// # Errors
///
/// What is wrong with it, and what to do: a file that holds none would be one that nobody heeds.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let bytes = fs::read(path).map_err(|error| format!("--ca {name} cannot be read: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!(
            "--ca {name} has no certificate in it: name a PEM file, which has a line -----BEGIN \
             CERTIFICATE-----"
        )),
        Err(error) => Err(format!("--ca {name} is not PEM: {error}")),
    }
}
